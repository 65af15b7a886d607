"""A run whose judge is a server that goes away, or answers nonsense: training waits, and is the
same run as without it."""

import asyncio
from contextlib import ExitStack

import pytest

from actors.bench import Bench, Judging
from actors.judge import Judge
from actors.rewards.breaker import Breaker
from actors.rewards.endpoint import EndpointJudge
from actors.rewards.format import render
from actors.rewards.rubric import SHIPPED, load_rubric
from learner.metrics import scalars
from tests.judge_servers import Model, serving
from tests.pipeline import LIKED, FakeTokenizer, Pipeline, config_of

STEPS = 4


class Renders(FakeTokenizer):
    """The sampled tokens as the reasoning of a completion that keeps the format."""

    def decode(self, tokens):
        return render(" ".join(map(str, tokens)), "3")


def score_of(text):
    """1 to 5: how often the liked token stands in the judged line."""
    (line,) = (line for line in text.split("\n") if line.startswith("| ") and "Answer" not in line)
    return min(5, 1 + line[2:].split().count(str(LIKED)))


class Judged(Pipeline):
    """`server`: what it is at each turn of the judge, from (step, turns of that step)."""

    def __init__(self, folder, rubric, server):
        super().__init__(config_of(steps=STEPS), folder)
        for actor in self.actors:
            actor.tokenizer = Renders()
        self.model, self.server, self.failed = Model(score_of), server, {}
        self.runner, self.up, self.turn_of_step = asyncio.Runner(), ExitStack(), (0, 0)
        self.port = self.up.enter_context(serving(self.model.app()))
        self.judge = Judge(0, 1, Judging(rubric), self.rollouts, self.scored)
        url = f"http://127.0.0.1:{self.port}/v1"
        self.client = EndpointJudge(
            url, "m", deadline_s=60.0, in_flight=64, breaker=Breaker(20, 0.02)
        )
        self.judge.bench = Bench(rubric, self.client)

    def check(self):
        self.check_end()
        self.actors[0].serve(timeout_s=0.0)
        if groups := self.rollouts.get(99, 0.0):
            step, turn = self.turn_of_step
            self.turn_of_step = (len(self.reports), turn + 1 if len(self.reports) == step else 0)
            self._set(self.server(*self.turn_of_step))
            self.runner.run(self.judge.serve(groups))

    def _set(self, way):
        listens = bool(self.up._exit_callbacks)
        if way == "down" and listens:
            self.up.close()
        elif way != "down":
            if not listens:
                self.up.enter_context(serving(self.model.app(), self.port))
            self.model.way = way
            self.client._deadline_s = 0.3 if way == "hangs" else 60.0

    def report(self, done):
        super().report(done)
        for name, value in scalars(done, self.config, 0.0).items():
            if name.startswith("judge/failed/"):
                kind = name.removeprefix("judge/failed/")
                self.failed[kind] = self.failed.get(kind, 0) + value

    def train(self):
        try:
            return super().train()
        finally:
            self.runner.run(self.judge.bench.aclose())
            self.runner.close()
            self.up.close()


@pytest.fixture(scope="module")
def rubric(tmp_path_factory):
    """The language model's opinion and nothing else."""
    text = (SHIPPED / "llm.toml").read_text()
    for name, weight in (("0.4", "1.0"), ("0.3", "0.0"), ("0.2", "0.0"), ("0.1", "0.0")):
        text = text.replace(f"weight = {name}", f"weight = {weight}")
    path = tmp_path_factory.mktemp("rubric") / "opinion.toml"
    path.write_text(text)
    return load_rubric(str(path))


@pytest.fixture(scope="module")
def undisturbed(rubric, tmp_path_factory):
    pipeline = Judged(tmp_path_factory.mktemp("run") / "a", rubric, lambda step, turn: "logprobs")
    pipeline.train()
    assert pipeline.failed == {} and len(pipeline.model.asked) > 40
    return pipeline


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    import openai._base_client as client

    monkeypatch.setattr(client, "INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(client, "MAX_RETRY_DELAY", 0.02)


def is_the_same_run(pipeline, undisturbed):
    ledger, reason = pipeline.train()
    assert (ledger.step, reason) == (STEPS, "all steps done")
    assert all(report.chosen.valid.all() for report in pipeline.reports)  # no reward of an outage
    assert pipeline.rewards() == undisturbed.rewards()
    assert pipeline.learner.parameters_sha256() == undisturbed.learner.parameters_sha256()


def test_a_server_that_is_killed_for_a_while_changes_nothing_but_the_time(
    rubric, undisturbed, tmp_path, caplog
):
    def server(step, turn):
        return "down" if step == 2 and turn < 25 else "logprobs"

    pipeline = Judged(tmp_path / "b", rubric, server)
    is_the_same_run(pipeline, undisturbed)
    assert pipeline.failed["connection"] > 0 and pipeline.failed["left_alone"] > 0
    assert "training pauses" in caplog.text and "cannot be reached (connection)" in caplog.text
    assert "the judge answers again" in caplog.text


def test_garbage_schemas_status_codes_and_hangs_are_counted_and_passed_over(
    rubric, undisturbed, tmp_path
):
    ways = [("out of range", "garbage"), (429,), (500,), ("hangs",)]

    def server(step, turn):
        phases = (*ways[step], "logprobs")
        return phases[min(turn // 4, len(phases) - 1)]

    pipeline = Judged(tmp_path / "c", rubric, server)
    is_the_same_run(pipeline, undisturbed)
    assert pipeline.failed.keys() >= {"schema", "garbage", "HTTP_429", "HTTP_500", "timeout"}
