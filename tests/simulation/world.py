"""Virtual time, the faults of a sitting, and the disk that outlives it."""

import errno
import heapq
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


class Crash(BaseException):
    """The driver is gone: nothing more is saved or closed in good order."""


class Broken(Exception):
    """A promise that was not kept."""


@dataclass
class Disk:
    """What outlives a crash: checkpoints by step, and the folder of the ledger."""

    folder: Path
    checkpoints: dict[int, dict] = field(default_factory=dict)
    torn: set[int] = field(default_factory=set)  # there, but not what was written
    learners_lost: int = 0  # in the middle of an update, by chance

    def crash(self, rng: np.random.Generator, pending: dict[int, dict], power_cut: bool) -> None:
        """What is left. A `pending` checkpoint may be whole, torn or not there at all; a power cut
        takes with it what was never synced of the ledger."""
        for step, content in pending.items():
            state = rng.choice(["whole", "torn", "not there"])
            if state != "not there":
                self.checkpoints[step] = content
            if state == "torn":
                self.torn.add(step)
        after = self.folder.with_name(f"{self.folder.name}+")
        shutil.copytree(self.folder, after, ignore=shutil.ignore_patterns("*-shm"))
        log = after / "ledger.sqlite-wal"
        if power_cut and log.exists():
            written = log.read_bytes()
            log.write_bytes(written[: int(rng.integers(0, len(written) + 1))])
        self.folder = after


@dataclass(frozen=True)
class Poison:
    """Prompts that kill who works on them."""

    rollout: set[int] = field(default_factory=set)  # the actor that samples it
    judge: set[int] = field(default_factory=set)  # the actor that reads it
    learner: set[int] = field(default_factory=set)  # whose update trains on it


KINDS = (
    "crash",
    "power cut",
    "full disk",
    "rollout death",
    "rollout hang",
    "judge death",
    "judge hang",
    "learner death",
    "queue death",
    "network cut",
    "judge outage",
    "signal",
)


@dataclass(frozen=True)
class Faults:
    """What goes wrong in one sitting; times in virtual seconds, calls counted from its start."""

    kind: str
    at_call: int = 0  # the driver crashes; 0: never
    at_write: int = 0  # the driver crashes there, or the disk is full from there on; 0: never
    at_s: float = np.inf  # an actor dies or hangs, network or judge are gone, a signal comes
    lasts_s: float = 0.0  # of a network cut or an outage
    duplicates: float = 0.0  # share of messages that come twice
    spread_s: float = 1.0  # delays are drawn up to this

    def lasting(self, kind: str, now: float) -> float:
        """Seconds until a cut or an outage is over; 0 when there is none."""
        if self.kind != kind or not self.at_s <= now <= self.at_s + self.lasts_s:
            return 0.0
        return self.at_s + self.lasts_s - now


def draw_faults(rng: np.random.Generator, peace: bool) -> Faults:
    kind = "none" if peace else str(rng.choice(KINDS))
    of_driver = kind in ("crash", "power cut", "full disk")
    writing = kind == "full disk" or rng.random() < 0.5  # few calls write, and they matter most
    return Faults(
        kind,
        at_call=int(rng.integers(1, 120)) if of_driver and not writing else 0,
        at_write=int(rng.integers(1, 25)) if of_driver and writing else 0,
        at_s=float(rng.uniform(0, 12)) if not of_driver and not peace else np.inf,
        lasts_s=float(rng.uniform(1, 120)),
        duplicates=float(rng.choice([0.0, 0.1, 0.5])),
        spread_s=float(rng.choice([0.1, 1.0, 5.0])),
    )


class World:
    """Virtual time of one sitting: the events to come, in order, and the calls of the driver."""

    def __init__(self, rng: np.random.Generator, faults: Faults, trace: list[str]):
        self.rng, self.faults, self.trace = rng, faults, trace
        self.now, self.calls, self.writes = 0.0, 0, 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pass_until(self.now + seconds)

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        self._scheduled += 1
        heapq.heappush(self._events, (self.now + delay_s, self._scheduled, action))

    def call(self, name: str, takes_s: float = 0.001) -> None:
        """A call of the driver: time goes by, and it may be its last."""
        self.calls += 1
        self.note(name)
        if self.calls == self.faults.at_call:
            raise Crash
        self.pass_until(self.now + takes_s)

    def write(self, name: str) -> None:
        """A call that writes: the disk may be full from some such call on."""
        self.call(name)
        self.writes += 1
        if self.faults.kind == "full disk" and self.writes >= self.faults.at_write:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.writes == self.faults.at_write:
            raise Crash

    def pass_until(self, moment: float, enough: Callable[[], bool] = lambda: False) -> None:
        while not enough() and self._events and self._events[0][0] <= moment:
            self.now, _, action = heapq.heappop(self._events)
            action()
        if not enough():
            self.now = max(self.now, moment)

    def delay(self) -> float:
        return float(self.rng.uniform(0.01, self.faults.spread_s))

    def send(self, action: Callable[[], None]) -> None:
        """A message: it comes late, perhaps behind later ones, perhaps twice, after a cut."""
        for _ in range(1 + (self.rng.random() < self.faults.duplicates)):
            delay = self.delay()
            delay += self.faults.lasting("network cut", self.now + delay)
            self.after(delay, action)

    def note(self, what: str) -> None:
        self.trace.append(f"{self.now:.3f} {what}")
