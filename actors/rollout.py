"""Rollout actor: samples groups of completions for the permits it takes from the queue."""

import logging
import time
from collections import deque
from functools import partial

import jax

from actors.incoming import Arrived, Incoming, WeightSource
from actors.stopping import endings_of
from cluster.messages import BASE, Permit, RolloutGroup, ScoredGroup, Swap
from configs.schema import RunConfig
from learner.collect import Queue
from learner.policy.engine import Engine, Sampled
from learner.policy.lora import merged
from learner.policy.model import Params, build_model
from learner.policy.tokenizer import Tokenizer

logger = logging.getLogger(__name__)


class RolloutActor:
    """Decodes permits in the slots of one engine, each with the policy version it asks for."""

    def __init__(
        self,
        index: int,
        config: RunConfig,
        tokenizer: Tokenizer,
        permits: Queue,
        weights: WeightSource,
        rollouts: Queue,
    ):
        self.index, self.config, self.tokenizer = index, config, tokenizer
        self.permits, self.rollouts = permits, rollouts
        self._incoming = Incoming(weights, config.loop.wait_timeout_s, index)
        self._swap: Swap | None = None  # the last one
        model = build_model(config.model, tokenizer.vocabulary)
        self.engine = Engine(model, config.rollout, endings_of(config, tokenizer), config.run.seed)
        self._in_flight = config.rollout.new_weights == "in_flight"
        self._base: Params | None = None  # what adapters lie over, once one came
        self._merge = jax.jit(partial(merged, model.architecture, config.lora))
        self._waiting: deque[Permit] = deque()
        self._queue_is_long = False  # it gave as many as were asked for
        self.leaving = False  # its host will be taken away

    @property
    def version(self) -> int:
        """Of the policy that it has."""
        return self.engine.version

    def run(self) -> None:
        """Serve until the owner of the process ends it, or until it is `leaving` and has handed on
        what it had taken."""
        while not self.leaving or self._waiting or self.engine.busy:
            self.serve(timeout_s=1.0)

    def serve(self, timeout_s: float) -> None:
        """One turn: take permits, admit what fits, decode a chunk, hand finished groups on."""
        self._take_permits(timeout_s)
        self._admit()
        finished = self.engine.collect()
        self._fill_up()
        self.engine.decode()
        if finished:
            self.rollouts.put([self._group(sampled) for sampled in finished])

    def _fill_up(self) -> None:
        """More permits where slots of a whole group got free at once, before the next chunk leaves
        them empty. Another policy waits for the next turn: its version may not be there before the
        groups that just finished are handed on."""
        if self._queue_is_long and self.engine.unfilled >= self.config.rollout.group_size:
            self._take_permits(0.0)
        if self._waiting and self._waiting[0].policy_version == self.engine.version:
            self._admit()

    def _take_permits(self, timeout_s: float) -> None:
        if self._waiting or self.leaving:
            return
        idle = not self.engine.busy
        if idle or self.engine.room:
            wanted = max(1, self.engine.room)
            taken = self.permits.get(wanted, timeout_s if idle else 0.0)
            self._queue_is_long = len(taken) == wanted
            self._waiting.extend(taken)

    def _admit(self) -> None:
        """Submit permits whose policy is loaded, as far as there is room."""
        if not self._waiting or not self._has_policy_of(self._waiting[0]):
            return
        fitting: list[Permit] = []
        while self._waiting and self._may_join(self._waiting[0], len(fitting)):
            fitting.append(self._waiting.popleft())
        self.engine.submit(fitting)

    def _may_join(self, permit: Permit, others: int) -> bool:
        same_policy = permit.policy_version == self.engine.version or (
            self._in_flight and permit.policy_version < self.engine.version
        )
        return same_policy and self.engine.turn_to(permit) and others < self.engine.room

    def _has_policy_of(self, permit: Permit) -> bool:
        """Load it if need be. Two policies never share the slots, so that a group is what its
        permit says; but if they are swapped in flight, it may be newer than that.
        """
        wanted = permit.policy_version
        if wanted == self.engine.version or (self._in_flight and wanted < self.engine.version):
            return True
        if self.engine.busy and not (self._incoming.begin(wanted) and self._in_flight):
            return False
        try:
            self._load(wanted)
        except LookupError:  # asked for twice, and the other copy was used long ago
            self._waiting = deque(p for p in self._waiting if p.policy_version != wanted)
            return False
        return True

    def _load(self, version: int) -> None:
        """Turn to a version. Raises LookupError when it was dropped already."""
        began = time.perf_counter()
        arrived = self._incoming.take(version)
        self.engine.load(self._whole(arrived), version)
        done = time.perf_counter()
        self._swap = Swap(version, arrived.bytes, done - began, done - arrived.asked_at)
        logger.info("policy loaded", extra={"pause_s": self._swap.pause_s})

    def _whole(self, arrived: Arrived) -> Params:
        """The weights to decode with."""
        if not self.config.lora.rank:
            return arrived.weights
        if self._base is None:
            self._base = self.engine.arrived(self._incoming.take(BASE).weights)
        return self._merge(self._base, self.engine.arrived(arrived.weights))

    def _group(self, sampled: Sampled) -> RolloutGroup | ScoredGroup:
        if sampled.failed:
            logger.warning("set aside: %s", sampled.failed)
            return ScoredGroup.instead(sampled.permit, sampled.failed)
        return RolloutGroup(
            permit=sampled.permit,
            policy_version=min(int(versions.min()) for versions in sampled.versions),
            tokens=sampled.tokens,
            logprobs=sampled.logprobs,
            texts=tuple(self.tokenizer.decode(tokens) for tokens in sampled.tokens),
            truncated=sampled.truncated,
            actor=self.index,
            finished_at=time.time(),
            swap=self._swap,
        )
