"""A judge behind HTTP: what it is asked, how it is read, and that no fault becomes a score."""

import asyncio
import time
from dataclasses import replace

import pytest

from actors.bench import load_judging, open_bench
from actors.rewards.asking import Abstain, Request, Score
from actors.rewards.breaker import Breaker
from actors.rewards.endpoint import KEY_VARIABLE, EndpointJudge
from actors.rewards.format import render
from cluster.messages import Question
from configs.run_folder import open_run
from configs.schema import JudgeSection, RunConfig
from tests.judge_servers import Model, serving

# ALPHA around 3 of 5 is symmetrical: (3 - 1) / 4
HONEST = Score(pytest.approx(0.5))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    import openai._base_client as client

    monkeypatch.setattr(client, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(client, "MAX_RETRY_DELAY", 0.02)


@pytest.fixture(scope="module")
def model_and_url():
    model = Model()
    with serving(model.app()) as port:
        yield model, f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def model(model_and_url):
    model_and_url[0].__init__()
    return model_and_url[0]


@pytest.fixture
def url(model_and_url):
    return model_and_url[1]


def asked(number=0):
    return Request("You grade.", "Q\n", f"| text {number}\nScore:", 5)


def ask(url, requests=None, **settings):
    async def opinions():
        settings_ = {"deadline_s": 5.0, "in_flight": 8} | settings
        judge = EndpointJudge(url, "m", **settings_)
        try:
            return await judge.opinions(requests or [asked()])
        finally:
            await judge.close()

    return asyncio.run(opinions())


def test_one_token_with_its_log_probabilities_is_asked_for(model, url):
    answers = ask(url)
    assert answers.opinions == (HONEST,) and len(answers.seconds) == 1
    (sent,) = model.asked
    assert sent["messages"] == [
        {"role": "system", "content": "You grade."},
        {"role": "user", "content": "Q\n| text 0\nScore:"},
    ]
    assert (sent["max_tokens"], sent["logprobs"], sent["top_logprobs"]) == (1, True, 20)
    assert (sent["model"], sent["temperature"]) == ("m", 0.0)


@pytest.mark.parametrize(("way", "requests"), [("json_schema", 2), ("json_object", 5)])
def test_a_server_without_them_is_asked_for_json_and_asked_so_from_then_on(
    way, requests, model, url
):
    model.way = way

    async def twice():
        judge = EndpointJudge(url, "m", deadline_s=5.0, in_flight=8)
        found = [await judge.opinions([asked(n)]) for n in range(2)]
        await judge.close()
        return [answers.opinions[0] for answers in found]

    assert asyncio.run(twice()) == [HONEST, HONEST]
    forms = [(sent.get("response_format") or {}).get("type", "logprobs") for sent in model.asked]
    assert forms[-2:] == [way, way]
    assert len(forms) == requests + 1  # json_schema is refused with 500, which is tried three times


@pytest.mark.parametrize(
    ("way", "kind", "requests"),
    [
        ("garbage", "garbage", 1),
        ("no choices", "garbage", 1),
        ("words", "garbage", 2),
        ("out of range", "schema", 2),
        ("text", "schema", 2),
        (429, "HTTP 429", 3),
        (500, "HTTP 500", 9),
        (503, "HTTP 503", 3),
        (401, "HTTP 401", 1),
    ],
)
def test_faults_are_abstentions_of_their_kind(way, kind, requests, model, url):
    model.way = way
    (opinion,) = ask(url).opinions
    assert isinstance(opinion, Abstain) and opinion.kind == kind
    assert len(model.asked) == requests  # the client tries three times what may pass


def test_a_server_that_hangs_costs_the_deadline_and_no_more(model, url):
    model.way = "hangs"
    started = time.monotonic()
    answers = ask(url, [asked(n) for n in range(8)], deadline_s=0.3)
    assert {opinion.kind for opinion in answers.opinions} == {"timeout"}
    assert time.monotonic() - started < 3 and min(answers.seconds) > 0.25


def test_a_server_that_is_not_there_is_left_alone_after_a_few_failures():
    with serving(Model().app()) as port:
        pass  # nobody listens there any more
    answers = ask(f"http://127.0.0.1:{port}/v1", [asked(n) for n in range(9)], in_flight=1)
    assert [o.kind for o in answers.opinions] == ["connection"] * 5 + ["left alone"] * 4
    assert len(answers.seconds) == 5


def test_many_are_under_way_and_no_more_than_allowed(model, url):
    model.latency_s = 0.1
    started = time.monotonic()
    answers = ask(url, [asked(n) for n in range(32)], in_flight=16)
    assert answers.opinions == (HONEST,) * 32 and model.most_at_once == 16
    assert 0.2 <= time.monotonic() - started < 2.5


def test_a_rate_limit_spreads_requests(model, url):
    started = time.monotonic()
    ask(url, [asked(n) for n in range(6)], requests_per_s=20.0)
    assert time.monotonic() - started >= 0.24


def test_the_key_goes_to_the_server_and_nowhere_else(model, url, monkeypatch, caplog, capfd):
    monkeypatch.setenv(KEY_VARIABLE, "planted-key")
    caplog.set_level(0)
    model.way = 401
    answers = ask(url)
    assert model.asked[0]["headers"]["Authorization"] == "Bearer planted-key"
    assert "planted-key" not in repr(answers) + caplog.text + "".join(capfd.readouterr())


def test_a_breaker_lets_one_try_when_its_pause_is_over():
    now = [0.0]
    breaker = Breaker(2, 10.0, lambda: now[0])
    for _ in range(2):
        assert breaker.allows()
        breaker.done(False)
    assert not breaker.allows()
    now[0] = 10.0
    assert breaker.allows() and not breaker.allows()
    breaker.done(False)
    assert not breaker.allows()
    now[0] = 20.0
    assert breaker.allows()
    breaker.done(True)
    assert breaker.allows() and breaker.allows()


def test_the_key_is_in_no_file_of_a_run(model, url, monkeypatch, tmp_path):
    monkeypatch.setenv(KEY_VARIABLE, "planted-key")
    section = JudgeSection(rubric="llm", endpoint=url, model="m")
    open_run(tmp_path, RunConfig(judge=section))
    bench = open_bench(replace(load_judging(section), cache=tmp_path / "verdicts.sqlite"))
    question = Question("q", "What is 38 + 1?", "", "39", "math", "number")

    async def judged():
        verdicts, _ = await bench.verdicts(question, [render("1. 38 + 1 = 39", "39")])
        await bench.aclose()
        return verdicts

    (verdict,) = asyncio.run(judged())
    assert verdict.scores["reasoning_quality"] == pytest.approx(0.5)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"config.toml", "verdicts.sqlite"} <= {path.name for path in files}
    assert not any(b"planted-key" in path.read_bytes() for path in files)
