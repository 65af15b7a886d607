"""Which hosts of a cluster do what, worked out by hand."""

import pytest

from cluster.hosts import Chosen, Host, Shortage, choose, read_hosts
from configs.errors import InputError
from configs.schema import LearnerSection, RolloutSection, RunConfig

CONFIG = RunConfig()


def host(number, role="", **more):
    return Host(node=f"n{number}", address=f"10.0.0.{number}", role=role, **more)


def slice_host(number, rank, name="a"):
    return host(
        number, "learner", slice=name, pod_type="v5litepod-16", topology="4x4", rank=rank, chips=4
    )


HEAD = host(1, "head")
SLICE = [slice_host(2 + rank, rank) for rank in range(4)]
ROLLOUT = host(6, "rollout", slice="b", pod_type="v5litepod-8", topology="2x4", chips=8)
JUDGE = host(7, "judge")


def nodes_of(chosen, numbers):
    return [chosen.hosts[number].node for number in numbers]


def test_ray_nodes_are_read_with_the_driver_first_and_ranks_in_order():
    def node(name, address, alive=True, resources=None, **labels):
        return {
            "NodeID": name, "NodeManagerAddress": address, "Alive": alive,
            "Labels": {key.replace("_", "-").replace("io-", "io/"): v for key, v in labels.items()},
            "Resources": resources or {},
        }  # fmt: skip

    tpu = {"ray.io_tpu_slice_name": "s", "ray.io_tpu_topology": "4x4"}
    nodes = [
        node("b", "10.0.0.10", resources={"GPU": 2.0}),
        node("a", "10.0.0.9", showwork_role="any"),
        node("t1", "10.0.1.2", resources={"TPU": 4.0}, **tpu, **{"ray.io_tpu_worker_id": "1"}),
        node("t0", "10.0.1.3", resources={"TPU": 4.0}, **tpu, **{"ray.io_tpu_worker_id": "0"}),
        node("dead", "10.0.0.1", alive=False),
        node("d", "10.0.0.50", showwork_role="head"),
    ]
    hosts = read_hosts(nodes, driver="d")
    assert [found.node for found in hosts] == ["d", "a", "b", "t0", "t1"]
    assert (hosts[0].role, hosts[1].role, hosts[2].gpus) == ("head", "", 2)
    assert (hosts[3].chips, hosts[3].slice_hosts, hosts[4].rank) == (4, 4, 1)


def test_without_labels_hosts_are_planned_as_local_ones():
    hosts = [host(n) for n in range(1, 6)]
    chosen = choose(hosts, 3, CONFIG)
    assert isinstance(chosen, Chosen) and len(chosen.hosts) == 3
    assert (chosen.plan.learner, chosen.plan.rollout, chosen.plan.judge) == ((0,), (1,), (2,))
    short = choose(hosts, 8, CONFIG)
    assert str(short) == "8 hosts wanted, 5 registered, 3 missing"
    assert short.remedy == "start more, or give --hosts 5"


def test_labels_decide_and_ranks_follow_the_worker_id():
    mixed = [HEAD, JUDGE, SLICE[2], ROLLOUT, SLICE[0], SLICE[3], SLICE[1]]
    chosen = choose(mixed, 4, CONFIG)
    assert nodes_of(chosen, chosen.plan.learner) == ["n2", "n3", "n4", "n5"]
    assert nodes_of(chosen, chosen.plan.rollout) == ["n6"]
    assert nodes_of(chosen, chosen.plan.judge) == ["n7"]
    assert chosen.hosts[0] == HEAD and chosen.plan.hosts == 7


def test_one_slice_is_the_learner_and_judges_may_sit_with_the_driver():
    second = [slice_host(20 + rank, rank, "z") for rank in range(3)]  # not whole
    chosen = choose([HEAD, *second, *SLICE, ROLLOUT], 4, CONFIG)
    assert nodes_of(chosen, chosen.plan.learner) == ["n2", "n3", "n4", "n5"]
    assert nodes_of(chosen, chosen.plan.judge) == ["n1"]
    assert chosen.plan.hosts == 6


def test_a_slice_that_is_not_whole_is_a_shortage():
    short = choose([HEAD, *SLICE[:3], ROLLOUT], 1, CONFIG)
    assert isinstance(short, Shortage)
    assert str(short) == "4 hosts of the slice a wanted, 3 registered, 1 missing"
    with pytest.raises(InputError, match="learner.hosts = 2: the slice a .* all 4 hosts of it"):
        choose([HEAD, *SLICE, ROLLOUT], 1, RunConfig(learner=LearnerSection(hosts=2)))


def test_hosts_without_a_role_fill_what_is_missing():
    chosen = choose([host(1), host(2, "learner"), host(3), host(4)], 4, CONFIG)
    assert nodes_of(chosen, chosen.plan.rollout) == ["n3"]
    assert nodes_of(chosen, chosen.plan.judge) == ["n4"]
    chosen = choose([host(1), host(2, "learner"), host(3, "rollout"), JUDGE, host(5)], 1, CONFIG)
    assert nodes_of(chosen, chosen.plan.rollout) == ["n3", "n5"]
    config = RunConfig(learner=LearnerSection(hosts=3), rollout=RolloutSection(actors=3))
    short = choose([HEAD, host(2, "learner"), ROLLOUT], 1, config)
    assert str(short) == "3 learner hosts wanted, 1 registered, 2 missing"


def test_missing_rollout_hosts_are_named():
    short = choose([HEAD, *SLICE, JUDGE], 4, CONFIG)
    assert str(short) == "1 rollout host wanted, 0 registered, 1 missing"
    assert "showwork-role=rollout" in short.remedy


def test_hosts_above_what_is_registered():
    short = choose([HEAD, *SLICE, ROLLOUT, JUDGE], 9, CONFIG)
    assert str(short) == "9 hosts wanted, 6 registered, 3 missing"


def test_the_plan_names_addresses_of_different_hosts():
    chosen = choose([HEAD, *SLICE, ROLLOUT, JUDGE], 4, CONFIG)
    lines = chosen.plan.lines([found.address for found in chosen.hosts])
    assert lines[:3] == [
        "plan        7 host(s)",
        "  host 0    10.0.0.1    driver",
        "  host 1    10.0.0.2    learner 0",
    ]
