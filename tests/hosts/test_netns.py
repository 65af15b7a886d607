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


def soon(hosts, number):
    """Addresses that could not be found are asked for again after some seconds."""
    until = time.monotonic() + 120
    while not (there := hosts.reaches(number)) and time.monotonic() < until:
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
    assert not hosts.reaches(1)
    hosts.heal(1)
    assert soon(hosts, 1)
    hosts.power_off(1)
    assert not hosts.reaches(1)
    hosts.boot(1)
    assert soon(hosts, 1)


SEND, RECEIVE = (
    f"import socket, sys, time\n{lines}"
    for lines in (
        "s = socket.create_connection((sys.argv[1], 5000)); s.sendall(bytes(8 * 10**6))",
        "with socket.create_server(('', 5000)) as server:\n"
        "    print('listening', flush=True); s, began = server.accept()[0], time.monotonic()\n"
        "    while s.recv(2**16): pass\n"
        "    print(time.monotonic() - began)",
    )
)


def mb_per_s(hosts):
    """From host 0 to host 1."""
    to = hosts.on(1, sys.executable, "-c", RECEIVE, stdout=subprocess.PIPE, text=True)
    assert to.stdout.readline() == "listening\n"
    assert hosts.on(0, sys.executable, "-c", SEND, hosts.address(1)).wait() == 0
    return 8 / float(to.communicate(timeout=60)[0])


def test_a_network_card_is_slowed_down(hosts):
    hosts.limit(0, 10)
    assert 2 < mb_per_s(hosts) < 13
    hosts.limit(0, 0)
    assert mb_per_s(hosts) > 13


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
