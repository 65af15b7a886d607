"""A run, and what is done to it: its processes die and hang, a checkpoint of it is torn.

The faults are those of the machine: signals to processes, and a checkpoint file cut in two. The run
under test is a plain `launch.py train` in a process of its own, started again when it ends early,
as a user or a scheduler would.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from cluster.connect import ROOT
from learner.history import open_database

_RECOVERED_WITHIN_S = 240.0
_ACTORS = {
    "rollout actor": "RolloutActor",
    "judge actor": "JudgeActor",
    "learner process": "LearnerHost",
    "queue": "_Queue",
    "weight store": "_Holder",
}


@dataclass
class Fault:
    """One fault and what came of it; times in seconds after it."""

    kind: str
    detected_s: float | None = None
    recovered_s: float | None = None  # until the next step was done
    starting_s: float = 0.0  # of that, until Ray and the learner were up again


@dataclass
class Storm:
    """A run in a process of its own, and what is done to it."""

    folder: Path
    arguments: Sequence[str]
    small_disk: bool = False  # the folder lies on a disk of its own, which may be filled
    starts: int = 0
    faults: list[Fault] = field(default_factory=list)
    leftovers: int = 0  # processes that were there 30 s after their driver was killed

    def start(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / "launch.py"), "train", "--run", str(self.folder)]
        with self.folder.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.starts += 1

    def run(self, faults: int, until: float, seed: int, tell: Callable) -> int:
        """To its end, through that many faults; its last exit code."""
        rng = random.Random(seed)  # of when they come; which one comes depends on no time
        tries = count()
        self.start()
        while True:
            code = self._wait(rng.uniform(1.0, 5.0))
            if code == os.EX_TEMPFAIL:
                self.start()
            elif code is not None:
                return code
            elif len(self.faults) < faults and time.time() < until and self._steps_done():
                fault = self._strike(random.Random(f"{seed} {next(tries)}"))
                if fault:
                    self.faults.append(fault)
                    tell(fault, len(self.faults))

    def _wait(self, seconds: float) -> int | None:
        """Its exit code, or None when it is still running after that time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def _strike(self, rng: random.Random) -> Fault | None:
        """One fault, and the wait until the run goes on; None when there is nothing to hit."""
        kind = rng.choice(KINDS)
        if kind == "disk full":
            return self._fill_disk() if self.small_disk else None
        if kind.startswith("driver") or kind == "torn checkpoint":
            return self._strike_driver(kind)
        role, deed = kind.rsplit(" ", 1)
        victims = self._hosts() if role == "host" else self._actors(_ACTORS[role])
        if not victims:
            return None
        at = time.time()
        with suppress(psutil.NoSuchProcess):
            victim = rng.choice(victims)
            victim.send_signal(signal.SIGKILL if deed == "killed" else signal.SIGSTOP)
        return self._recovered(Fault(kind), at, "SELECT max(at) FROM incidents")

    def _fill_disk(self) -> Fault | None:
        """The run must end by itself and say why; with the space back it goes on."""
        filler, at = self.folder / "filler", time.time()
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        code = self._wait(_RECOVERED_WITHIN_S)
        filler.unlink()
        if code == 0:
            return None
        fault = Fault("disk full", time.time() - at)
        if code != 2:  # it hangs, or does not know why it ended
            self.process.kill()
            self.process.wait()
            return fault
        self.start()
        return self._recovered(fault, at, "SELECT max(started_at) FROM sittings")

    def _hosts(self) -> list[psutil.Process]:
        """The local Ray nodes besides the head, by their raylets."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                command = process.cmdline()
                if command and command[0].endswith("/raylet") and "--head" not in command:
                    found.append(process)
        return found

    def _strike_driver(self, kind: str) -> Fault | None:
        if kind == "torn checkpoint" and not _tear_newest(self.folder / "checkpoints" / "grpo"):
            return None
        family = psutil.Process(self.process.pid).children(recursive=True)
        at = time.time()
        if kind == "driver asked to stop":
            self.process.terminate()
        else:
            os.killpg(self.process.pid, signal.SIGKILL)  # with all that is in its group
        self.process.wait()
        detected_s = time.time() - at
        self.start()
        fault = self._recovered(Fault(kind, detected_s), at, "SELECT max(started_at) FROM sittings")
        _, left = psutil.wait_procs(family, timeout=max(0.0, at + 30.0 - time.time()))
        self.leftovers += len(left)
        return fault

    def _recovered(self, fault: Fault, at: float, noticed: str) -> Fault | None:
        """Waits until the ledger tells of the fault, then of a step after it.

        None when the run came to its end without needing what was hit.
        """
        while time.time() < at + _RECOVERED_WITHIN_S:
            if (code := self.process.poll()) is not None:
                return fault if code else None
            seen = self.ledger(noticed)
            if seen and seen > at:
                fault.detected_s = fault.detected_s or seen - at
                started = self.ledger("SELECT max(started_at) FROM sittings") or 0.0
                fault.starting_s = max(0.0, started - at)
                done = self.ledger("SELECT max(finished_at) FROM steps") or 0.0
                if done > max(seen, started):
                    fault.recovered_s = done - at
                    break
            time.sleep(0.2)
        return fault

    def _actors(self, name: str) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(f"ray::{name}"):
                    found.append(process)
        return found

    def _steps_done(self) -> bool:
        """Whether this start of the run has done a step yet."""
        started = self.ledger("SELECT max(started_at) FROM sittings") or 0.0
        return (self.ledger("SELECT max(finished_at) FROM steps") or 0.0) > started

    def ledger(self, query: str) -> Any:
        try:
            with closing(open_database(self.folder / "ledger.sqlite", create=False)) as database:
                return database.execute(query).fetchone()[0]
        except sqlite3.Error:  # not there yet
            return None


KINDS = (
    *(f"{role} {deed}" for role in _ACTORS for deed in ("killed", "stopped")),
    "host killed",
    "disk full",
    "driver killed",
    "driver asked to stop",
    "torn checkpoint",
)


def _tear_newest(folder: Path) -> bool:
    """Cut the largest file of the newest checkpoint in two, where there is one before it."""
    steps = sorted((p for p in folder.glob("*") if p.name.isdigit()), key=lambda p: int(p.name))
    if len(steps) < 2:
        return False
    files = [path for path in steps[-1].rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    return True
