"""Waiting for scored groups, in the order in which the loop wants them."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from cluster.messages import ScoredGroup

Key = tuple[str, int]  # (stream, index) of a permit


class Queue(Protocol):
    """What the loop and the actors need of a queue; Ray's and a plain one in tests."""

    def put(self, items: list) -> None: ...

    def get(self, max_items: int, timeout_s: float) -> list: ...


class Collector:
    """Hands out scored groups by key and keeps those that came early.

    `check` is called while waiting, at least once a second: it raises to end the wait (a stop that
    was asked for, a dead worker).
    """

    def __init__(self, scored: Queue, check: Callable[[], None], timeout_s: float):
        self._scored, self._check, self._timeout_s = scored, check, timeout_s
        self._early: dict[Key, ScoredGroup] = {}

    def take(self, keys: Sequence[Key]) -> list[ScoredGroup]:
        """Exactly these groups, in this order.

        Raises TimeoutError when nothing at all arrives for `timeout_s` seconds.
        """
        missing = {key for key in keys if key not in self._early}
        heard = time.monotonic()
        while missing:
            self._check()
            for group in self._scored.get(max_items=256, timeout_s=1.0):
                self._early[group.key] = group
                missing.discard(group.key)
                heard = time.monotonic()
            if time.monotonic() - heard > self._timeout_s:
                raise TimeoutError(
                    f"no scored group for {self._timeout_s:.0f} s (loop.wait_timeout_s) while "
                    f"waiting for {len(missing)} of {len(keys)}, the first {min(missing)}"
                )
        return [self._early.pop(key) for key in keys]
