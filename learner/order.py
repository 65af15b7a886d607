"""Which prompts a step trains on, and which policy samples them: `loop.order`."""

from collections.abc import Sequence
from typing import Protocol

from cluster.messages import ScoredGroup
from configs.schema import RunConfig
from learner.collect import Collector
from learner.ledger import Ledger, policy_version


class Order(Protocol):
    """What the loop leaves open."""

    def version(self, place: int, ledger: Ledger) -> int:
        """The policy that a prompt is sampled with which is asked for now."""
        ...

    def overdue(self, ledger: Ledger, collector: Collector) -> Sequence[int]:
        """Outstanding prompts that must be asked for again, since what comes would be too old."""
        ...

    def take(
        self, ledger: Ledger, collector: Collector, count: int, taken: Sequence[ScoredGroup]
    ) -> list[ScoredGroup]:
        """So many groups of the next step, beside those that it has `taken`, in the order of their
        prompts; waits for them."""
        ...


class Exact:
    """A step trains on its own prompts, sampled with a version that follows from their place.

    So the run is the same run, whatever the number, speed, order and deaths of the actors.
    """

    def __init__(self, config: RunConfig):
        self._config = config

    def version(self, place: int, ledger: Ledger) -> int:
        if self._config.loop.max_refills:
            return ledger.first_asked(place)
        return policy_version(place, self._config)

    def overdue(self, ledger: Ledger, collector: Collector) -> Sequence[int]:
        return ()

    def take(
        self, ledger: Ledger, collector: Collector, count: int, taken: Sequence[ScoredGroup]
    ) -> list[ScoredGroup]:
        first = ledger.consumed + len(taken)
        return collector.take([("train", first + n) for n in range(count)], taken)


class Arrival:
    """A step trains on what came first, sampled with the newest policy when it was asked for.

    No step waits for the slowest actor; no two runs are the same. What would be older than
    `max_staleness` is asked for again with the present policy: nothing is dropped for being slow,
    so that hard prompts, which take long, are trained as often as others.
    """

    def __init__(self, config: RunConfig):
        self._loop = config.loop
        self._asked: dict[int, int] = {}  # version of each outstanding prompt

    def version(self, place: int, ledger: Ledger) -> int:
        self._asked[place] = ledger.step
        return ledger.step

    def overdue(self, ledger: Ledger, collector: Collector) -> Sequence[int]:
        oldest = ledger.step - self._loop.max_staleness
        thrown_away = {place for _, place in collector.forget_older("train", oldest)}
        self._asked = {place: self._asked[place] for place in ledger.outstanding}
        return [
            place
            for place, version in self._asked.items()
            if place in thrown_away or (version < oldest and ("train", place) not in collector)
        ]

    def take(
        self, ledger: Ledger, collector: Collector, count: int, taken: Sequence[ScoredGroup]
    ) -> list[ScoredGroup]:
        here = {group.key for group in taken}
        keys = [key for place in ledger.outstanding if (key := ("train", place)) not in here]
        oldest = ledger.step - self._loop.max_staleness
        return collector.take_first(keys, count, oldest, taken)


def order_of(config: RunConfig) -> Order:
    return Exact(config) if config.loop.order == "exact" else Arrival(config)
