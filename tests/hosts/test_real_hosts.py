"""`ray up cluster/local.yaml` by ssh on three hosts, then `launch.py --hosts 3` on that cluster.

The hosts are network namespaces of this machine (tests/hosts/netns.py). Of the file, only lines
that are the user's own are changed. Takes minutes: `pytest -m drill -n0`.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.hosts.netns import Hosts, what_is_missing

ROOT = Path(__file__).parents[2]
MISSING = what_is_missing()
PLANTED_TOKEN, PLANTED_KEY = "planted-token-of-these-hosts", "planted-key-of-a-judge"
pytestmark = [
    pytest.mark.drill,
    pytest.mark.hosts,
    pytest.mark.ray,
    pytest.mark.skipif(bool(MISSING), reason=f"real hosts: {MISSING}"),
]


def cluster_file(hosts: Hosts) -> str:
    """`cluster/local.yaml` with the user's lines filled in; packages are those of this checkout."""
    text = (ROOT / "cluster" / "local.yaml").read_text()
    workers = ", ".join(hosts.address(number) for number in range(1, hosts.count))
    for old, new in [
        (r"head_ip: .*", f"head_ip: {hosts.address(0)}"),
        (r"worker_ips: .*", f"worker_ips: [{workers}]"),
        (r"ssh_user: .*", "ssh_user: root"),
        (r"ssh_private_key: .*", f"ssh_private_key: {hosts.key}"),
        (r"- mkdir -p ~/showwork/runs.*", f"- ln -sfn {hosts.folder}/share ~/showwork/runs"),
        (r"- test -x ~/.local/bin/uv.*", "- echo uv is here"),
        (r"- cd ~/showwork && .*uv sync.*", f"- ln -sfn {Path(sys.prefix)} ~/showwork/.venv"),
    ]:
        text, count = re.subn(old, new, text)
        assert count == 1, old
    return text


@pytest.fixture(scope="module")
def cluster():
    """Three hosts after a whole `ray up`, run from a machine that is none of them."""
    folder = Path(tempfile.mkdtemp(prefix="sw-hosts-", dir="/var/tmp"))
    with Hosts(3, folder / "h") as hosts:
        laptop = hosts.home
        (laptop / ".ray").mkdir()
        token = laptop / ".ray" / "auth_token"
        token.write_text(PLANTED_TOKEN)
        token.chmod(0o600)
        (hosts.folder / "local.yaml").write_text(cluster_file(hosts))
        done = subprocess.run(
            ["ip", "netns", "exec", hosts.hub, "ray", "up", "-y", "--no-config-cache",
             str(hosts.folder / "local.yaml")],
            cwd=ROOT, env=hosts._environment(), capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        until_up(hosts)
        yield hosts
    folder.rmdir()


def alive(hosts: Hosts) -> int:
    """Ray nodes that are up, as the head sees it."""
    count = "import ray; ray.init('auto', logging_level='ERROR', log_to_driver=False)\n"
    count += "print(sum(node['Alive'] for node in ray.nodes()))"
    process = hosts.on(
        0, "env", "RAY_AUTH_MODE=token", sys.executable, "-c", count,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return int(out.split()[-1])


def until_up(hosts: Hosts) -> None:
    began = time.monotonic()
    while (up := alive(hosts)) < hosts.count:
        assert time.monotonic() - began < 60, f"{up} of {hosts.count} hosts are up"


def launch(hosts: Hosts, *arguments: str, timeout_s: float = 200.0) -> subprocess.CompletedProcess:
    """`python launch.py` on the head."""
    process = hosts.on(
        0, "bash", "-lc", f"cd ~/showwork && .venv/bin/python launch.py {' '.join(arguments)}",
        environment={"OPENAI_API_KEY": PLANTED_KEY}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def test_the_run_spreads_over_three_hosts(cluster):
    done = launch(
        cluster, "--hosts", "3", "--config", "configs/smoke.toml", "--run", "runs/spread",
        "loop.steps=3", "sft.steps=5", "eval.rows=8",
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
    done = launch(cluster, "--hosts", "5", "loop.wait_timeout_s=1")
    assert done.returncode == 2
    assert "5 hosts wanted, 3 registered, 2 missing" in done.stderr


def test_an_intruder_gets_nothing(cluster):
    """From another machine of the network, without the token."""
    head = cluster.address(0)
    probe = "from cluster.security import answers_without_token as f; print(f('{}:6379'))"
    done = cluster.from_outside(
        "env", f"PYTHONPATH={ROOT}", "RAY_AUTH_MODE=disabled", sys.executable, "-c",
        probe.format(head),
    )  # fmt: skip
    assert done.stdout.strip() == "False", done.stderr
    join = f"import ray; ray.init('{head}:6379', logging_level='ERROR')"
    for token in ("", "a-guess"):
        done = cluster.from_outside(
            "timeout", "60", "env", f"RAY_AUTH_TOKEN={token}",
            f"RAY_AUTH_MODE={'token' if token else 'disabled'}", sys.executable, "-c", join,
        )  # fmt: skip
        assert done.returncode != 0
        assert "uthentication" in done.stderr
    listening = cluster.from_outside(
        sys.executable, "-c",
        f"import socket; print(socket.socket().connect_ex(('{head}', 8265)))",
    )  # fmt: skip
    assert listening.stdout.strip() != "0", "the dashboard listens on the head's loopback alone"
