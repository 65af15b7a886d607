"""Turns plain classes into Ray actors, and replaces those that died or hang. Nothing else does."""

from collections.abc import Callable, Mapping, Sequence
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
    """Actors that are in `run()` until the end of the job.

    `start` makes the one of a number for a host of the run, and gives it with a name for people.
    """

    def __init__(
        self, hosts: Sequence[int], start: Callable[[int, int], tuple[Any, str]], silence_s: float
    ):
        self._start, self._silence_s = start, silence_s
        self.hosts: list[int] = []  # of the run, by number of an actor
        self._actors: list[Any] = []
        self._names: list[str] = []
        self._runs: list[Any] = []
        self._leaving: set[int] = set()
        self._watch = Watch(silence_s, START_S)
        for host in hosts:
            self.add(host)

    def add(self, host: int) -> None:
        """One more."""
        actor, name = self._start(len(self.hosts), host)
        self.hosts.append(host)
        self._actors.append(actor)
        self._names.append(name)
        self._runs.append(actor.run.remote())
        self._watch.add(actor)

    def leave(self, host: int) -> None:
        """Ask the actors on a host to finish what they have and take nothing more; they start again
        elsewhere."""
        for number in self._on(host) - self._leaving:
            self._leaving.add(number)
            self._actors[number].leave.options(concurrency_group=GROUP).remote()

    def move(self, host: int) -> dict[str, str]:
        """Start the actors of a host that is there again anew: actor id -> what happened."""
        return self._anew({number: f"{self._names[number]} moves" for number in self._on(host)})

    def replace(self) -> dict[str, str]:
        """Replace workers whose process died or does not answer: actor id -> what happened.

        Those that have left are, too, but have lost nothing. Raises what a worker raised itself: a
        new one would raise it again.
        """
        ended = self._ended()
        left = {n for n in ended if n in self._leaving and not died(self._runs[n])}
        self._anew(dict.fromkeys(left, ""))
        happened = {number: self._end_of(number) for number in ended if number not in left}
        for number in self._watch.silent():
            happened.setdefault(
                number,
                f"{self._names[number]} did not answer for {self._silence_s:.0f} s "
                f"(loop.silence_s); before that it was in {self._watch.doing(number)}",
            )
        return self._anew(happened)

    def doing(self) -> list[str]:
        """What each worker said last."""
        return [f"{name}: {self._watch.doing(n)}" for n, name in enumerate(self._names)]

    def kill(self) -> None:
        for actor in self._actors:
            ray.kill(actor)

    def _anew(self, happened: Mapping[int, str]) -> dict[str, str]:
        lost = {self._actors[number]._actor_id.hex(): what for number, what in happened.items()}
        for number in happened:
            ray.kill(self._actors[number])
            self._actors[number], self._names[number] = self._start(number, self.hosts[number])
            self._runs[number] = self._actors[number].run.remote()
            self._watch.replace(number, self._actors[number])
            self._leaving.discard(number)
        return lost

    def _on(self, host: int) -> set[int]:
        return {number for number, place in enumerate(self.hosts) if place == host}

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
    role: str,
    worker_class: type,
    connection: Callable[[], Connection],
    hosts: Sequence[int],
    args: Sequence[Any],
    env: dict[str, str],
    silence_s: float = 60.0,
) -> WorkerPool:
    """One `worker_class(number, *args)` on each of `hosts`, each in its `run()`.

    `connection`: as the hosts are at present, each of them somewhere that is up.
    """

    def start(number: int, host: int) -> tuple[Any, str]:
        here = connection()
        actor = start_actor(worker_class, here, host, (number, *args), env)
        return actor, f"{role} actor {number} on {here.names[host]}"

    return WorkerPool(hosts, start, silence_s)
