"""`ray up cluster/local.yaml` by ssh on three hosts, then `launch.py --hosts 3` on that cluster.

The hosts are network namespaces of this machine (tests/hosts/netns.py). Of the file, only lines
that are the user's own are changed. Takes minutes: `pytest -m drill -n0`.
"""

import json
import subprocess
import sys
import time

import pytest

from tests.hosts.cluster import DRILL, PLANTED_TOKEN, ROOT, launch, ray_cluster

PLANTED_KEY = "planted-key-of-a-judge"
pytestmark = DRILL


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster(["", "", ""]) as hosts:
        yield hosts


def test_the_run_spreads_over_three_hosts(cluster):
    done = launch(
        cluster, "--hosts", "3", "--config", "configs/smoke.toml", "--run", "runs/spread",
        "loop.steps=3", "sft.steps=5", "eval.rows=8",
        environment={"SHOWWORK_JUDGE_KEY": PLANTED_KEY},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    addresses = [cluster.address(number) for number in range(3)]
    for number, (address, role) in enumerate(
        zip(addresses, ["driver | learner 0", "rollout 0", "judge 0"], strict=True)
    ):
        assert f"  host {number}    {address}    {role}" in done.stdout
    summary = json.loads((cluster.folder / "share" / "spread" / "summary.json").read_text())
    for role, address in zip(("learner", "rollout", "judge"), addresses, strict=True):
        assert address in summary["placement"][role][0]
    audit = launch(cluster, "audit", "runs/spread")
    assert audit.returncode == 0, audit.stdout


def test_no_key_is_left_anywhere(cluster):
    """Neither in the run folder nor in Ray's logs and sockets nor in a command line."""
    planted = PLANTED_TOKEN.encode(), PLANTED_KEY.encode()
    folders = [cluster.folder / "share", *(cluster.folder / f"host{n}" / "tmp" for n in range(3))]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert not [path for path in files if any(key in path.read_bytes() for key in planted)]
    lines = cluster.command_lines()
    assert b"raylet" in lines and not any(key in lines for key in planted)


def test_more_hosts_than_there_are_is_refused(cluster):
    before = set((cluster.folder / "share").iterdir())
    done = launch(cluster, "--hosts", "5", "loop.wait_timeout_s=1")
    assert done.returncode == 2
    assert set((cluster.folder / "share").iterdir()) == before, "it must leave nothing behind"
    assert "5 hosts wanted, 3 registered, 2 missing" in done.stderr


@pytest.fixture
def driver(cluster):
    """A program of the cluster's owner on the head: it listens, too."""
    code = "import ray; ray.init('auto', logging_level='ERROR'); print('up'); input()"
    process = cluster.on(
        0, "env", "RAY_AUTH_MODE=token", sys.executable, "-u", "-c", code,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "up\n"
    yield
    process.communicate("\n", timeout=60)


def doors(hosts, token):
    """What `tests.hosts.intruder` finds, on another machine of the network."""
    done = hosts.from_outside(
        "env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.hosts.intruder",
        hosts.address(0), token,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_intruder_gets_nothing(cluster, driver):
    """From another machine of the network, without the token or with a wrong one."""
    with_it = doors(cluster, PLANTED_TOKEN)
    assert with_it.pop("jobs: dashboard") == "closed", "it listens on the head's loopback alone"
    assert set(with_it.values()) == {"in"}, "else the rest of this test would show nothing"
    left = [cluster.folder / f"host{n}" / "home" / "an-intruder-was-here" for n in range(3)]
    until = time.monotonic() + 60
    while not any(path.exists() for path in left) and time.monotonic() < until:
        time.sleep(0.5)
    assert any(path.exists() for path in left), "a job with the token runs"
    for path in left:
        path.unlink(missing_ok=True)
    for token in ("", "a-guess"):
        without = doors(cluster, token)
        assert without.pop("jobs: dashboard") == "closed"
        assert set(without.values()) == {"refused"} and without.keys() == with_it.keys()
    on_head = cluster.on(
        0, "env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.hosts.intruder", "127.0.0.1",
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = json.loads(on_head.communicate(timeout=120)[0].splitlines()[-1])
    assert said["jobs: dashboard"] == "refused", "nor does who is on the head, as another user"
    join = f"import ray; ray.init('{cluster.address(0)}:6379', logging_level='ERROR')"
    for token in ("", "a-guess"):
        done = cluster.from_outside(
            "timeout", "60", "env", f"RAY_AUTH_TOKEN={token}",
            f"RAY_AUTH_MODE={'token' if token else 'disabled'}", sys.executable, "-c", join,
        )  # fmt: skip
        assert done.returncode != 0
        assert "uthentication" in done.stderr
    assert not any(path.exists() for path in left)
