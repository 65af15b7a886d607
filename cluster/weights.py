"""Policy weights on their way back: learner -> rollout actors, by version; of an adapter the
weights under it go once, as version BASE, and then the adapter alone.

The holder keeps references; the weights lie in the object store of the host that exported them and
are read without a copy on the same host.
"""

import asyncio
from contextlib import suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.calls import resolve, wait_until_up
from cluster.messages import BASE
from learner.epoch import refusal

_COPY_S = 120.0  # for the arrays, from another host
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

    def publish(self, version: int, params: Any) -> None:
        """Make a version known: a reference to a dictionary of numpy arrays.

        Raises Fenced when the weights are those of an earlier learner than the store's.
        """
        # boxed in a list, the reference itself travels and not what it refers to
        answer = self._actor.publish.remote(version, [params], self._epoch)
        resolve(answer, self._silence_s, _NAME)

    def renew(self, epoch: int) -> None:
        """Another learner begins: all versions are forgotten, later ones of the last refused."""
        self._epoch = epoch
        resolve(self._actor.renew.remote(epoch), self._silence_s, _NAME)

    def fetch(self, version: int, timeout_s: float) -> dict:
        """The weights of exactly this version, waiting until they are published.

        Raises TimeoutError when they are not in time, LookupError when they were dropped already.
        """
        answer = self._actor.find.remote(version, timeout_s)
        boxed, kept = resolve(answer, timeout_s + self._silence_s, _NAME)
        if boxed is not None:
            return resolve(boxed[0], _COPY_S, f"the learner, asked for version {version}")
        if kept and kept[-1] > version != BASE:
            raise LookupError(f"policy version {version} was dropped; kept: {kept}")
        raise TimeoutError(
            f"policy version {version} was not published within {timeout_s:.0f} s; kept: {kept}"
        )

    def kill(self) -> None:
        ray.kill(self._actor)
