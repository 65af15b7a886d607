"""Actors that have nothing to do, for `benchmarks.control_plane`. Imports no JAX: 128 processes do.

They ask, fetch and answer as the real ones, through the same queues and the same weight store.
"""

import time

import numpy as np

from cluster.messages import Permit, RolloutGroup, ScoredGroup, Verdict
from cluster.queues import GroupQueue
from cluster.weights import WeightStore

_AT_ONCE = 4  # permits


class IdleRollout:
    """Answers each permit at once, with the version of the policy that it asks for."""

    def __init__(
        self,
        index: int,
        tokens: int,  # of each completion
        permits: GroupQueue,
        weights: WeightStore,
        rollouts: GroupQueue,
    ):
        self._index, self._tokens, self._version = index, tokens, -1
        self._permits, self._weights, self._rollouts = permits, weights, rollouts

    def run(self) -> None:
        while True:
            if permits := self._permits.get(_AT_ONCE, 1.0):
                self._fetch(permits[-1].policy_version)
                self._rollouts.put(
                    [_sampled(permit, self._tokens, self._index) for permit in permits]
                )

    def _fetch(self, version: int) -> None:
        if version > self._version:
            self._weights.fetch(version, 60.0, self._index)
            self._version = version


class IdleJudge:
    """Half of the siblings are right."""

    def __init__(self, index: int, rollouts: GroupQueue, scored: GroupQueue):
        self._index, self._rollouts, self._scored = index, rollouts, scored

    def run(self) -> None:
        while True:
            if groups := self._rollouts.get(64, 1.0):
                self._scored.put([_judged(group, self._index) for group in groups])


def _sampled(permit: Permit, tokens: int, actor: int) -> RolloutGroup:
    return RolloutGroup(
        permit=permit,
        policy_version=permit.policy_version,
        tokens=tuple(np.full(tokens, 5, np.int32) for _ in range(permit.siblings)),
        logprobs=tuple(np.zeros(tokens, np.float32) for _ in range(permit.siblings)),
        texts=("word " * (tokens // 2),) * permit.siblings,
        truncated=np.zeros(permit.siblings, bool),
        actor=actor,
        finished_at=time.time(),
    )


def _judged(group: RolloutGroup, judge: int) -> ScoredGroup:
    verdicts = tuple(Verdict(float(sibling % 2), {}) for sibling in range(len(group.texts)))
    return ScoredGroup(group, verdicts, judge, judge_s=0.0, finished_at=time.time())
