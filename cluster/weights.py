"""Policy weights on their way back: learner -> rollout actors, by version; of an adapter the
weights under it go once, as version BASE, and then the adapter alone.

The holder keeps references. The pieces (`learner.pieces`) lie in the object stores of the hosts
that handed them over: on the same host they are read without a copy, and from another one each
actor takes a few at a time, beginning at another process than its neighbour, so that no learner
host has to serve all of them at once.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import ray
from ray.experimental import get_object_locations
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.calls import ray_of_this_host, resolve, wait_until_up
from cluster.messages import BASE
from configs.errors import RunError
from learner.epoch import refusal
from learner.pieces import Assembly, Damaged, pull_order

_COPY_S = 120.0  # for a piece, from another host
_WINDOW = 4  # pieces on their way to an actor at a time
_AGAIN_S = 60.0  # for a piece to be read anew where it lies
_NAME = "the weight store"


class _Holder:
    def __init__(self, keep: int):
        self._keep, self._epoch = keep, 0
        self._boxed: dict[int, list] = {}
        self._changed = asyncio.Condition()

    async def publish(self, version: int, boxed: list, epoch: int) -> None:
        async with self._changed:
            if epoch < self._epoch:
                raise refusal(f"policy version {version}", epoch, self._epoch)
            self._boxed[version] = boxed
            versions = sorted(other for other in self._boxed if other != BASE)
            for old in versions[: -self._keep]:
                del self._boxed[old]
            self._changed.notify_all()

    async def renew(self, epoch: int) -> None:
        async with self._changed:
            self._epoch = max(epoch, self._epoch)
            self._boxed.clear()

    async def find(self, version: int, timeout_s: float) -> tuple[list | None, list[int]]:
        """The boxed reference (None if there is none in time), and the versions that are kept."""
        async with self._changed:
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self._changed.wait_for(lambda: self._known(version)), timeout=timeout_s
                )
            return self._boxed.get(version), sorted(self._boxed)

    def _known(self, version: int) -> bool:
        """Published, and maybe dropped since."""
        return version in self._boxed or max(self._boxed, default=BASE) > version != BASE


class WeightStore:
    """A handle that can be sent to actors; keeps the newest `keep` versions, and BASE.

    Raises WorkerGone when the store is gone, or the process that exported the weights.
    """

    def __init__(self, keep: int, node_id: str, silence_s: float = 60.0):
        self._silence_s, self._epoch = silence_s, 0
        here = NodeAffinitySchedulingStrategy(node_id, soft=False)
        actor: Any = ray.remote(_Holder)
        self._actor = actor.options(
            num_cpus=0, scheduling_strategy=here, max_concurrency=1000
        ).remote(keep)

    def wait_until_up(self) -> None:
        wait_until_up(self._actor, _NAME)

    def publish(self, version: int, handed: Sequence[Sequence[Any]]) -> None:
        """Make a version known: of each learner process, references to its offer and its pieces.

        Raises Fenced when the weights are those of an earlier learner than the store's.
        """
        # boxed in a list, the references themselves travel and not what they refer to
        answer = self._actor.publish.remote(version, list(handed), self._epoch)
        resolve(answer, self._silence_s, _NAME)

    def renew(self, epoch: int) -> None:
        """Another learner begins: all versions are forgotten, later ones of the last refused."""
        self._epoch = epoch
        resolve(self._actor.renew.remote(epoch), self._silence_s, _NAME)

    def fetch(self, version: int, timeout_s: float, turn: int) -> dict[str, np.ndarray]:
        """The weights of exactly this version, waiting until they are published.

        `turn`: the number of the actor that asks. Raises TimeoutError when they are not in time,
        LookupError when they were dropped already, RunError when a piece arrives damaged twice.
        """
        answer = self._actor.find.remote(version, timeout_s)
        boxed, kept = resolve(answer, timeout_s + self._silence_s, _NAME)
        if boxed is not None:
            return _pull(version, boxed, turn)
        if kept and kept[-1] > version != BASE:
            raise LookupError(f"policy version {version} was dropped; kept: {kept}")
        raise TimeoutError(
            f"policy version {version} was not published within {timeout_s:.0f} s; kept: {kept}"
        )

    def kill(self) -> None:
        ray.kill(self._actor)


def _pull(version: int, handed: Sequence[Sequence[Any]], turn: int) -> dict[str, np.ndarray]:
    """A version, put together from its pieces as they come."""
    who = f"the learner, asked for version {version}"
    assembly = Assembly(resolve([refs[0] for refs in handed], _COPY_S, who))
    waiting = deque(pull_order([len(refs) - 1 for refs in handed], turn))
    coming: dict[Any, tuple[int, int]] = {}
    while waiting or coming:
        while waiting and len(coming) < _WINDOW:
            which, number = waiting.popleft()
            coming[handed[which][1 + number]] = which, number
        with ray_of_this_host():
            arrived, _ = ray.wait(list(coming), timeout=_COPY_S)
        piece = arrived[0] if arrived else next(iter(coming))  # which then says what is wrong
        _take(assembly, *coming.pop(piece), piece, who)
    return assembly.arrays()


def _take(assembly: Assembly, which: int, number: int, piece: Any, who: str) -> None:
    try:
        assembly.add(which, number, resolve(piece, _COPY_S, who))
    except Damaged:
        try:
            assembly.add(which, number, _anew(piece, who))
        except Damaged as error:
            raise RunError(f"{who}: {error}, and read again it is the same") from error


def _anew(piece: Any, who: str) -> Any:
    """What a piece holds, not from this host's copy of it if another host has one."""
    here = ray.get_runtime_context().get_node_id()
    with ray_of_this_host():
        places = get_object_locations([piece], 1000).get(piece, {}).get("node_ids", [])
    others = [node for node in places if node != here]
    if not others:
        return resolve(piece, _COPY_S, who)
    there = NodeAffinitySchedulingStrategy(others[0], soft=False)
    reads: Any = ray.remote(_copy)
    anew = reads.options(num_cpus=0, scheduling_strategy=there).remote(piece)
    return resolve(anew, _AGAIN_S, who)


def _copy(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """A new object, so that it travels."""
    return tuple(part.copy() for part in parts)
