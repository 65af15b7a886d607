"""When a run is to end early, and how gently."""

import math
import signal
import sys
import time

from learner.loop import Stop


class Stopper:
    """Turns SIGINT, SIGTERM and the end of the time budget into a Stop between two steps.

    While `deferring`, a signal is only noted, so that the loop can save and leave; before there is
    anything to save, and at a second signal, it interrupts at once.
    """

    def __init__(self, deadline: float):
        self.deadline = deadline  # seconds of time.monotonic()
        self.signal: signal.Signals | None = None
        self.deferring = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def check(self) -> None:
        """Raise Stop when it is time to end."""
        if self.signal:
            raise Stop(f"stopped by {self.signal.name}")
        if time.monotonic() > self.deadline:
            raise Stop("time budget used up (loop.time_budget_s)")

    def release(self) -> None:
        """Training is over and saved: no deadline any more, and a signal interrupts at once."""
        self.deadline, self.deferring = math.inf, False

    def _note(self, number: int, frame: object) -> None:
        if self.signal or not self.deferring:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        print(f"{self.signal.name}: saving, then leaving (again: leave now)", file=sys.stderr)
