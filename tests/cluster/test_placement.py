"""Plans worked out by hand."""

import pytest

from cluster.placement import plan
from configs.errors import InputError
from configs.schema import JudgeSection, LearnerSection, RolloutSection, RunConfig

CONFIG = RunConfig()


@pytest.mark.parametrize(
    ("hosts", "learner", "rollout", "judge"),
    [
        (1, (0,), (0,), (0,)),
        (2, (0,), (1,), (1,)),
        (3, (0,), (1,), (2,)),
        (4, (0, 1), (2,), (3,)),
        (8, (0, 1, 2, 3), (4, 5, 6), (7,)),
    ],
)
def test_pools_are_apart_as_far_as_there_are_hosts(hosts, learner, rollout, judge):
    planned = plan(hosts, CONFIG)
    assert (planned.learner, planned.rollout, planned.judge) == (learner, rollout, judge)


def test_actors_go_round_the_hosts_of_their_pool():
    config = RunConfig(rollout=RolloutSection(actors=5), judge=JudgeSection(actors=2))
    planned = plan(8, config)
    assert planned.rollout == (4, 5, 6, 4, 5) and planned.judge == (7, 7)


def test_learner_hosts_can_be_set():
    assert plan(4, RunConfig(learner=LearnerSection(hosts=1))).rollout == (1, 2)
    assert plan(1, RunConfig(learner=LearnerSection(hosts=2))).learner == (0, 0)
    with pytest.raises(InputError, match="learner.hosts = 4 leaves none of the 4 hosts"):
        plan(4, RunConfig(learner=LearnerSection(hosts=4)))


def test_no_host_is_refused():
    with pytest.raises(InputError, match="--hosts = 0"):
        plan(0, CONFIG)


def test_the_plan_can_be_read():
    assert plan(4, CONFIG).lines() == [
        "plan        4 host(s)",
        "  host 0    driver | learner 0",
        "  host 1    learner 1",
        "  host 2    rollout 0",
        "  host 3    judge 0",
    ]


def test_hosts_that_do_not_fit_into_memory_are_refused():
    from cluster.connect import check_memory

    planned = plan(64, CONFIG)
    with pytest.raises(InputError, match=r"64 local hosts need about .* GiB, 24.0 GiB are"):
        check_memory(planned, available_gib=24.0)
    check_memory(plan(4, CONFIG), available_gib=24.0)
