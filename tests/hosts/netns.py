"""Several real hosts on one machine: network namespaces joined by a bridge, with sshd on each.

A host has its own IP, name, processes, home folder, /tmp, /dev/shm and sshd. It shares the disk, so
that what is installed here is installed there. Needs root, iproute2, openssh-server and rsync. What
was started is ended through the namespaces it lives in, so that nothing else is touched; they are
named after the process that made them, so that two of them on one machine leave each other alone.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

SUBNET = "10.79.0"  # of every hub: no packet leaves one
_NAME = re.compile(r"sw(\d+)(hub|n\d+)")  # of a namespace, with the process that made it
_INIT = """
import os, time
print(1, flush=True)
while True:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    time.sleep(0.2)
"""


def what_is_missing() -> str:
    """Why hosts cannot be made here; "" if they can."""
    if Path(__file__).is_relative_to("/tmp"):
        return "the project lies in /tmp, of which each host has its own"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    for program in ("ip", "sshd", "ssh-keygen", "rsync", "nsenter", "unshare"):
        if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            return f"needs {program} (apt: iproute2, openssh-server, openssh-client, rsync)"
    probe = subprocess.run(["unshare", "-n", "-m", "-p", "-f", "true"], capture_output=True)
    return "" if probe.returncode == 0 else "needs the right to make namespaces"


def run(*command: object, check: bool = True) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


class Hosts:
    """`count` hosts; number 0 is meant for the head. A context manager."""

    def __init__(self, count: int, folder: Path):
        self.count, self.folder = count, folder
        self.home = folder / "home"  # the same path on each host, another folder on each
        self.key = folder / "key"
        self.variables: dict[str, str] = {}  # of all programs on the hosts
        self._inits: dict[int, tuple[subprocess.Popen, int]] = {}

    def address(self, number: int) -> str:
        return f"{SUBNET}.{number + 10}"

    def name(self, number: int) -> str:
        return f"sw{os.getpid()}n{number}"

    @property
    def hub(self) -> str:
        return f"sw{os.getpid()}hub"

    def __enter__(self) -> "Hosts":
        for owner in {owner for owner in namespaces().values() if not psutil.pid_exists(owner)}:
            take_away(owner)
        self.home.mkdir(parents=True)
        (self.folder / "share").mkdir()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        try:
            run("ip", "netns", "add", self.hub)
            run("ip", "-n", self.hub, "link", "set", "lo", "up")
            run("ip", "-n", self.hub, "link", "add", "name", "br0", "type", "bridge")
            run("ip", "-n", self.hub, "addr", "add", f"{SUBNET}.1/24", "dev", "br0")
            run("ip", "-n", self.hub, "link", "set", "br0", "up")
            for number in range(self.count):
                self._plug_in(number)
                self.boot(number)
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def cut(self, number: int) -> None:
        """Pull the cable: no packet passes, and nobody is told."""
        run("ip", "-n", self.hub, "link", "set", f"v{number}", "down")

    def heal(self, number: int) -> None:
        run("ip", "-n", self.hub, "link", "set", f"v{number}", "up")

    def reaches(self, number: int) -> bool:
        """Whether host 0 gets through to the ssh port of another."""
        address = f"/dev/tcp/{self.address(number)}/22"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return self.on(0, "timeout", "2", "bash", "-c", f"<{address}", **quiet).wait() == 0

    def limit(self, number: int, mb_per_s: int) -> None:
        """The speed of a host's network card, in and out: megabytes a second; 0: as it was."""
        for where, card in ((self.name(number), "eth0"), (self.hub, f"v{number}")):
            queue = ["tc", "-n", where, "qdisc"]
            if mb_per_s:
                run(*queue, "replace", "dev", card, "root", "tbf", "rate", f"{8 * mb_per_s}mbit",
                    "burst", "1mb", "latency", "200ms")  # fmt: skip
            else:
                run(*queue, "del", "dev", card, "root")

    def processes(self, number: int, name: str) -> list[int]:
        """Ids, as seen from here, of a host's processes whose command line begins so."""
        found = []
        for process in map(int, run("ip", "netns", "pids", self.name(number)).split()):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{process}/cmdline").read_bytes().startswith(name.encode()):
                    found.append(process)
        return found

    def power_off(self, number: int) -> None:
        """All its processes end, and no goodbye of theirs passes the cable."""
        self.cut(number)
        process, init = self._inits.pop(number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(init, signal.SIGKILL)
        process.wait()

    def on(
        self, number: int, *command: object, environment: dict[str, str] | None = None, **more
    ) -> subprocess.Popen:
        """A program on a host, with its home folder and nothing of this process's Ray settings."""
        inside = ["nsenter", "-t", str(self._inits[number][1]), "-n", "-m", "-u", "-p"]
        return subprocess.Popen(
            [*inside, f"--wd={self.home}", "--", *map(str, command)],
            env=self.environment() | self.variables | (environment or {}),
            **more,
        )

    def from_outside(self, *command: object) -> subprocess.CompletedProcess:
        """A program on the bridge: a machine of the network that is no host of the cluster."""
        inside = ["ip", "netns", "exec", self.hub]
        return subprocess.run(
            [*inside, *map(str, command)], env=self.environment(), capture_output=True, text=True
        )

    def command_lines(self) -> bytes:
        """Of every process on every host."""
        lines = []
        for number in range(self.count):
            for process in run("ip", "netns", "pids", self.name(number)).split():
                with contextlib.suppress(OSError):
                    lines.append(Path(f"/proc/{process}/cmdline").read_bytes())
        return b"\n".join(lines)

    def boot(self, number: int) -> None:
        """Start process 1 of a host and its sshd; its end is the end of all processes there."""
        self.heal(number)
        own = self.folder / f"host{number}"
        for part in ("home", "tmp"):
            (own / part).mkdir(parents=True, exist_ok=True)
        self._write(own)
        mounts = [
            f"hostname {self.name(number)}",
            f"mount --bind {own}/home {self.home}",
            *(
                f"mount --bind {own}/{name} /etc/{name}"
                for name in ("passwd", "hosts", "resolv.conf")
            ),
            "mount -t tmpfs -o size=4g shm /dev/shm",
            "mkdir -p /run/sshd",
            f"mount --bind {own}/tmp /tmp" if not str(self.folder).startswith("/tmp/") else "true",
            f"{shutil.which('sshd') or '/usr/sbin/sshd'} -f {own}/sshd_config",
        ]
        script = " && ".join([*mounts, f"exec {sys.executable} -S -E -c '{_INIT}'"])
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name(number), "unshare", "-u", "-p", "-f",
             "--kill-child", "--mount-proc", "sh", "-c", script],
            stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        if not process.stdout.readline():
            raise RuntimeError(f"host {number} did not boot")
        init = int(run("pgrep", "-P", process.pid).split()[0])
        self._inits[number] = process, init

    def _write(self, own: Path) -> None:
        (own / "passwd").write_text(
            f"root:x:0:0:root:{self.home}:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
            "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
        )
        names = [f"{self.address(n)} {self.name(n)}" for n in range(self.count)]
        (own / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names]) + "\n")
        (own / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        if not (own / "host_key").exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", own / "host_key")
        (own / "sshd_config").write_text(
            f"HostKey {own}/host_key\nAuthorizedKeysFile {self.key}.pub\nPermitRootLogin yes\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n"
            "SetEnv RAY_worker_niceness=0\n"  # Ray's workers would let all other programs go first
        )

    def _plug_in(self, number: int) -> None:
        name, cable = self.name(number), f"v{number}"
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "link", "add", "name", "eth0", "type", "veth", "peer", "name", cable,
            "netns", self.hub)  # fmt: skip
        run("ip", "-n", self.hub, "link", "set", cable, "master", "br0")
        run("ip", "-n", self.hub, "link", "set", cable, "up")
        run("ip", "-n", name, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        run("ip", "-n", name, "route", "add", "default", "via", f"{SUBNET}.1")

    def environment(self) -> dict[str, str]:
        """Of programs on a host: this process's own, without its Ray settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return kept | {"HOME": str(self.home), "RAY_USAGE_STATS_ENABLED": "0"}

    def _clear(self) -> None:
        take_away(os.getpid())
        for process, _ in self._inits.values():
            process.wait()
        self._inits.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def namespaces() -> dict[str, int]:
    """Those of hosts, and the process that made each; it may be gone."""
    every = run("ip", "netns", "list", check=False).split()
    return {match[0]: int(match[1]) for match in map(_NAME.fullmatch, every) if match}


def take_away(owner: int) -> None:
    """End what lives in the namespaces that a process has made; then remove them."""
    names = [name for name, process in namespaces().items() if process == owner]
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [int(p) for n in names for p in run("ip", "netns", "pids", n, check=False).split()]
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        time.sleep(0.5 if left else 0.0)
    for name in names:
        run("ip", "netns", "del", name, check=False)
