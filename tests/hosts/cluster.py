"""`ray up cluster/local.yaml` by ssh on the hosts of `tests/hosts/netns.py`, and programs on them.

Of the file, only lines that are the user's own are changed. Host 0 is the head; who runs `ray up`
is a machine of the network that is no host.
"""

import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts.netns import Hosts, what_is_missing

ROOT = Path(__file__).parents[2]
MISSING = what_is_missing()
DRILL = [  # the marks of tests that bring up a cluster
    pytest.mark.drill,
    pytest.mark.hosts,
    pytest.mark.ray,
    pytest.mark.skipif(bool(MISSING), reason=f"real hosts: {MISSING}"),
]
PLANTED_TOKEN = "planted-token-of-these-hosts"
_COUNT = (
    "import ray; ray.init('auto', logging_level='ERROR', log_to_driver=False)\n"
    "print(sum(node['Alive'] for node in ray.nodes()))"
)


@contextmanager
def ray_cluster(roles: Sequence[str], tls: bool = False) -> Iterator[Hosts]:
    """One host for each role (of `~/.showwork-role`; "": any) after a whole `ray up`.

    `tls`: with the lines of docs/security.md for it.
    """
    folder = Path(tempfile.mkdtemp(prefix="sw-hosts-", dir="/var/tmp"))
    with Hosts(len(roles), folder / "h") as hosts:
        for number, role in enumerate(roles):
            if role:
                (hosts.folder / f"host{number}" / "home" / ".showwork-role").write_text(role)
        (hosts.home / ".ray").mkdir()
        token = hosts.home / ".ray" / "auth_token"
        token.write_text(PLANTED_TOKEN)
        token.chmod(0o600)
        text = _cluster_file(hosts)
        if tls:
            script = ROOT / "cluster" / "certificates.sh"
            subprocess.run([script, hosts.home / ".ray/tls"], check=True)
            text = _with_tls(text)
            hosts.variables = {
                name: value.replace("~", str(hosts.home))
                for name, value in re.findall(r"(RAY_\w*TLS\w*)=([^\s;]+)", text)
            }
        (hosts.folder / "local.yaml").write_text(text)
        ray_up(hosts)
        until_up(hosts)
        yield hosts
    folder.rmdir()


def _cluster_file(hosts: Hosts) -> str:
    """`cluster/local.yaml` with the user's lines filled in; packages are those of this checkout."""
    text = (ROOT / "cluster" / "local.yaml").read_text()
    workers = range(1, hosts.count)
    addresses = ", ".join(map(hosts.address, workers))
    for old, new, times in [
        (r"head_ip: .*", f"head_ip: {hosts.address(0)}", 1),
        (r"worker_ips: .*", f"worker_ips: [{addresses}]", 1),
        (r"(min|max)_workers: 2", rf"\1_workers: {len(workers)}", 2),
        (r"ssh_user: .*", "ssh_user: root", 1),
        (r"ssh_private_key: .*", f"ssh_private_key: {hosts.key}", 1),
        (r"- mkdir -p ~/showwork/runs.*", f"- ln -sfn {hosts.folder}/share ~/showwork/runs", 1),
        (r"- test -x ~/.local/bin/uv.*", "- echo uv is here", 1),
        (r"- cd ~/showwork && .*uv sync.*", f"- ln -sfn {Path(sys.prefix)} ~/showwork/.venv", 1),
    ]:  # fmt: skip
        text, count = re.subn(old, new, text)
        assert count == times, old
    return text


def _with_tls(text: str) -> str:
    """With each line of a fenced block of docs/security.md before the one it names."""
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "security.md").read_text(), re.S)
    assert block
    mounts, setup, environment = re.findall(r"^ *[-\"e].*$", block[1], re.M)
    text = text.replace("file_mounts:\n", f"file_mounts:\n{mounts}\n")
    text = text.replace("setup_commands:\n", f"setup_commands:\n{setup}\n")
    return text.replace("export RAY_AUTH_MODE", f"{environment.strip()}\n    export RAY_AUTH_MODE")


def ray_up(hosts: Hosts) -> None:
    done = subprocess.run(
        ["ip", "netns", "exec", hosts.hub, "ray", "up", "-y", "--no-config-cache",
         str(hosts.folder / "local.yaml")],
        cwd=ROOT, env=hosts.environment(), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def start_nodes(hosts: Hosts, store_bytes: int) -> None:
    """A Ray node on each host, without `ray up`: the head first, then all others at once.

    Its workers have the priority of who starts it; Ray's own default lets all others go first.
    """
    token = secrets.token_hex(16)
    environment = "RAY_AUTH_MODE=token", "RAY_worker_niceness=0"
    for number in range(hosts.count):
        kept = hosts.folder / f"host{number}" / "home" / ".ray" / "auth_token"
        kept.parent.mkdir()
        kept.touch(mode=0o600)
        kept.write_text(token)

    def start(number: int, *joins: str) -> subprocess.Popen:
        sizes = "--num-cpus=0", f"--object-store-memory={store_bytes}"
        ray = "env", *environment, Path(sys.executable).with_name("ray"), "start"
        here = f"--node-ip-address={hosts.address(number)}"
        return hosts.on(number, *ray, *joins, *sizes, here, stdout=subprocess.DEVNULL)

    head = start(0, "--head", "--port=6379", "--include-dashboard=false")
    assert head.wait(180) == 0, "no Ray node on the head"
    joins = f"--address={hosts.address(0)}:6379"
    starting = [start(number, joins) for number in range(1, hosts.count)]
    assert not any([process.wait(180) for process in starting]), "a Ray node did not start"


def alive(hosts: Hosts) -> int:
    """Ray nodes that are up, as the head sees it; 0 where it does not answer."""
    process = on_head(hosts, sys.executable, "-c", _COUNT)
    try:
        out, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 0
    return int(out.split()[-1]) if process.returncode == 0 else 0


def until_up(hosts: Hosts, limit_s: float = 120.0) -> float:
    """Seconds until all hosts are up."""
    began = time.monotonic()
    while (up := alive(hosts)) < hosts.count:
        assert time.monotonic() - began < limit_s, f"{up} of {hosts.count} hosts are up"
        time.sleep(1.0)
    return time.monotonic() - began


def on_head(hosts: Hosts, *command: str) -> subprocess.Popen:
    return hosts.on(
        0, "env", "RAY_AUTH_MODE=token", *command,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def command_line(*arguments: str) -> tuple[str, ...]:
    """`python launch.py` as a user of a host types it."""
    words = f"cd ~/showwork && exec .venv/bin/python launch.py {' '.join(arguments)}"
    return "bash", "-lc", words


def launch(
    hosts: Hosts, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess:
    """`python launch.py` on the head, to its end."""
    process = hosts.on(
        0, *command_line(*arguments), environment=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    out, err = process.communicate(timeout=480)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)
