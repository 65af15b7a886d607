"""Turns plain classes into Ray actors. Nothing else does."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.calls import resolve
from cluster.connect import ROOT, Connection


def start_actor(
    actor_class: type, connection: Connection, host: int, args: Sequence[Any], env: dict[str, str]
) -> Any:
    """An actor of a plain class on a host; its calls run one after the other, in order."""
    remote_class: Any = ray.remote(actor_class)
    return remote_class.options(
        num_cpus=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(connection.nodes[host], soft=False),
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | env},
    ).remote(*args)


class WorkerPool:
    """Actors that are in `run()` until the end of the job."""

    def __init__(self, name: str, actors: Sequence[Any], hosts: Sequence[str]):
        self._actors = list(actors)
        self._names = [f"{name} actor {number} on {host}" for number, host in enumerate(hosts)]
        self._runs = [actor.run.remote() for actor in self._actors]

    def raise_if_stopped(self) -> None:
        """A worker that ended, by error or silently, ends the job with its name and cause."""
        done, _ = ray.wait(self._runs, timeout=0)
        if done:
            name = self._names[self._runs.index(done[0])]
            resolve(done[0], 60.0, name)
            raise RuntimeError(f"{name} returned from run() while the job was going on")

    def kill(self) -> None:
        for actor in self._actors:
            ray.kill(actor)


def start_workers(
    name: str,
    worker_class: type,
    connection: Connection,
    hosts: Sequence[int],
    args: Sequence[Any],
    env: dict[str, str],
) -> WorkerPool:
    """One `worker_class(number, *args)` on each of `hosts`, each in its `run()`."""
    actors = [
        start_actor(worker_class, connection, host, (number, *args), env)
        for number, host in enumerate(hosts)
    ]
    return WorkerPool(name, actors, [connection.names[host] for host in hosts])
