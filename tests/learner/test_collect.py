"""Waiting for groups in order, and for their verdicts."""

import logging

import pytest

from cluster.messages import ScoredGroup
from learner.collect import TIMES_ASKED, Collector, WorkLost
from learner.loop import Stop
from tests.learner.conftest import make_group, make_permit

REWARDS = [0.0, 1.0, 0.0, 1.0]


class Script:
    """A queue that answers from a list of answers."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def put(self, items):
        raise NotImplementedError

    def get(self, max_items, timeout_s):
        return self.answers.pop(0) if self.answers else []


class Judges:
    """Answers what it is asked with the group of `make_group` that has these abstentions."""

    def __init__(self, queue: Script, *abstained):
        self.queue, self.abstained, self.asked = queue, list(abstained), []

    def __call__(self, groups):
        self.asked.append([group.key[1] for group in groups])
        assert all(group.tried == () for group in groups)
        abstained = self.abstained.pop(0)
        self.queue.answers.append(
            [make_group(g.key[1], REWARDS, abstained=abstained) for g in groups]
        )


def make_collector(queue, judges=None, max_abstain=0.5, check=lambda: None, timeout_s=10.0):
    return Collector(
        queue,
        check,
        timeout_s,
        ask_judges=judges or Judges(queue),
        max_abstain=max_abstain,
        pause_s=0.0,
    )


GROUPS = [make_group(n, REWARDS) for n in range(4)]
KEYS = [("train", n) for n in range(4)]


def test_groups_come_in_the_order_asked_for():
    queue = Script([GROUPS[3], GROUPS[1]], [], [GROUPS[0], GROUPS[2]])
    collector = make_collector(queue)
    assert collector.take(KEYS[:2]) == GROUPS[:2]
    assert collector.take(KEYS[2:]) == GROUPS[2:]
    assert (collector.asked_again, collector.paused_s) == (0, 0.0)


def test_a_group_that_comes_twice_is_handed_out_once():
    queue = Script(
        [GROUPS[0], GROUPS[1], GROUPS[1]], [GROUPS[0], GROUPS[3]], [GROUPS[1], GROUPS[2]]
    )
    collector = make_collector(queue)
    assert collector.take(KEYS[:2]) == GROUPS[:2]
    assert collector.take(KEYS[2:]) == GROUPS[2:]
    assert collector.early == 0, "what came again must not be kept"


def test_silence_ends_with_what_was_awaited():
    collector = make_collector(Script([GROUPS[0]]), timeout_s=0.01)
    with pytest.raises(TimeoutError, match=r"waiting for 1 of 2, the first \('train', 1\)"):
        collector.take(KEYS[:2])


def test_a_check_ends_the_wait():
    def stop():
        raise Stop("signal")

    with pytest.raises(Stop):
        make_collector(Script(), check=stop).take([("train", 0)])


def test_two_verdicts_are_enough():
    group = make_group(0, REWARDS, abstained=(1, 3))
    assert make_collector(Script([group])).take(KEYS[:1]) == [group]


def test_a_group_with_fewer_is_put_before_the_judges_again_and_the_others_wait():
    queue = Script([make_group(0, REWARDS, abstained=(0, 1, 2)), GROUPS[1], GROUPS[2], GROUPS[3]])
    judges = Judges(queue, (0,))
    collector = make_collector(queue, judges)
    groups = collector.take(KEYS)
    assert judges.asked == [[0]] and collector.asked_again == 1
    assert [len(group.abstentions) for group in groups] == [1, 0, 0, 0]
    assert [group.key for group in groups] == KEYS


def test_a_group_that_never_gets_two_verdicts_is_given_up():
    queue = Script([make_group(0, REWARDS, abstained=(0, 1, 2)), *GROUPS[1:]])
    judges = Judges(queue, *[(0, 1, 2)] * 9)
    groups = make_collector(queue, judges).take(KEYS)
    assert len(judges.asked) == TIMES_ASKED and len(groups[0].abstentions) == 3


def test_above_the_limit_training_pauses_says_why_and_goes_on(caplog):
    queue = Script([make_group(n, REWARDS, abstained=(0, 1, 2)) for n in range(4)])
    judges = Judges(queue, *[(0, 1, 2)] * 5, ())
    with caplog.at_level(logging.WARNING):
        groups = make_collector(queue, judges).take(KEYS)
    assert judges.asked == [[0, 1, 2, 3]] * 6  # longer than a group is asked for without an outage
    assert [group.abstentions for group in groups] == [()] * 4
    first, last = (record.getMessage() for record in caplog.records)
    assert "abstains on 75 %" in first and "judge.max_abstain = 0.5" in first
    assert "judge was down" in first and "goes on" in last


def test_a_stop_ends_a_pause():
    def stop_when_paused():
        if judges.asked:
            raise Stop("signal")

    queue = Script([make_group(0, REWARDS, abstained=(0, 1, 2, 3))])
    judges = Judges(queue, *[(0, 1, 2, 3)] * 9)
    with pytest.raises(Stop):
        make_collector(queue, judges, check=stop_when_paused).take(KEYS[:1])


def test_what_has_arrived_outlives_a_lost_worker():
    def lose_one():
        if not queue.answers and not lost:
            lost.append("rollout actor 0 died")
            raise WorkLost(lost[0])

    lost = []
    queue = Script([GROUPS[1], GROUPS[2]])
    collector = make_collector(queue, check=lose_one)
    with pytest.raises(WorkLost):
        collector.take(KEYS[:2])
    assert [key in collector for key in KEYS] == [False, True, True, False]
    queue.answers.append([GROUPS[0]])
    assert collector.take(KEYS[:2]) == GROUPS[:2]
    assert collector.arrived == 3 and KEYS[1] not in collector


class Deadly:
    """Answers what is asked at once, but for groups that kill the worker that gets them."""

    def __init__(self, *deadly):
        self.deadly, self.asked, self.queue = deadly, [], Script()
        self.collector = make_collector(self.queue, check=self.check, timeout_s=60.0)
        self.kept = []

    def ask(self, keys):
        self.asked.append([index for _, index in keys])

    def check(self):
        taken = self.asked[-1][:3]
        if set(taken) & set(self.deadly):
            raise WorkLost("died", {("train", index) for index in taken})
        self.queue.answers = [[GROUPS[index] for index in self.asked[-1]]]

    def set_aside(self, key):
        self.collector.keep(ScoredGroup.instead(make_permit(key[1]), "it kills"))

    def take(self):
        self.ask(KEYS)
        while True:
            try:
                return self.collector.take(KEYS)
            except WorkLost as lost:
                self.collector.ask_again(lost, KEYS, self.ask, self.set_aside)


def test_a_group_that_kills_its_workers_is_found_and_set_aside():
    work = Deadly(1)
    groups = work.take()
    assert [group.set_aside for group in groups] == ["", "it kills", "", ""]
    assert groups[1].abstentions == ("it kills",) * 4
    # twice all together, then the three that a worker held alone, and the fourth with no delay
    assert work.asked == [[0, 1, 2, 3], [0, 1, 2, 3], [0], [1], [1], [1], [2], [3]]


def test_two_that_kill_are_both_set_aside_and_a_death_by_chance_accuses_nobody():
    assert [bool(group.set_aside) for group in Deadly(1, 2).take()] == [False, True, True, False]
    work = Deadly()
    by_chance = iter([True, True, True, False, True, False, False])
    answer = work.check

    def check():
        if next(by_chance, False):
            raise WorkLost("killed by somebody", KEYS)
        answer()

    work.collector._check = check
    assert work.take() == GROUPS
