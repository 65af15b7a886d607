import asyncio
import logging
import math

import numpy as np
import pytest

from actors import bench
from actors.bench import Judging
from actors.judge import FAILURES_IN_A_ROW, Judge, JudgeActor
from actors.rewards.format import render
from actors.rewards.rubric import load_rubric
from actors.rewards.sandbox import Unavailable
from cluster.messages import Permit, Question, RolloutGroup, ScoredGroup

RIGHT, WRONG = render("1. 38 + 1 = 39", "39"), render("1. 38 + 1 = 40", "40")


class Closed(Exception):
    pass


class Queue:
    """Hands out prepared batches, then is closed."""

    def __init__(self, *batches):
        self.batches = list(batches)

    def get(self, max_items: int, timeout_s: float) -> list:
        assert max_items >= 1 and timeout_s > 0
        if not self.batches:
            raise Closed
        return self.batches.pop(0)

    def put(self, items: list) -> None:
        self.batches.append(items)


def group(index: int, *texts: str, verifier: str = "number") -> RolloutGroup:
    question = Question("q", "What is 38 + 1?", "1. 38 + 1 = 39", "39", "math", verifier)
    empty = tuple(np.empty(0) for _ in texts)
    permit = Permit("train", index, question, np.empty(0, np.int32), len(texts), 1.0, 0)
    return RolloutGroup(permit, 0, empty, empty, texts, np.zeros(len(texts), bool), 0, 0.0)


def actor(rollouts=None, scored=None, judges=1) -> Judge:
    return Judge(3, judges, Judging(load_rubric("paper")), rollouts or Queue(), scored or Queue())


def judged(judging: Judge, group: RolloutGroup):
    return asyncio.run(judging.judge(group))


def serve(judging: Judge, groups: list) -> None:
    asyncio.run(judging.serve(groups))


def test_no_coroutine_is_seen_from_outside():
    """Ray runs an actor that has one in an event loop, in which `run` cannot start its own."""
    assert not any(asyncio.iscoroutinefunction(method) for method in vars(JudgeActor).values())


def test_every_completion_gets_its_verdict_in_order():
    scored = judged(actor(), group(5, RIGHT, "39", WRONG))
    assert [v.reward for v in scored.verdicts] == pytest.approx([1.02, -0.5, 0.32])
    assert scored.key == ("train", 5)
    assert scored.judge == 3 and scored.judge_s > 0 and scored.finished_at > 0


def test_run_judges_what_comes_and_puts_nothing_for_nothing():
    rollouts = Queue([group(0, RIGHT), group(1, WRONG)], [], [group(2, RIGHT)])
    scored = Queue()
    with pytest.raises(Closed):
        asyncio.run(actor(rollouts, scored).work())
    assert [[s.key[1] for s in batch] for batch in scored.batches] == [[0, 1], [2]]


def test_a_completion_that_cannot_be_judged_abstains_with_its_reason(caplog):
    with caplog.at_level(logging.ERROR):
        (verdict,) = judged(actor(), group(0, RIGHT, verifier="magic")).verdicts
    assert math.isnan(verdict.reward) and verdict.parts == {}  # never a zero
    assert verdict.abstained.startswith("InputError: verifier 'magic' is unknown")
    assert "question q" in caplog.text


def test_a_group_that_could_not_be_sampled_is_not_judged():
    scored = Queue()
    permit = group(0, "", "").permit
    instead = ScoredGroup.instead(permit, "the prompt has 99 tokens")
    serve(actor(scored=scored, judges=2), [instead])
    reasons = [v.abstained for v in scored.batches[0][0].verdicts]
    assert reasons == ["the prompt has 99 tokens"] * 2


def test_only_the_failing_sibling_abstains(monkeypatch):
    def score(question, text, rubric, opinions):
        if text == "odd":
            raise ZeroDivisionError("odd one")
        return real(question, text, rubric, opinions)

    real = bench.score
    monkeypatch.setattr(bench, "score", score)
    verdicts = judged(actor(), group(0, RIGHT, "odd", RIGHT)).verdicts
    assert [v.abstained for v in verdicts] == ["", "ZeroDivisionError: odd one", ""]


def test_many_failures_in_a_row_raise_and_a_success_starts_the_count_again():
    judging = actor()
    few = group(0, *[RIGHT] * (FAILURES_IN_A_ROW - 1), verifier="magic")
    judged(judging, few)
    judged(judging, group(1, RIGHT))
    judged(judging, few)
    with pytest.raises(RuntimeError, match="judge 3: 20 failures in a row"):
        judged(judging, few)


def make_unavailable(monkeypatch, times: int) -> None:
    """The next `times` judgements find the verifier down."""
    real, left = bench.score, [times]

    def score(question, text, rubric, opinions):
        if left[0]:
            left[0] -= 1
            raise Unavailable("the verifier is down")
        return real(question, text, rubric, opinions)

    monkeypatch.setattr(bench, "score", score)


def test_an_outage_abstains_and_is_no_failure_of_the_judge(monkeypatch):
    make_unavailable(monkeypatch, 100)
    judging = actor()
    for index in range(25):
        scored = judged(judging, group(index, RIGHT, WRONG))
    assert scored.abstentions == ("the verifier is down",) * 2 and judging.failures == 0


def test_another_judge_judges_only_what_is_left(monkeypatch):
    make_unavailable(monkeypatch, 1)
    queue, scored = Queue(), Queue()
    first = Judge(0, 2, Judging(load_rubric("paper")), queue, scored)
    second = Judge(1, 2, Judging(load_rubric("paper")), queue, scored)
    serve(first, [group(4, RIGHT, WRONG)])
    ((handed_on,),) = queue.batches
    assert not scored.batches and handed_on.abstentions == ("the verifier is down",)
    assert handed_on.verdicts[1].reward == pytest.approx(0.32)
    queue.batches.clear()
    serve(first, [handed_on])  # it has tried: the other one shall
    assert queue.batches == [[handed_on]] and not scored.batches
    serve(second, [handed_on])
    ((done,),) = scored.batches
    assert [v.reward for v in done.verdicts] == pytest.approx([1.02, 0.32])
    assert done.verdicts[1] is handed_on.verdicts[1] and (done.judge, done.tried) == (1, ())


def test_after_two_judges_a_group_goes_on_with_the_verdicts_it_has(monkeypatch):
    make_unavailable(monkeypatch, 2)
    queue, scored = Queue(), Queue()
    for index in (0, 1):
        judging = Judge(index, 3, Judging(load_rubric("paper")), queue, scored)
        serve(judging, queue.batches.pop() if queue.batches else [group(4, RIGHT)])
    ((done,),) = scored.batches
    assert done.tried == (0, 1) and len(done.abstentions) == 1


def test_the_only_judge_hands_nothing_on(monkeypatch):
    make_unavailable(monkeypatch, 1)
    queue, scored = Queue(), Queue()
    serve(actor(queue, scored), [group(4, RIGHT, RIGHT)])
    assert not queue.batches and len(scored.batches[0][0].abstentions) == 1
