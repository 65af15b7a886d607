"""Canaries through a real judge: right, known, and steady; and what it looks like when they are
not."""

import asyncio

import pytest

from actors.bench import Bench, Judging
from actors.canaries import Canaries
from actors.data.labelled.items import read_items
from actors.judge import CANARY, Judge
from actors.probes import noise_of, probe_lines, wordy
from actors.rewards.asking import Answers, Score
from actors.rewards.rubric import load_rubric
from actors.rewards.verdict_cache import VerdictCache
from learner.collect import Collector
from tests.pipeline import LocalQueue


class Says:
    """A model judge whose scores are `values`, over and over."""

    name = "says"

    def __init__(self, *values):
        self.values, self.asked = values, 0

    async def opinions(self, requests):
        found = []
        for _ in requests:
            found.append(Score(self.values[self.asked % len(self.values)]))
            self.asked += 1
        return Answers(tuple(found), (0.1,) * len(found))


def canaries(tmp_path):
    rollouts, scored = LocalQueue(), LocalQueue()
    collector = Collector(
        scored, lambda: None, 5, ask_judges=rollouts.put, max_abstain=0.2, pause_s=0
    )
    return Canaries(rollouts, collector, tmp_path / "canaries.json"), rollouts, scored, collector


def judge_all(rollouts, scored, collector, bench=None):
    judge = Judge(0, 1, Judging(load_rubric("paper")), rollouts, scored)
    judge.bench = bench or judge.bench
    asyncio.run(judge.serve(rollouts.get(99, 0)))
    for group in scored.get(99, 0):
        collector._early[group.key] = group


def test_rounds_go_through_the_pool_and_the_rules_are_right_and_steady(tmp_path):
    watched, rollouts, scored, collector = canaries(tmp_path)
    assert watched.step(due=False) == {} and not rollouts.items
    assert watched.step(due=True) == {} and len(rollouts.items) == 8
    assert {group.permit.stream for group in rollouts.items} == {CANARY}
    assert watched.step(due=False) == {}  # not back yet
    judge_all(rollouts, scored, collector)
    first = watched.step(due=True)
    assert first == {"judge/canary_right": 1.0, "judge/canary_drift": 0.0}
    judge_all(rollouts, scored, collector)
    assert watched.step(due=False)["judge/noise"] == 0.0
    assert (tmp_path / "canaries.json").exists() and not collector.early


def test_a_round_that_was_lost_is_asked_again(tmp_path):
    watched, rollouts, scored, collector = canaries(tmp_path)
    watched.step(due=True)
    rollouts.items.pop()
    judge_all(rollouts, scored, collector)
    assert watched.step(due=True) == {} and len(rollouts.items) == 1
    judge_all(rollouts, scored, collector)
    assert watched.step(due=False)["judge/canary_right"] == 1.0


def test_a_judge_that_wanders_is_seen_and_the_cache_does_not_hide_it(tmp_path):
    bench = Bench(load_rubric("llm"), Says(0.9, 0.1, 0.2), VerdictCache(tmp_path / "v.sqlite"))
    watched, rollouts, scored, collector = canaries(tmp_path)
    for _ in range(2):
        scalars = watched.step(due=True)
        judge_all(rollouts, scored, collector, bench)
    scalars = watched.step(due=False)
    assert scalars["judge/canary_drift"] > 0.05 < scalars["judge/noise"]
    assert bench._model.asked == 2 * 32


def test_the_noise_of_one_verdict_is_that_of_the_difference_of_two_by_root_two():
    assert noise_of([0.1, -0.1]) == pytest.approx(0.1 / 2**0.5)


def test_probes_change_one_thing(tmp_path):
    item = read_items()[0]
    assert wordy(item.good).count(", as one can see") == item.good.count("\n") + 1
    rules = asyncio.run(probe_lines([item], Bench(load_rubric("paper"), None)))
    assert len(rules) == 2 and rules[1].split()[:1] == ["verbosity"]
    # good .5, wordy .5, downwards .75, again .25; the criterion weighs .4
    bench = Bench(load_rubric("llm"), Says(0.5, 0.5, 0.75, 0.25))
    lines = asyncio.run(probe_lines([item], bench))
    assert "+0.100 (from +0.100 to +0.100)" in lines[2]
    assert lines[3].endswith(f"{0.1 / 2**0.5:.4f}")


def test_known_scores_come_from_the_cache_and_identical_texts_are_asked_once(tmp_path):
    item = read_items()[0]
    question, rubric = item.question(True), load_rubric("llm")
    model = Says(0.5)
    bench = Bench(rubric, model, VerdictCache(tmp_path / "v.sqlite"))
    texts = (item.good, item.good, item.malformed)
    (good, same, malformed), calls = asyncio.run(bench.verdicts(question, texts))
    assert good == same and malformed.reward == -0.5
    assert (model.asked, len(calls.seconds), calls.cached) == (1, 1, 0)
    (again,), calls = asyncio.run(bench.verdicts(question, texts[:1]))
    assert again == good and (model.asked, calls.seconds, calls.cached) == (1, (), 1)
    later = Bench(rubric, Says(0.0), VerdictCache(tmp_path / "v.sqlite"))  # another process
    assert asyncio.run(later.verdicts(question, texts[:1]))[0] == [good]
