"""The simulated parts of a run: actors behind the real queues, a learner, a failing ledger."""

import hashlib
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any

import numpy as np

from cluster.messages import Permit, Question, RolloutGroup, ScoredGroup, Verdict
from cluster.queues import _Queue
from configs.errors import LearnerLost
from configs.schema import RunConfig
from learner import loop
from learner.collect import WorkLost
from learner.history import History
from learner.ledger import Ledger
from tests.simulation.world import Disk, Poison, World

JUDGE = -1  # among the actors
LEARNER_DEATHS = ("learner death", "queue death")
QUESTIONS = [Question(str(n), "", "", "", "math", "exact") for n in range(64)]


def answer(coroutine: Coroutine) -> Any:
    """What a call of a queue returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it would wait")


class Pools:
    """Simulated rollout and judge actors between the real queues."""

    def __init__(self, world: World, config: RunConfig, poison: Poison):
        self.world, self.config, self.poison = world, config, poison
        self.keep = config.loop.max_staleness + 2  # as the job does
        self.weights: dict[int, bytes] = {}
        self.permits, self.scored = _Queue(), _Queue()
        self.ended = ""  # why the job is over, once that is noticed
        self.struck = ""  # what has happened to them
        self._strikes = 0
        self._dead: dict[int, object] = {}  # actors that a poisonous group killed, each death
        self._replaced = False  # an actor was, and the loop does not know it yet
        self._judged: deque = deque(maxlen=99)  # (judge, key) of what it got
        self._lives: Counter[int] = Counter()  # times that an actor was replaced
        self._lost: set[str] = set()  # those that were replaced
        self._idle: list[int] = []  # actors that wait for permits
        for actor in range(int(world.rng.integers(1, 4))):
            self._next_turn(actor)
        if np.isfinite(world.faults.at_s):
            world.after(world.faults.at_s, self._strike)

    def publish(self, version: int, params: bytes) -> None:
        self.world.call(f"publish {version}")
        self.weights[version] = params
        for old in sorted(self.weights)[: -self.keep]:
            del self.weights[old]

    def permits_of(self, indices, version: int) -> list[Permit]:
        """Their tokens are their places, so that a batch shows what it is made of."""
        size = self.config.rollout.group_size
        return [
            Permit("train", n, QUESTIONS[n % 64], np.array([n], np.int32), size, 1.0, version)
            for n in indices
        ]

    def ask(self, asked: list[Permit]) -> None:
        self.world.call(f"ask {[permit.index for permit in asked]}")
        answer(self.permits.put(asked))
        while self._idle:
            self._next_turn(self._idle.pop())

    def ask_judges(self, groups: list[ScoredGroup]) -> None:
        self.world.call(f"judge again {[group.key[1] for group in groups]}")
        for group in groups:
            self.world.send(lambda group=group: self._judge(group.rollout))

    def get(self, max_items: int, timeout_s: float) -> list[ScoredGroup]:
        self.world.call("get")
        until = self.world.now + timeout_s
        self.world.pass_until(until, enough=lambda: len(self.scored._items) > 0)
        return answer(self.scored.get(max_items, 0.0))

    def put(self, items: list) -> None:
        raise NotImplementedError

    def check_stop(self) -> None:
        if self.struck == "signal":
            raise loop.Stop("signal")

    def check(self) -> None:
        self.check_stop()
        if self.ended:
            raise RuntimeError(self.ended)
        if self._replaced:
            self._replaced = False
            answer(self.permits.get(99, 0.0))
            held = answer(self.permits.taken(list(self._lost)))
            held += [key for judge, key in self._judged if judge in self._lost]
            self._judged.clear()
            self._lost.clear()
            raise WorkLost("replaced", held)

    def _strike(self) -> None:
        """A death is noticed a little later, a hang much later; some strike again."""
        self.struck = kind = self.world.faults.kind
        self.world.note(kind)
        if kind in LEARNER_DEATHS:
            self.world.after(1.5, self._notice_learner)
        elif kind.endswith(("death", "hang")):
            self.world.after(1.5 if kind.endswith("death") else 60.0, self._replace)

    def _notice_learner(self) -> None:
        self.ended = f"{self.struck} noticed"

    def _replace(self) -> None:
        self.world.note(f"{self.struck} noticed")
        actor = 0 if self.struck.startswith("rollout") else JUDGE
        self._replaces(actor)
        self.struck = ""
        self._strikes += 1
        # more often in a row, and it would rightly be taken for the fault of a group
        if (
            self._strikes < (2 if self.poison.rollout | self.poison.judge else 4)
            and self.world.rng.random() < 0.5
        ):
            self.world.after(self.world.delay(), self._strike)

    def _poisoned(self, actor: int, key: tuple) -> None:
        """The group killed an actor, or hangs it: that much later it is replaced."""
        self.world.note(f"{key} kills {actor}")
        death = self._dead[actor] = object()
        self.world.after(self.world.rng.choice([1.5, 60.0]), lambda: self._revive(actor, death))

    def _revive(self, actor: int, death: object) -> None:
        if self._dead.get(actor) is death:  # else it was replaced before, for another reason
            self._replaces(actor)

    def _replaces(self, actor: int) -> None:
        self._lost.add(self._name(actor))
        self._lives[actor] += 1
        self._dead.pop(actor, None)
        self._replaced = True

    def _name(self, actor: int) -> str:
        """Of this life: what the next one takes is not what this one was lost with."""
        return f"{actor}.{self._lives[actor]}"

    def _turn(self, actor: int) -> None:
        """An actor takes a few permits and samples them; then it is its turn again.

        What one has taken that died or hangs is lost.
        """
        if not self.permits._items:
            self._idle.append(actor)
            return
        if actor not in self._dead:
            most = int(self.world.rng.integers(1, 4))
            self._work(actor, answer(self.permits.get(most, 0.0, self._name(actor))))
        self._next_turn(actor)

    def _next_turn(self, actor: int) -> None:
        self.world.after(self.world.delay(), lambda: self._turn(actor))

    def _work(self, actor: int, taken: list[Permit]) -> None:
        if actor == 0 and self.struck.startswith("rollout"):
            return
        for permit in taken:
            if permit.index in self.poison.rollout:
                self._poisoned(actor, permit.key)
                return
        for permit in taken:
            if permit.policy_version in self.weights:  # else its other copy was used long ago
                group = self._sample(permit, actor)
                self.world.send(lambda group=group: self._judge(group))

    def _sample(self, permit: Permit, actor: int) -> RolloutGroup:
        """Completions that depend on the policy, the prompt and the sibling alone."""
        params = self.weights[permit.policy_version]
        drawn = [
            hashlib.blake2b(params + bytes(f"{permit.index}/{s}", "ascii"), digest_size=6).digest()
            for s in range(permit.siblings)
        ]
        values = [np.frombuffer(digest, np.uint8) for digest in drawn]
        return RolloutGroup(
            permit,
            permit.policy_version,
            tokens=tuple(value.astype(np.int32) for value in values),
            logprobs=tuple(-value.astype(np.float32) for value in values),
            texts=("",) * permit.siblings,
            truncated=np.zeros(permit.siblings, bool),
            actor=actor,
            finished_at=0.0,
        )

    def _judge(self, group: RolloutGroup) -> None:
        """A reward that depends on the completion alone; in an outage some have none."""
        if JUDGE in self._dead:
            return
        self._judged.append((self._name(JUDGE), group.key))
        if self.struck in ("judge death", "judge hang"):
            return
        if group.permit.index in self.poison.judge:
            self._poisoned(JUDGE, group.permit.key)
            return
        down = self.world.faults.lasting("judge outage", self.world.now) > 0
        verdicts = tuple(
            Verdict.abstain("the judge is down")
            if down and self.world.rng.random() < 0.5
            else Verdict(float(tokens[0] % 4), {})
            for tokens in group.tokens
        )
        scored = ScoredGroup(group, verdicts, 0, 0.0, 0.0)
        self.world.send(lambda: answer(self.scored.put([scored])))


class SimLearner:
    """A learner whose parameters are a hash of everything it was ever trained on."""

    def __init__(self, world: World, disk: Disk, config: RunConfig, poison: Poison, pools: Pools):
        self.world, self.disk, self.config = world, disk, config
        self.poison, self.pools = poison, pools
        whole = [step for step in disk.checkpoints if step not in disk.torn]
        kept = disk.checkpoints[max(whole)] if whole else None
        self.version = max(whole, default=0)
        self.params: bytes = kept["params"] if kept else b"start"
        self.policies: dict[int, bytes] = dict(kept["policies"]) if kept else {}
        self.ledger = Ledger(**kept["ledger"]) if kept else Ledger()
        self.pending: dict[int, dict] = {}

    def export(self, version: int) -> bytes:
        self.world.call(f"export {version}")
        return self.params if version == self.version else self.policies[version]

    def train_step(self, batch) -> dict[str, float]:
        self.world.call("train", takes_s=float(self.world.rng.uniform(0.1, 0.5)))
        self._survive(batch)
        self.policies[self.version] = self.params
        digest = hashlib.blake2b(self.params, digest_size=16)
        for array in batch:
            digest.update(np.ascontiguousarray(array).tobytes())
        self.params = digest.digest()
        self.version += 1
        oldest = self.version - self.config.loop.max_staleness
        self.policies = {v: p for v, p in self.policies.items() if v >= oldest}
        self.world.call("trained")
        number = int.from_bytes(self.params[:6], "little")
        return {"fingerprint": float(number), "loss": 0.0, "grad_norm": 1.0}

    def _survive(self, batch) -> None:
        """Not what kills it; and not a fault in the middle of an update, which is a chance.

        More than two of these, and they would rightly be taken for the fault of a group: then the
        fault is noticed after the update.
        """
        siblings = len(batch.weights) // len(batch.prompts)
        read = batch.weights.any(axis=1)[::siblings]  # of those set aside nothing is
        if self.poison.learner & set(batch.prompts[read, 0].tolist()):
            self.world.call("a batch kills the learner", self.world.rng.choice([1.5, 60.0]))
            raise LearnerLost("the learner died in an update")
        chance = self.pools.struck == "learner death" and not self.poison.learner
        if chance and self.disk.learners_lost < 2:
            self.disk.learners_lost += 1
            raise LearnerLost("the learner died by chance")

    def save(self, phase, step: int, ledger: dict, metrics, wait: bool) -> list[str]:
        """Asynchronous: complete a while later; a crash before that may leave it torn."""
        self.world.write(f"save {step}")
        for waiting in list(self.pending):  # one at a time
            self._complete(waiting)
        if step not in self.disk.checkpoints or step in self.disk.torn:
            policies = {v: p for v, p in self.policies.items() if v < step}
            self.pending[step] = dict(params=self.params, policies=policies, ledger=ledger)
            self.world.after(self.world.delay(), lambda: self._complete(step))
        if wait:
            self.world.call("wait")
            self._complete(step)
        return []

    def _complete(self, step: int) -> None:
        if step in self.pending:
            self.disk.checkpoints[step] = self.pending.pop(step)
            self.disk.torn.discard(step)
            for old in sorted(self.disk.checkpoints)[:-3]:
                del self.disk.checkpoints[old]


class SimHistory(History):
    """The real one, with a chance to crash or to find no room at each of its calls."""

    world: World

    def asked(self, places, version):
        self.world.write("history: asked")
        super().asked(places, version)

    def done(self, report):
        self.world.write("history: done")
        super().done(report)
        self.world.call("history: written")

    def set_aside(self, place, reason):
        self.world.write("history: set aside")
        super().set_aside(place, reason)

    def update_lost(self, step, places, batch):
        self.world.write("history: update lost")
        super().update_lost(step, places, batch)

    def sync(self):
        self.world.write("history: sync")
        super().sync()
