"""When a run is to end early, and how gently."""

import math
import signal
import sys
import time
from collections.abc import Callable

from learner.loop import Stop

_LOOK_EVERY_S = 5.0  # for preemption notices, which give 30 s


class Stopper:
    """Turns SIGINT, SIGTERM, the end of the time budget and a host that is to be taken away into a
    Stop between two steps.

    While `deferring`, a signal is only noted, so that the loop can save and leave; before there is
    anything to save, and at a second signal, it interrupts at once.
    """

    def __init__(self, deadline: float):
        self.deadline = deadline  # seconds of time.monotonic()
        self.early = ""  # why the run is left before its end; the same command goes on with it
        self.deferring = False
        self._leaving: Callable[[], str] = lambda: ""
        self._looked = 0.0

    def watch(self, leaving: Callable[[], str]) -> None:
        """`leaving`: the hosts that are to be taken away, in words; "" when all stay."""
        self._leaving = leaving

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def check(self) -> None:
        """Raise Stop when it is time to end."""
        if not self.early and time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._looked = time.monotonic()
            if hosts := self._leaving():
                self.early = f"{hosts} is to be taken away (preemption notice)"
        if self.early:
            raise Stop(self.early)
        if time.monotonic() > self.deadline:
            raise Stop("time budget used up (loop.time_budget_s)")

    def release(self) -> None:
        """Training is over and saved: no deadline any more, and a signal interrupts at once."""
        self.deadline, self.deferring = math.inf, False

    def _note(self, number: int, frame: object) -> None:
        if self.early or not self.deferring:
            raise KeyboardInterrupt
        name = signal.Signals(number).name
        self.early = f"stopped by {name}"
        print(f"{name}: saving, then leaving (again: leave now)", file=sys.stderr)
