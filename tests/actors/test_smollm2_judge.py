"""A real small model as the judge, by its own engine and behind HTTP: `pytest -m drill -n0`, after
`launch.py weights smollm2`. It shows the plumbing; what such a model thinks of a trace is worth
nothing, and nothing is asserted of it."""

import asyncio
from pathlib import Path

import pytest

from actors.bench import Bench
from actors.data.labelled.items import read_items
from actors.judge_server import make_app
from actors.local_judge import LocalJudge
from actors.rewards.asking import Score
from actors.rewards.endpoint import EndpointJudge
from actors.rewards.rubric import load_rubric
from tests.judge_servers import serving

WEIGHTS = Path(__file__).parents[2] / "weights" / "smollm2-135m-instruct"
TOLERANCE = 0.03  # of a score from 0 to 1: a server tells the 20 likeliest tokens only
pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not WEIGHTS.exists(), reason="launch.py weights smollm2"),
]


def test_both_ways_of_asking_agree_on_forty_items():
    judge, bench = LocalJudge.load(WEIGHTS), Bench(load_rubric("llm"), None)
    items = list({item.template: item for item in read_items()}.values())[:40]
    requests = [
        request
        for item in items
        for request in bench.asked(item.question(True), item.good).values()
    ]
    here = judge.judge(requests)

    async def over_http(port):
        client = EndpointJudge(f"http://127.0.0.1:{port}/v1", "m", deadline_s=600.0, in_flight=2)
        try:
            return (await client.opinions(requests)).opinions
        finally:
            await client.close()

    with serving(make_app(judge, "m")) as port:
        there = asyncio.run(over_http(port))
    assert len(here) == 40 and all(isinstance(opinion, Score) for opinion in here)
    apart = [abs(a.value - b.value) for a, b in zip(here, there, strict=True)]
    values = [opinion.value for opinion in here]
    print(f"largest difference {max(apart):.1e}; scores {min(values):.2f} to {max(values):.2f}")
    assert max(apart) < TOLERANCE
