"""Canaries: labelled completions that the judges of a run are given again and again.

They travel through the pool like any group, beside the run's own, and are never answered from the
cache. What comes back says whether the judge still ranks what it ranked, whether its scores wander,
and by how much two verdicts on the same text differ.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from actors.data.labelled.items import read_items
from actors.judge import CANARY
from actors.probes import noise_of
from cluster.messages import Permit, RolloutGroup, ScoredGroup
from configs.run_folder import write_json
from learner.collect import Collector, Queue

PER_DOMAIN = 2
KINDS = ("wrong_answer", "wrong_step", "filler")  # each should earn less than the good one


class Canaries:
    """`file` keeps the first round's rewards: all later ones of the run are held against them."""

    def __init__(self, rollouts: Queue, collector: Collector, file: Path):
        self._rollouts, self._collector, self._file = rollouts, collector, file
        self._groups = _groups()
        self._asked: list[tuple[str, int]] = []  # keys of the round under way
        self._rounds = 0
        self._last: np.ndarray | None = None

    def step(self, due: bool) -> dict[str, float]:
        """Ask when it is `due`; the scalars of a round that has come back, {} without one."""
        scalars: dict[str, float] = {}
        if self._asked and (back := self._collector.take_if_here(self._asked)) is not None:
            scalars, self._asked = self._scalars(back), []
        if due:
            self._rounds += not self._asked  # else some were lost with a judge: asked again
            first = self._rounds * len(self._groups)
            groups = [_numbered(group, first + n) for n, group in enumerate(self._groups)]
            self._asked = [group.permit.key for group in groups]
            self._rollouts.put([g for g in groups if g.permit.key not in self._collector])
        return scalars

    def _scalars(self, groups: Sequence[ScoredGroup]) -> dict[str, float]:
        rewards = np.array([[v.reward for v in group.verdicts] for group in groups])  # nan: none
        if np.isnan(rewards).all():
            return {}
        if not self._file.exists():
            write_json(
                self._file, [[None if np.isnan(r) else float(r) for r in row] for row in rewards]
            )
        known = np.array(json.loads(self._file.read_text()), float)
        good, worse = rewards[:, :1], rewards[:, 1:]
        judged = ~np.isnan(good - worse)
        scalars = {
            "judge/canary_right": float((good > worse + 1e-9)[judged].mean()),
            "judge/canary_drift": float(np.nanmean(np.abs(rewards - known))),
        }
        if self._last is not None:
            changes = (rewards - self._last)[~np.isnan(rewards - self._last)]
            scalars["judge/noise"] = noise_of(changes)
        self._last = rewards
        return scalars


def _groups() -> list[RolloutGroup]:
    """A good completion and one of each kind that is worse, of a few questions of each domain."""
    by_domain: dict[str, list] = {}
    for item in read_items():
        if item.id.endswith("-0"):
            by_domain.setdefault(item.domain, []).append(item)
    nothing = np.empty(0, np.int32)
    groups = []
    for items in by_domain.values():
        for item in items[:PER_DOMAIN]:
            texts = (item.good, *(item.flawed[kind] for kind in KINDS))
            permit = Permit(CANARY, 0, item.question(True), nothing, len(texts), 0.0, 0)
            empty = (nothing,) * len(texts)
            none_cut = np.zeros(len(texts), bool)
            groups.append(RolloutGroup(permit, 0, empty, empty, texts, none_cut, 0, 0.0))
    return groups


def _numbered(group: RolloutGroup, index: int) -> RolloutGroup:
    return replace(group, permit=replace(group.permit, index=index))
