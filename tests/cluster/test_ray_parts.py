"""Queues, workers and the learner slice on a real local cluster."""

import os
import signal
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import ray

from cluster.calls import WorkerGone
from cluster.connect import stand_in
from cluster.learner_slice import LearnerSlice
from cluster.queues import GroupQueue
from cluster.workers import start_actor, start_workers
from configs.errors import InputError
from tests.learner.conftest import make_group, make_permit

pytestmark = pytest.mark.ray


def test_a_queue_hands_out_what_is_there_in_order(connection):
    queue = GroupQueue(connection.nodes[0])
    queue.put([1, 2, 3])
    queue.put([4])
    assert queue.get(2, 1.0) == [1, 2]
    assert queue.get(9, 1.0) == [3, 4]
    assert queue.get(9, 0.05) == [] == queue.get(9, 0.0)
    queue.put([5])
    stats = queue.stats()
    assert (stats["depth"], stats["total"]) == (1, 5)


def test_a_waiting_consumer_wakes_up(connection):
    queue = GroupQueue(connection.nodes[1])
    threading.Timer(0.3, queue.put, [["late"]]).start()
    started = time.monotonic()
    assert queue.get(1, 20.0) == ["late"]
    assert time.monotonic() - started < 10


def test_groups_survive_the_queue_and_bring_no_jax_into_it(connection):
    queue = GroupQueue(connection.nodes[0])
    group = make_group(3, [0.0, 1.0, 0.5, 0.2])
    queue.put([group])
    (back,) = queue.get(1, 5.0)
    assert back.key == ("train", 3)
    np.testing.assert_array_equal(back.rollout.tokens[1], group.rollout.tokens[1])
    for module, heavy in (
        ("cluster.messages", ("jax", "ray")),
        ("cluster.queues", ("jax",)),  # what the processes of queues and of the store import
        ("cluster.weights", ("jax",)),
    ):
        code = f"import {module}, sys; assert not {{*{heavy}}} & sys.modules.keys()"
        assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0


class Breaks:
    def __init__(self, index, error):
        self.error = error

    def run(self):
        raise self.error


class Sleeps:
    def __init__(self, index, folder):
        (folder / f"pid-{index}").write_text(str(os.getpid()))

    def run(self):
        time.sleep(600)


def until_replaced(pool):
    for _ in range(300):
        if happened := pool.replace():
            return happened
        time.sleep(0.1)
    raise AssertionError("nothing happened")


def pid_of(folder, number, other_than=0):
    """The process that worker `number` is now, once it is up."""
    written = folder / f"pid-{number}"
    for _ in range(600):
        if written.exists() and written.read_text() not in ("", str(other_than)):
            return int(written.read_text())
        time.sleep(0.1)
    raise AssertionError(f"no {written}")


def test_a_worker_that_breaks_ends_the_job_with_its_cause(connection):
    pool = start_workers("rollout", Breaks, connection.settled, (0,), (ValueError("no luck"),), {})
    with pytest.raises(RuntimeError, match=r"(?s)rollout actor 0 on host 0 .*no luck"):
        until_replaced(pool)
    pool = start_workers("rollout", Breaks, connection.settled, (0,), (InputError("bad row"),), {})
    with pytest.raises(InputError, match="^bad row$"):
        until_replaced(pool)


def test_workers_that_are_killed_or_hang_are_replaced(connection, tmp_path):
    pool = start_workers(
        "judge", Sleeps, connection.settled, (0, 1), (tmp_path,), {}, silence_s=2.0
    )
    killed, hangs = pid_of(tmp_path, 1), pid_of(tmp_path, 0)
    os.kill(killed, signal.SIGKILL)
    (happened,) = until_replaced(pool).values()
    assert happened.startswith("judge actor 1 on host 1") and happened.endswith("died")
    assert pid_of(tmp_path, 1, other_than=killed)
    while "run" not in pool.doing()[0]:
        assert pool.replace() == {}
        time.sleep(0.1)
    os.kill(hangs, signal.SIGSTOP)
    (happened,) = until_replaced(pool).values()
    assert "judge actor 0 on host 0" in happened and "did not answer for 2 s" in happened
    assert "run (" in happened and "test_ray_parts.py" in happened
    assert pid_of(tmp_path, 0, other_than=hangs)
    pool.kill()
    psutil.wait_procs([psutil.Process(hangs)] if psutil.pid_exists(hangs) else [], timeout=30)
    assert not psutil.pid_exists(hangs) or psutil.Process(hangs).status() == "zombie"


def test_a_queue_that_is_gone_is_named(connection):
    queue = GroupQueue(connection.nodes[0], "permits")
    queue.put([1])
    queue.kill()
    with pytest.raises(WorkerGone, match="the queue of permits died"):
        queue.get(1, 1.0)


class FakeHost:
    """Answers like a learner process, without jax."""

    def __init__(self, rank, world, config):
        self.rank, self.world = rank, world

    def coordinator_address(self, ip):
        return f"{ip}:1"

    def join(self, coordinator):
        self.coordinator = coordinator

    def create_state(self):
        pieces = {0: [1, 0]}  # all in one piece of the first process
        return {"rank": self.rank, "coordinator": self.coordinator, "pieces": pieces}

    def train_step(self, batch):
        if self.rank == 1 and not batch["x"].any():
            raise ValueError("nothing but zeros")
        return {"loss": float(batch["x"].sum())}

    def export(self, version):
        return [f"offer of {self.rank}", np.arange(3)][: 2 - self.rank]


def test_a_learner_slice_is_one_learner(connection):
    learner = LearnerSlice(FakeHost, connection, (0, 1), (None,), {})
    begun = learner.create_state()
    assert (begun["rank"], begun["coordinator"]) == (0, f"{connection.addresses[0]}:1")
    assert learner.train_step({"x": np.ones(4)}) == {"loss": 4.0}
    ((offer, piece),) = learner.export(0)
    assert ray.get(offer) == "offer of 0" and ray.get(piece).tolist() == [0, 1, 2]
    with pytest.raises(RuntimeError, match="(?s)learner process 1 on host 1 .*but zeros"):
        learner.train_step({"x": np.zeros(4)})
    learner.kill()


class LosesRankOne(FakeHost):
    """Rank 1 is gone in the middle of a step; rank 0 hangs, or sees a broken connection at once."""

    def train_step(self, batch):
        if self.rank == 1:
            os._exit(1)
        if batch["hangs"]:
            time.sleep(600)
        raise OSError("connection closed by peer")


@pytest.mark.parametrize("hangs", [True, False])
def test_a_learner_process_that_dies_is_named_at_once(connection, hangs):
    learner = LearnerSlice(LosesRankOne, connection, (0, 1), (None,), {})
    learner.create_state()
    started = time.monotonic()
    with pytest.raises(WorkerGone, match="learner process 1 on host 1 .* died"):
        learner.train_step({"hangs": hangs})
    assert time.monotonic() - started < 30
    learner.kill()


class Hangs(FakeHost):
    def train_step(self, batch):
        if self.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(600)


def test_a_learner_process_that_hangs_is_named(connection):
    learner = LearnerSlice(Hangs, connection, (0, 1), (None,), {}, silence_s=3.0)
    learner.create_state()
    while "answered" in learner.doing(1):
        learner.check()
        time.sleep(0.1)
    with pytest.raises(WorkerGone, match="learner process 1 on host 1 .* did not answer for 3 s"):
        learner.train_step({"x": np.ones(4)})
    learner.kill()


def test_threads_and_platform_reach_the_actor(connection):
    class Shows:
        def environment(self):
            return os.environ["PJRT_NPROC"]

    actor = start_actor(Shows, connection, 1, (), {"PJRT_NPROC": "3"})
    assert ray.get(actor.environment.remote()) == "3"


def test_a_cluster_with_too_few_hosts_says_what_is_missing(connection, monkeypatch):
    from cluster import connect as module

    with pytest.raises(InputError, match="has 2 hosts, 3 are missing .*give --hosts 2"):
        module._registered(5, local=False, timeout_s=0.1)


def test_what_a_lost_worker_had_taken_is_known_until_it_is_asked_again(connection):
    queue = GroupQueue(connection.nodes[0], "permits")
    queue.put([make_permit(n) for n in range(5)])

    class Takes:
        def take(self, queue, count):
            return [permit.index for permit in queue.get(count, 5.0)]

    first, second = (start_actor(Takes, connection, 0, (), {}) for _ in range(2))
    assert ray.get([first.take.remote(queue, 2), second.take.remote(queue, 1)]) in (
        [[0, 1], [2]],
        [[1, 2], [0]],
    )
    held = queue.taken([first._actor_id.hex()])
    assert len(held) == 2 and queue.taken([second._actor_id.hex()]) == []
    assert [permit.index for permit in queue.get(9, 0.0)] == [3, 4]


def test_a_worker_of_a_lost_host_goes_on_at_another(connection):
    lost = replace(connection, nodes=(connection.nodes[0], "gone"))
    assert lost.settled().nodes[1] in connection.nodes
    assert stand_in(lost, {"a": "1", connection.nodes[0]: "2"}).nodes == (connection.nodes[0], "a")
    left = stand_in(lost, {connection.nodes[0]: "2"})
    assert (left.nodes, left.addresses) == ((connection.nodes[0],) * 2, ("2", "2"))
