"""The queues between the pools: one small actor each, few round trips.

`ray.util.queue.Queue` has no "at least one, at most n": taking what is there costs it one call an
item, a millisecond each on a busy machine. What travels is a list of records from
`cluster.messages`, which import nothing heavy: this actor unpickles them.
"""

import asyncio
import time
from collections import deque
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.calls import resolve, wait_until_up

_REMEMBERED = 1024  # of what each taker got


class _Queue:
    """First in, first out. Unbounded: permits bound what can be under way."""

    def __init__(self):
        self._items: deque[tuple[float, Any]] = deque()
        self._changed = asyncio.Condition()
        self._total = 0
        self._taken: dict[str, deque] = {}  # taker -> keys of what it got last

    async def put(self, items: list) -> None:
        async with self._changed:
            now = time.monotonic()
            self._items.extend((now, item) for item in items)
            self._total += len(items)
            self._changed.notify_all()

    async def get(self, max_items: int, timeout_s: float, taker: str = "") -> list:
        async with self._changed:
            if not self._items and timeout_s > 0:
                try:
                    await asyncio.wait_for(
                        self._changed.wait_for(lambda: self._items), timeout=timeout_s
                    )
                except TimeoutError:
                    return []
            count = min(max_items, len(self._items))
            items = [self._items.popleft()[1] for _ in range(count)]
        if taker:
            known = self._taken.setdefault(taker, deque(maxlen=_REMEMBERED))
            known.extend(item.key for item in items)
        return items

    async def taken(self, takers: list[str]) -> list:
        """The keys of what they got since this was asked last."""
        keys = [key for taker in takers for key in self._taken.get(taker, ())]
        self._taken.clear()  # what others have got is asked for again: it is no fault of theirs
        return keys

    async def stats(self) -> dict[str, float]:
        oldest = time.monotonic() - self._items[0][0] if self._items else 0.0
        return {"depth": len(self._items), "oldest_s": oldest, "total": self._total}


class GroupQueue:
    """A handle that can be sent to actors. Raises WorkerGone when the queue is gone."""

    def __init__(self, node_id: str, name: str = "items", silence_s: float = 60.0):
        self._name, self._silence_s = f"the queue of {name}", silence_s
        here = NodeAffinitySchedulingStrategy(node_id, soft=False)
        actor: Any = ray.remote(_Queue)
        self._actor = actor.options(
            num_cpus=0, scheduling_strategy=here, max_concurrency=1000
        ).remote()

    def wait_until_up(self) -> None:
        wait_until_up(self._actor, self._name)

    def put(self, items: list) -> None:
        """Append; returns once the items are in the queue."""
        resolve(self._actor.put.remote(items), self._silence_s, self._name)

    def get(self, max_items: int, timeout_s: float) -> list:
        """At least one item and at most `max_items`; [] if none came within `timeout_s`."""
        taker = ray.get_runtime_context().get_actor_id() or ""  # none in the driver
        answer = self._actor.get.remote(max_items, timeout_s, taker)
        return resolve(answer, timeout_s + self._silence_s, self._name)

    def taken(self, actor_ids: list[str]) -> list[tuple[str, int]]:
        """The keys of what these actors got since this was asked last; some they have handed on."""
        answer = self._actor.taken.remote(actor_ids)
        return resolve(answer, self._silence_s, self._name)

    def stats(self) -> dict[str, float]:
        """Items in the queue, age of the oldest in seconds, items that ever were."""
        return resolve(self._actor.stats.remote(), self._silence_s, self._name)

    def kill(self) -> None:
        ray.kill(self._actor)
