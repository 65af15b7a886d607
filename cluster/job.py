"""One run on Ray: starts the pools, wires them with queues, and hands out the parts of the loop."""

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from actors.canaries import Canaries
from actors.data.feed import PermitFeed
from actors.data.prepare import Corpus
from actors.evaluate import Evaluation
from actors.judge import JudgeActor
from actors.rollout import RolloutActor
from cluster.calls import LearnerGone
from cluster.connect import Connection
from cluster.crew import Crew
from cluster.learner_slice import LearnerSlice
from cluster.logs import logged, start_log
from cluster.meters import Meters
from cluster.placement import Plan
from cluster.queues import GroupQueue
from cluster.weights import WeightStore
from cluster.workers import WorkerPool, start_workers
from configs.errors import RunError
from configs.run_folder import RunFolder
from configs.schema import RunConfig
from learner.collect import Collector, WorkLost
from learner.epoch import Epoch
from learner.history import note_incident
from learner.host import LearnerHost

logger = logging.getLogger(__name__)

_ALL = 2**31  # items
_QUEUE_CHECK_S = 2.0  # depths are sampled, not followed: a call costs about a millisecond
_LOOK_S = 0.5  # between two looks at all workers, each of which costs more the more there are


class Job:
    """The actors of a run. Use as a context manager: leaving it ends them.

    `check` raises to end a wait: see `learner.collect.Collector`.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        corpus: Corpus,
        plan: Plan,
        connection: Connection,
        check: Callable[[], None],
    ):
        self.config, self.folder, self.corpus = config, folder, corpus
        self.plan = plan
        self._check_stop = check
        self.step = 0  # done, for logs and metrics
        start_log(folder.path, "driver", 0, lambda: self.step)
        self.meters = Meters(folder.path.name, self._address)
        self._depths: dict[str, float] = {}
        self._depths_at = self._looked_at = 0.0
        head, silence_s = connection.settled().nodes[0], config.loop.silence_s
        self.permits, self.rollouts, self.scored = (
            GroupQueue(head, name, silence_s) for name in ("permits", "rollouts", "groups")
        )
        self.weights = WeightStore(config.loop.max_staleness + 2, head, silence_s)
        places = {"rollout": plan.rollout, "judge": plan.judge}
        self.crew = Crew(connection, places, self._start_pool, self._tell)  # as the learner starts
        for part in (self.permits, self.rollouts, self.scored, self.weights):
            part.wait_until_up()
        self._next_epoch()
        self._start_learner()

    @property
    def connection(self) -> Connection:
        """The hosts of the run, each of them somewhere that is up."""
        return self.crew.settled()

    def _start_pool(
        self, role: str, connection: Callable[[], Connection], places: Sequence[int]
    ) -> WorkerPool:
        config, corpus = self.config, self.corpus
        if role == "rollout":
            actor: type = RolloutActor
            args = (config, corpus.tokenizer, self.permits, self.weights, self.rollouts)
            threads = config.rollout.threads
        else:
            actor = JudgeActor
            args = (len(places), corpus.judging, self.rollouts, self.scored)
            threads = 1
        return start_workers(
            role,
            logged(actor, role, self.folder.path),
            connection if role == "rollout" else lambda: connection().without_devices,
            *(places, args, worker_env(threads, connection())),
            silence_s=config.loop.silence_s,
        )

    def _next_epoch(self) -> None:
        """What an earlier learner of this run still brings is refused from here on."""
        self.epoch = Epoch.claim(self.folder.epochs)
        self.weights.renew(self.epoch.number)

    def _start_learner(self) -> None:
        """It is to go on from the last checkpoint."""
        config, folder = self.config, self.folder
        self._arrived = self._lost = 0
        self.learner = self._learner()
        self.collector = Collector(
            self.scored,
            self.check,
            config.loop.wait_timeout_s,
            ask_judges=self.rollouts.put,
            max_abstain=config.judge.max_abstain,
        )
        self.canaries = Canaries(self.rollouts, self.collector, folder.path / "canaries.json")

    def _learner(self) -> LearnerSlice:
        config, folder = self.config, self.folder
        return LearnerSlice(
            logged(LearnerHost, "learner", folder.path),
            self.connection,
            self.plan.learner,
            args=(config, folder.checkpoints, self.corpus.tokenizer.vocabulary, self.epoch),
            env=worker_env(config.learner.threads, self.connection),
            silence_s=config.loop.silence_s,
        )

    def replace_learner(self) -> None:
        """After LearnerGone. Queues and judges stay; a rollout actor may be waiting for a policy
        that is not made any more."""
        self._next_epoch()
        self.permits.get(_ALL, 0.0)
        self.crew.restart("rollout")
        self._start_learner()

    def __enter__(self) -> "Job":
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.learner.close()
            else:  # a host may be gone: waiting for all of them would hide the error
                self.learner.kill()
        finally:
            if not isinstance(error, LearnerGone):  # see `replace_learner`
                self.kill()

    def kill(self) -> None:
        """All but the learner."""
        for part in (self.crew, self.permits, self.rollouts, self.scored, self.weights):
            part.kill()

    def check(self) -> None:
        """Replace workers that died or hang; looks at them every half second, however often called.

        Raises Stop when it is time to, WorkLost when a worker was replaced, WorkerGone for what
        only a new job replaces.
        """
        self._check_stop()
        if time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        self.learner.check()
        if lost := self.crew.replace():
            for what in lost.values():
                self.incident("replaced", what)
            self._count(list(lost.values()))
            self.permits.get(_ALL, 0.0)  # those will be asked for again, with what is lost
            held = self.permits.taken(list(lost)) + self.rollouts.taken(list(lost))
            raise WorkLost(", ".join(lost.values()), held)

    def _count(self, lost: Sequence[str]) -> None:
        """Raises RunError when workers are lost again and again, and nothing else happens."""
        if self.collector.arrived > self._arrived:
            self._arrived, self._lost = self.collector.arrived, 0
        self._lost += len(lost)
        if self._lost > self.config.loop.max_losses:
            raise RunError(
                f"{lost[-1]}, the {self._lost}th worker lost (loop.max_losses) since a group was "
                "finished last: something kills them, or hangs. Where they were last:\n  "
                + "\n  ".join(self.doing())
            )

    def doing(self) -> list[str]:
        """What each worker said last."""
        return self.crew.doing()

    def _tell(self, what: str) -> None:
        """Of hosts that come and go: on the terminal and in the log."""
        print(what, flush=True)
        logger.info(what)

    def incident(self, outcome: str, what: str) -> None:
        """Tell of it: on the terminal, in the ledger, the log and the metrics."""
        print(f"warning: {what}: {outcome}", file=sys.stderr, flush=True)
        note_incident(self.folder.ledger_file, outcome, what)
        logger.info("%s: %s", what, outcome, extra={"incident": outcome})
        self.meters.incident()

    def feed(self, first_open: int) -> PermitFeed:
        """The training stream from the first prompt on that is not used up."""
        corpus = self.corpus
        return PermitFeed(corpus.train, corpus.tokenizer, self.config, first_open)

    def evaluation(self) -> Evaluation:
        corpus = self.corpus
        return Evaluation(corpus.heldout, corpus.tokenizer, self.config, self.permits)

    def queue_scalars(self) -> dict[str, float]:
        """Depth of each queue, at most `_QUEUE_CHECK_S` old."""
        if time.monotonic() - self._depths_at > _QUEUE_CHECK_S:
            queues = {"permits": self.permits, "rollouts": self.rollouts, "scored": self.scored}
            self._depths = {
                f"queue/depth_{name}": float(queue.stats()["depth"])
                for name, queue in queues.items()
            }
            self._depths_at = time.monotonic()
        return self._depths

    def judge_scalars(self, step: int) -> dict[str, float]:
        """How often the judges were asked again, and how long training waited for them, so far; and
        what the canaries say.
        """
        every = self.config.judge.canary_steps
        return self.canaries.step(due=bool(every) and step % every == 0) | {
            "judge/asked_again": float(self.collector.asked_again),
            "judge/paused_s": self.collector.paused_s,
        }

    def _address(self, role: str, number: int) -> str:
        """Of the host that an actor is on."""
        return self.crew.connection.addresses[self._places(role)[number]]

    def _places(self, role: str) -> Sequence[int]:
        """Host by number of a process."""
        if role in ("rollout", "judge"):
            return self.crew.places(role)
        return self.plan.learner if role == "learner" else (0,)

    def placed(self) -> dict[str, Sequence[str]]:
        """Which node did what, for the summary."""
        names = self.connection.names
        return {
            role: [names[host] for host in self._places(role)]
            for role in ("learner", "rollout", "judge")
        }


def worker_env(threads: int, connection: Connection) -> dict[str, str]:
    """Environment of an actor process: its share of the cores, and a share of a local GPU."""
    env = {"PJRT_NPROC": str(threads), "OMP_NUM_THREADS": str(threads)}
    # glibc gives each of Ray's many threads an arena of its own, where freed arrays stay resident
    env["MALLOC_ARENA_MAX"] = "2"
    if connection.local:
        # several processes of this machine may use one accelerator
        env["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
            # a worker that is replaced finds the programs of the one before
            env["JAX_COMPILATION_CACHE_DIR"] = str(Path(connection.scratch) / "compiled")
            env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
            env["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    if connection.local and len(connection.nodes) > 1:
        env["JAX_PLATFORMS"] = "cpu"  # simulated hosts have no accelerator of their own
    return env
