"""What a run survives on real hosts: cables cut and healed, power cycles.

A head (driver, judge), two learner hosts of which one is a spare, one that samples; see
`tests/hosts/cluster.py`. Each drill ends with the run's end, the parameters of an undisturbed run
and a clean audit. Takes a quarter of an hour: `pytest tests/hosts/test_drills.py -m drill -n0 -s`
prints the times of docs/reliability.md.
"""

import json
import subprocess
import sys
import time

import pytest

from cluster.storm import Fault, Storm
from tests.hosts.cluster import DRILL, ROOT, command_line, launch, ray_cluster, until_up

pytestmark = [*DRILL, pytest.mark.timeout(600)]
HEAD, LEARNER, SPARE, ROLLOUT = range(4)
SETTINGS = (
    *("--config", "configs/smoke.toml", "--hosts", "3", "learner.hosts=1"),
    *("sft.steps=20", "eval.rows=0", "loop.silence_s=10", "loop.time_budget_s=900"),
)
STEPS = ("loop.steps=150", "checkpoint.every_steps=10")
STRUCK_AT = 40  # steps
INCIDENT = "SELECT max(at) FROM incidents"


class Run(Storm):
    """A run that is started on the head."""

    def __init__(self, hosts, name, *settings):
        super().__init__(hosts.folder / "share" / name, (*SETTINGS, *settings))
        self.hosts, self.name = hosts, name

    def start(self):
        with self.folder.with_suffix(".log").open("ab") as log:
            words = command_line("train", "--run", f"runs/{self.name}", *self.arguments)
            self.process = self.hosts.on(HEAD, *words, stdout=log, stderr=subprocess.STDOUT)
        self.starts += 1

    def until_step(self, step):
        while (self.ledger("SELECT max(step) FROM steps") or 0) < step:
            assert self.process.poll() is None, self.said()
            time.sleep(0.1)
        return time.time()

    def recovered(self, what, at, noticed=INCIDENT):
        """Waits for the next step; prints the times, in seconds after the fault."""
        fault = self._recovered(Fault(what), at, noticed)
        assert fault and fault.recovered_s, self.said()
        print(
            f"\n| {what} | {fault.detected_s:.1f} | {fault.recovered_s:.1f} |"
            f" {fault.starting_s:.1f} |"
        )
        return fault

    def ended(self):
        """Its summary, once it is at its end and its audit is clean."""
        code = self.process.wait(timeout=400)
        assert code == 0, self.said()
        audit = launch(self.hosts, "audit", f"runs/{self.name}")
        assert audit.returncode == 0, audit.stdout
        return json.loads((self.folder / "summary.json").read_text())

    def said(self):
        return self.folder.with_suffix(".log").read_text()[-3000:]


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster(["", "learner", "learner", "rollout"]) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def calm(cluster):
    """The parameters of an undisturbed run."""
    run = Run(cluster, "calm", *STEPS)
    run.start()
    summary = run.ended()
    assert cluster.address(LEARNER) in summary["placement"]["learner"][0]
    assert cluster.address(ROLLOUT) in summary["placement"]["rollout"][0]
    return summary["parameters_sha256"]


@pytest.fixture
def run(cluster, calm, request):
    """A run that is in the middle of its steps; afterwards all hosts are back."""
    run = Run(cluster, request.node.name, *STEPS)
    run.start()
    run.until_step(STRUCK_AT)
    yield run
    if run.process.poll() is None:
        run.process.kill()
        run.process.wait()
    print(f"all hosts back after {until_up(cluster, 200):.0f} s more")


def cable_cut_for_20_s(hosts):
    hosts.cut(ROLLOUT)
    time.sleep(20)
    hosts.heal(ROLLOUT)


def learner_host_power_cycled(hosts):
    hosts.power_off(LEARNER)
    time.sleep(5)
    hosts.boot(LEARNER)


@pytest.mark.parametrize("strike", [cable_cut_for_20_s, learner_host_power_cycled])
def test_what_passes_leaves_no_trace(strike, cluster, calm, run):
    at = time.time()
    strike(cluster)
    run.recovered(strike.__name__, at)
    assert run.ended()["parameters_sha256"] == calm


def test_the_cable_of_a_rollout_host_is_cut_for_good(cluster, calm, run):
    at = time.time()
    cluster.cut(ROLLOUT)
    run.recovered("cable of the host that samples cut for good", at)
    assert run.ended()["parameters_sha256"] == calm
    assert not cluster.reaches(ROLLOUT), "it was there all the time"
    cluster.heal(ROLLOUT)


OLD_GANG = """
import sys
from pathlib import Path
import jax.numpy as jnp
from learner.checkpoint import Checkpoints
from learner.epoch import Epoch
run = Path(sys.argv[1])
old = Checkpoints(run / "checkpoints" / "grpo", 2, 0, Epoch(run / "epochs", 1))
old.save(10**6, {"state": {"w": jnp.ones(3)}}, {"checksum": 0}, None, wait=True)
"""


def test_a_learner_host_that_was_cut_off_comes_back_to_nothing(cluster, calm, run):
    (old,) = cluster.processes(LEARNER, "ray::LearnerHost")
    at = time.time()
    cluster.cut(LEARNER)
    run.recovered("cable of the learner host cut; the spare one goes on", at)
    assert cluster.processes(SPARE, "ray::LearnerHost"), "the spare host has it now"
    assert cluster.processes(LEARNER, "ray::LearnerHost") == [old], "it knows of nothing"
    cluster.heal(LEARNER)
    healed = time.time()
    done = cluster.on(
        LEARNER, "env", f"PYTHONPATH={ROOT}", sys.executable, "-c", OLD_GANG, run.folder,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _, said = done.communicate(timeout=120)
    assert "by the learner of epoch 1 is refused: that of epoch" in said, said
    while old in cluster.processes(LEARNER, "ray::LearnerHost"):
        assert time.time() - healed < 60, "the old learner process goes on"
        time.sleep(0.2)
    print(f"the old learner process had ended {time.time() - healed:.1f} s after healing")
    assert run.ended()["parameters_sha256"] == calm
    epochs = {
        json.loads((step / "record" / "metadata").read_text())["epoch"]
        for step in (run.folder / "checkpoints" / "grpo").iterdir()
    }
    assert epochs == {max(int(path.name) for path in (run.folder / "epochs").iterdir())}
