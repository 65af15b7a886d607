"""The next policy of a rollout actor, fetched beside decoding."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class WeightSource(Protocol):
    """Where an actor finds the policy.

    `turn`: its number, so that not all of them begin at the same place. Raises LookupError for a
    version that was dropped already.
    """

    def fetch(self, version: int, timeout_s: float, turn: int) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Arrived:
    """Weights, and when they were asked for (`time.perf_counter`)."""

    weights: dict[str, np.ndarray]
    asked_at: float

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in self.weights.values())


class Incoming:
    """One version at a time; who goes on decoding meanwhile calls `begin` first."""

    def __init__(self, source: WeightSource, timeout_s: float, turn: int):
        self._source, self._timeout_s, self._turn = source, timeout_s, turn
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="weights")
        self._coming: tuple[int, Future[Arrived]] | None = None

    def begin(self, version: int) -> bool:
        """Have it come beside; whether it is here, or will not come."""
        if self._coming is None or self._coming[0] != version:
            self._coming = version, self._beside.submit(self._fetch, version)
        return self._coming[1].done()

    def take(self, version: int) -> Arrived:
        """The weights; waits for them. Raises what the source raised."""
        if self._coming is None or self._coming[0] != version:
            return self._fetch(version)
        (_, coming), self._coming = self._coming, None
        return coming.result()

    def _fetch(self, version: int) -> Arrived:
        asked_at = time.perf_counter()
        return Arrived(self._source.fetch(version, self._timeout_s, self._turn), asked_at)
