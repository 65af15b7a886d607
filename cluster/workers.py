"""Turns plain classes into Ray actors, and replaces those that died or hang. Nothing else does."""

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.calls import START_S, died, resolve
from cluster.connect import ROOT, Connection
from cluster.watch import GROUP, Watch, watched


def start_actor(
    actor_class: type, connection: Connection, host: int, args: Sequence[Any], env: dict[str, str]
) -> Any:
    """An actor of a plain class on a host; its calls run one after the other, in order.

    Beside them it answers `doing`: see `cluster.watch`.
    """
    options: dict[str, Any] = {"concurrency_groups": {GROUP: 1}}
    remote_class: Any = ray.remote(**options)(watched(actor_class))
    placed = {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(connection.nodes[host], soft=False),
    }
    if connection.options:  # a cluster's devices are reserved
        placed |= connection.options[host]
    return remote_class.options(
        **placed,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | env},
    ).remote(*args)


class WorkerPool:
    """Actors that are in `run()` until the end of the job. `start` makes the one of a number."""

    def __init__(self, names: Sequence[str], start: Callable[[int], Any], silence_s: float):
        self._names, self._start, self._silence_s = names, start, silence_s
        self._actors = [start(number) for number in range(len(names))]
        self._runs = [actor.run.remote() for actor in self._actors]
        self._watch = Watch(self._actors, silence_s, START_S)

    def replace(self) -> dict[str, str]:
        """Replace workers whose process died or does not answer: actor id -> what happened.

        Raises what a worker raised itself: a new one would raise it again.
        """
        happened = {number: self._end_of(number) for number in self._ended()}
        for number in self._watch.silent():
            happened.setdefault(
                number,
                f"{self._names[number]} did not answer for {self._silence_s:.0f} s "
                f"(loop.silence_s); before that it was in {self._watch.doing(number)}",
            )
        lost = {self._actors[number]._actor_id.hex(): what for number, what in happened.items()}
        for number in happened:
            ray.kill(self._actors[number])
            self._actors[number] = self._start(number)
            self._runs[number] = self._actors[number].run.remote()
            self._watch.replace(number, self._actors[number])
        return lost

    def doing(self) -> list[str]:
        """What each worker said last."""
        return [f"{name}: {self._watch.doing(n)}" for n, name in enumerate(self._names)]

    def kill(self) -> None:
        for actor in self._actors:
            ray.kill(actor)

    def _ended(self) -> list[int]:
        done, _ = ray.wait(self._runs, num_returns=len(self._runs), timeout=0)
        return [number for number, run in enumerate(self._runs) if run in done]

    def _end_of(self, number: int) -> str:
        run, name = self._runs[number], self._names[number]
        if not died(run):
            resolve(run, 60.0, name)
            raise RuntimeError(f"{name} returned from run() while the job was going on")
        return f"{name} died"


def start_workers(
    name: str,
    worker_class: type,
    connection: Connection,
    hosts: Sequence[int],
    args: Sequence[Any],
    env: dict[str, str],
    silence_s: float = 60.0,
) -> WorkerPool:
    """One `worker_class(number, *args)` on each of `hosts`, each in its `run()`."""

    def start(number: int) -> Any:
        here = connection.settled()  # its host may be lost too
        return start_actor(worker_class, here, hosts[number], (number, *args), env)

    names = [
        f"{name} actor {number} on {connection.names[host]}" for number, host in enumerate(hosts)
    ]
    return WorkerPool(names, start, silence_s)
