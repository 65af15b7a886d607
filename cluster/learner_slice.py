"""All processes of the learner as one: every call reaches every host, with the same arguments."""

from collections.abc import Callable, Sequence
from typing import Any

import ray

from cluster.calls import START_S, LearnerGone, WorkerGone, resolve, resolve_all
from cluster.connect import Connection
from cluster.messages import BASE
from cluster.watch import Watch
from cluster.workers import start_actor
from learner.batch import Batch, Demonstrations

# Deadlines: long enough for a compilation of the largest model, short enough to end a hang.
_STEP_S, _SAVE_S = 1800.0, 1800.0


class LearnerSlice:
    """`host_class(rank, world, *args)` on each of `hosts`, joined by `jax.distributed`.

    A host that dies, or does not answer for `silence_s`, ends the call with its rank and host:
    LearnerGone.
    """

    def __init__(
        self,
        host_class: type,
        connection: Connection,
        hosts: Sequence[int],
        args: Sequence[Any],
        env: dict[str, str],
        silence_s: float = 60.0,
    ):
        self._silence_s = silence_s
        world = len(hosts)
        self._hosts = [
            start_actor(host_class, connection, host, (rank, world, *args), env)
            for rank, host in enumerate(hosts)
        ]
        self._names = [
            f"learner process {rank} on {connection.names[host]}" for rank, host in enumerate(hosts)
        ]
        self._watch = Watch(silence_s, START_S)
        for host in self._hosts:
            self._watch.add(host)
        if world > 1:
            address = connection.addresses[hosts[0]]
            coordinator = resolve(
                self._hosts[0].coordinator_address.remote(address), START_S, self._names[0]
            )
            self._everywhere(lambda host: host.join.remote(coordinator), START_S)

    def create_state(self) -> dict[str, Any]:
        begun = self._everywhere(lambda host: host.create_state.remote(), START_S)
        self._pieces = begun["pieces"]
        return begun

    def sft_steps(self, batches: Sequence[Demonstrations]) -> list[float]:
        shared = ray.put(batches)
        return self._everywhere(lambda host: host.sft_steps.remote(shared), _STEP_S)

    def begin_grpo(self) -> None:
        self._everywhere(lambda host: host.begin_grpo.remote(), _SAVE_S)

    def train_step(self, batch: Batch) -> dict[str, float]:
        shared = ray.put(batch)
        return self._everywhere(lambda host: host.train_step.remote(shared), _STEP_S)

    def export(self, version: int) -> list[list[Any]]:
        """References to what each process hands over of a version of the policy: an offer and its
        pieces, which stay on its host. Processes without any are left out."""
        counts = self._pieces[BASE if version == BASE else 0]
        handed = [
            host.export.options(num_returns=1 + count).remote(version)
            for host, count in zip(self._hosts, counts, strict=True)
        ]
        return [refs for refs, count in zip(handed, counts, strict=True) if count]

    def save(
        self, phase: str, step: int, ledger: dict, metrics: dict | None, wait: bool
    ) -> Sequence[str]:
        return self._everywhere(
            lambda host: host.save.remote(phase, step, ledger, metrics, wait), _SAVE_S
        )

    def parameters_sha256(self) -> str:
        return self._everywhere(lambda host: host.parameters_sha256.remote(), _STEP_S)

    def close(self) -> None:
        """Finish what is being written, then end the processes."""
        self._everywhere(lambda host: host.close.remote(), _SAVE_S)
        self.kill()

    def check(self) -> None:
        """Raise LearnerGone naming a process that does not answer."""
        for rank in self._watch.silent():
            raise LearnerGone(
                f"{self._names[rank]} did not answer for {self._silence_s:.0f} s "
                f"(loop.silence_s); before that it was in {self.doing(rank)}"
            )

    def doing(self, rank: int) -> str:
        """What a process said last."""
        return self._watch.doing(rank)

    def kill(self) -> None:
        for host in self._hosts:
            ray.kill(host)

    def _everywhere(self, call: Callable[[Any], Any], timeout_s: float) -> Any:
        """Call every host; the answer of rank 0, once all have answered."""
        refs = [call(host) for host in self._hosts]
        try:
            return resolve_all(refs, timeout_s, self._names, self.check)[0]
        except WorkerGone as gone:
            raise LearnerGone(str(gone)) from gone
