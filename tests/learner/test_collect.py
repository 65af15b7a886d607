"""Waiting for groups in order."""

import pytest

from learner.collect import Collector
from learner.loop import Stop
from tests.learner.conftest import make_group


class Script:
    """A queue that answers from a list of answers."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def put(self, items):
        raise NotImplementedError

    def get(self, max_items, timeout_s):
        return self.answers.pop(0) if self.answers else []


GROUPS = [make_group(n, [0.0, 1.0, 0.0, 1.0]) for n in range(4)]


def test_groups_come_in_the_order_asked_for():
    queue = Script([GROUPS[3], GROUPS[1]], [], [GROUPS[0], GROUPS[2]])
    collector = Collector(queue, lambda: None, timeout_s=10)
    assert collector.take([("train", 0), ("train", 1)]) == GROUPS[:2]
    assert collector.take([("train", 2), ("train", 3)]) == GROUPS[2:]


def test_silence_ends_with_what_was_awaited():
    collector = Collector(Script([GROUPS[0]]), lambda: None, timeout_s=0.01)
    with pytest.raises(TimeoutError, match=r"waiting for 1 of 2, the first \('train', 1\)"):
        collector.take([("train", 0), ("train", 1)])


def test_a_check_ends_the_wait():
    def stop():
        raise Stop("signal")

    with pytest.raises(Stop):
        Collector(Script(), stop, timeout_s=10).take([("train", 0)])
