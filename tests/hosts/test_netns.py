"""The hosts that drills are run on, without Ray: addresses, ssh, cables and power of their own."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.hosts.netns import Hosts, namespaces, run, what_is_missing

MISSING = what_is_missing()
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.xdist_group("hosts"),  # made once, not by each worker
    pytest.mark.skipif(bool(MISSING), reason=f"real hosts: {MISSING}"),
]


@pytest.fixture(scope="module")
def hosts():
    with tempfile.TemporaryDirectory(prefix="sw-hosts-", dir="/var/tmp") as folder:
        with Hosts(2, Path(folder) / "h") as hosts:
            yield hosts
        assert os.getpid() not in namespaces().values()


def reaches(hosts, number):
    """Whether host 0 gets through to the ssh port of another."""
    address = f"/dev/tcp/{hosts.address(number)}/22"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return hosts.on(0, "timeout", "2", "bash", "-c", f"<{address}", **quiet).wait() == 0


def soon(hosts, number):
    """Addresses that could not be found are asked for again after some seconds."""
    until = time.monotonic() + 120
    while not (there := reaches(hosts, number)) and time.monotonic() < until:
        time.sleep(0.5)
    return there


def test_each_host_answers_by_ssh_with_its_own_name_home_and_processes(hosts):
    for number in range(2):
        done = hosts.from_outside(
            "ssh", "-i", hosts.key, "-o", "StrictHostKeyChecking=no", "-o",
            "UserKnownHostsFile=/dev/null", "-o", "ConnectionAttempts=120",
            f"root@{hosts.address(number)}",
            f"hostname; touch ~/mine-{number}; ls ~; ps -e | wc -l",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        name, files, processes = done.stdout.split()
        assert (name, files) == (hosts.name(number), f"mine-{number}")
        assert int(processes) < 15


def test_a_cable_is_cut_and_healed_and_a_host_power_cycled(hosts):
    assert soon(hosts, 1)
    hosts.cut(1)
    assert not reaches(hosts, 1)
    hosts.heal(1)
    assert soon(hosts, 1)
    hosts.power_off(1)
    assert not reaches(hosts, 1)
    hosts.boot(1)
    assert soon(hosts, 1)


def test_hosts_of_another_process_are_left_alone_and_those_of_a_dead_one_taken_away(hosts):
    dead = subprocess.Popen(["true"])
    dead.wait()
    run("ip", "netns", "add", f"sw{dead.pid}n0")
    inside = hosts.on(1, "sleep", "600")
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tests.hosts.netns import Hosts, namespaces\n"
        "with Hosts(1, Path(sys.argv[1])): print(sorted(namespaces().values()), os.getpid())"
    )
    place = hosts.folder.with_name("another")
    other = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True)
    assert other.returncode == 0, other.stderr
    owners, pid = other.stdout.rsplit(maxsplit=1)
    assert str(dead.pid) not in owners and pid in owners and str(os.getpid()) in owners
    assert inside.poll() is None and soon(hosts, 1)
    assert set(namespaces().values()) >= {os.getpid()} and int(pid) not in namespaces().values()
    inside.kill()
    inside.wait()
