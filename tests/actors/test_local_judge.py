"""A model of this machine as a judge: alone, and behind the server of this project."""

import asyncio

import jax
import numpy as np
import pytest

from actors.judge_server import make_app
from actors.local_judge import LocalJudge, LocalModel
from actors.rewards.asking import Abstain, Request, Score
from actors.rewards.endpoint import EndpointJudge
from configs.errors import InputError
from configs.schema import ModelSection
from learner.policy.model import build_model
from learner.policy.tokenizer import train_tokenizer
from tests.judge_servers import serving

TEMPLATE = "<start_of_turn>user\n{prompt}<end_of_turn>\n<start_of_turn>model\n"


@pytest.fixture(scope="module")
def judge():
    """A small random model whose next token is often a digit."""
    tokenizer = train_tokenizer(["What is 38 + 1? Score: 1 2 3 4 5", "1. 38 + 1 = 39"] * 9, 300)
    section = ModelSection(layers=1, embed_dim=16, hidden_dim=16, heads=2, kv_heads=1, head_dim=8)
    model = build_model(section, tokenizer.vocabulary)
    params = dict(jax.jit(model.init)(0))
    digits = [tokenizer.encode_prompt(str(n))[-1] for n in range(1, 6)]
    embedding = np.array(params["embedder.input_embedding"])
    embedding[digits] *= 6
    params["embedder.input_embedding"] = embedding
    return LocalJudge(LocalModel(model, params, tokenizer, TEMPLATE))


REQUESTS = [
    Request("You grade.", f"Q: What is 38 + {q}?\n", f"| 1. 38 + 1 = {a}\nScore:", 5)
    for q in (1, 2)
    for a in (39, 40, 41)
]


def test_opinions_are_scores_that_differ_and_are_the_same_alone(judge):
    opinions = asyncio.run(judge.opinions(REQUESTS)).opinions
    assert len({opinion.value for opinion in opinions}) > 1
    for request, opinion in zip(REQUESTS, opinions, strict=True):
        assert judge.judge([request]) == [opinion] and 0 < opinion.value < 1


def test_a_prompt_beyond_the_limit_abstains(judge, monkeypatch):
    monkeypatch.setattr("actors.local_judge.MOST_TOKENS", 60)
    long, short = Request("", "Q", "x" * 100, 5), Request("", "Q", "x", 5)
    opinions = judge.judge([long, short])
    assert isinstance(opinions[0], Abstain) and opinions[0].kind == "too long"
    assert isinstance(opinions[1], Score)


def test_the_name_changes_with_the_weights(judge):
    params = dict(judge._scorer._params)
    params["final_norm.scale"] = params["final_norm.scale"] + 0.1
    other = LocalJudge(LocalModel(judge._scorer.model, params, judge._tokenizer, TEMPLATE))
    assert other.name != judge.name


async def asked(url, requests):
    client = EndpointJudge(url, "m", deadline_s=60.0, in_flight=4)
    try:
        return (await client.opinions(requests)).opinions
    finally:
        await client.close()


@pytest.mark.parametrize("logprobs", [True, False])
def test_behind_the_server_it_has_the_same_opinions(judge, logprobs):
    direct = judge.judge(REQUESTS)
    with serving(make_app(judge, "m", logprobs)) as port:
        found = asyncio.run(asked(f"http://127.0.0.1:{port}/v1", REQUESTS))
    for here, there in zip(direct, found, strict=True):
        if logprobs:  # of the 20 likeliest tokens only
            assert there.value == pytest.approx(here.value, abs=0.04)
        else:  # the likeliest number alone
            assert there.value in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_the_server_refuses_what_it_does_not_do(judge):
    async def refused(**fields):
        import openai

        client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        message = {"role": "user", "content": "2 + 2?"}
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(**({"model": "m", "messages": [message]} | fields))
        await client.close()
        return str(caught.value)

    schema = {"type": "object", "properties": {"why": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "v", "schema": schema}}
    with serving(make_app(judge, "m")) as port:
        url = f"http://127.0.0.1:{port}/v1"
        assert "answers have one token" in asyncio.run(refused())
        assert "one integer from 1 to 9" in asyncio.run(refused(response_format=form))
        turns = [{"role": "assistant", "content": "4"}]
        assert "one user turn" in asyncio.run(refused(messages=turns, max_tokens=1))


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(
        InputError, match="no run folder with a finished cold start, .* nor published weights"
    ):
        LocalJudge.load(tmp_path)
