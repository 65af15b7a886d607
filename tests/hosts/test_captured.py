"""What somebody reads who listens on the network of a run: all of it, or with TLS nothing.

Takes minutes: `pytest tests/hosts/test_captured.py -m drill -n0`.
"""

import contextlib
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from learner.stored import read_checkpoint
from tests.hosts.cluster import DRILL, PLANTED_TOKEN, ROOT, launch, ray_cluster

pytestmark = [*DRILL, pytest.mark.timeout(600)]


@contextlib.contextmanager
def listening(hosts, path):
    """A machine on the bridge that writes down every frame."""
    ears = subprocess.Popen(
        ["ip", "netns", "exec", hosts.hub, sys.executable, "-m", "tests.hosts.capture", path],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert ears.stdout and ears.stdout.readline()
    try:
        yield
    finally:
        ears.terminate()
        ears.wait()


def secrets(folder):
    """What crosses the network in a run, by kind; of each kind several pieces."""
    rows = pq.read_table(folder / "rollouts").to_pylist()
    state = read_checkpoint(folder / "checkpoints", 8).trees["state"]
    largest = max(state["params"].values(), key=np.size).tobytes()
    places = np.linspace(0, len(largest) - 64, 40).astype(int)
    return {
        "token": [PLANTED_TOKEN.encode()],
        "prompts": list({row["prompt"].encode() for row in rows}),
        "completions": list({row["text"].encode() for row in rows if len(row["text"]) > 20}),
        "weights": [largest[place : place + 32] for place in places],
    }


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_what_a_capture_of_a_run_holds(tls):
    with ray_cluster(["", "learner", "rollout"], tls=tls) as hosts:
        path = hosts.folder / "captured"
        with listening(hosts, path):
            done = launch(
                hosts, "--hosts", "3", "--config", "configs/smoke.toml", "--run", "runs/heard",
                "sft.steps=5", "eval.rows=0", "loop.steps=8", "loop.time_budget_s=400",
            )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        heard = path.read_bytes()
        assert len(heard) > 2e6
        wanted = secrets(hosts.folder / "share" / "heard")
        assert all(len(pieces) >= 20 for kind, pieces in wanted.items() if kind != "token")
        found = {kind: sum(p in heard for p in pieces) for kind, pieces in wanted.items()}
        print(f"\n{len(heard) / 1e6:.0f} MB heard, with pieces of {found}")
        if tls:
            assert not any(found.values())
            stranger = hosts.from_outside(
                "env", "RAY_AUTH_MODE=token", f"RAY_AUTH_TOKEN={PLANTED_TOKEN}", "timeout", "60",
                sys.executable, "-c",
                f"import ray; ray.init('{hosts.address(0)}:6379', logging_level='ERROR')",
            )  # fmt: skip
            assert stranger.returncode != 0, "the token alone does not open it"
        else:
            assert all(found.values()), "else the search would show nothing"
