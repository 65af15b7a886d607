"""A circuit breaker: a server that is down is left alone for a while, then tried with one call.

The known libraries let every waiting call through at once when the pause is over; a judge has
dozens under way, so that exactly one may try.
"""

import time
from collections.abc import Callable


class Breaker:
    """Closed at first; open after `failures` in a row, for `pause_s`; then one call may try."""

    def __init__(self, failures: int, pause_s: float, now: Callable[[], float] = time.monotonic):
        self._limit, self._pause_s, self._now = failures, pause_s, now
        self._failures = 0
        self._opened = 0.0
        self._trying = False

    def allows(self) -> bool:
        """Whether a call may be made; whoever makes it must report `done`."""
        if self._failures < self._limit:
            return True
        if self._trying or self._now() - self._opened < self._pause_s:
            return False
        self._trying = True
        return True

    def done(self, worked: bool) -> None:
        self._trying = False
        if worked:
            self._failures = 0
        else:
            self._failures += 1
            self._opened = self._now()
