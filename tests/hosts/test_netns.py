"""The hosts that drills are run on, without Ray: addresses, ssh, cables and power of their own."""

import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.hosts.netns import Hosts, run, what_is_missing

MISSING = what_is_missing()
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(bool(MISSING), reason=f"real hosts: {MISSING}"),
]


@pytest.fixture(scope="module")
def hosts():
    with tempfile.TemporaryDirectory(prefix="sw-hosts-", dir="/var/tmp") as folder:
        with Hosts(2, Path(folder) / "h", prefix="swt") as hosts:
            yield hosts
        assert "swt" not in run("ip", "netns", "list")


def reaches(hosts, number):
    """Whether host 0 gets through to the ssh port of another."""
    address = f"/dev/tcp/{hosts.address(number)}/22"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return hosts.on(0, "timeout", "2", "bash", "-c", f"<{address}", **quiet).wait() == 0


def soon(hosts, number):
    """Addresses that could not be found are asked for again after some seconds."""
    until = time.monotonic() + 30
    while not (there := reaches(hosts, number)) and time.monotonic() < until:
        time.sleep(0.5)
    return there


def test_each_host_answers_by_ssh_with_its_own_name_home_and_processes(hosts):
    for number in range(2):
        done = hosts.from_outside(
            "ssh", "-i", hosts.key, "-o", "StrictHostKeyChecking=no", "-o",
            "UserKnownHostsFile=/dev/null", "-o", "ConnectionAttempts=20",
            f"root@{hosts.address(number)}",
            f"hostname; touch ~/mine-{number}; ls ~; ps -e | wc -l",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        name, files, processes = done.stdout.split()
        assert (name, files) == (f"swt{number}", f"mine-{number}")
        assert int(processes) < 15


def test_a_cable_is_cut_and_healed_and_a_host_power_cycled(hosts):
    assert reaches(hosts, 1)
    hosts.cut(1)
    assert not reaches(hosts, 1)
    hosts.heal(1)
    assert soon(hosts, 1)
    hosts.power_off(1)
    assert not reaches(hosts, 1)
    hosts.boot(1)
    assert soon(hosts, 1)
