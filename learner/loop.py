"""The training loop, whole, on one page. Knows neither Ray nor where the parts run."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cluster.messages import Permit, ScoredGroup
from configs.errors import LearnerLost
from configs.schema import RunConfig
from learner.batch import Batch, StepGroups, build_batch, select
from learner.collect import SET_ASIDE, Collector, Key, WorkLost
from learner.ledger import Ledger
from learner.order import Order
from learner.refill import lacking


class Stop(Exception):
    """Raised while waiting, to end training in good order: a signal, or the time budget."""


class Learner(Protocol):
    """What the loop needs of the learner: a `LearnerHost`, or a slice of them.

    Raises LearnerLost when a process of it died or hangs.
    """

    def train_step(self, batch: Batch) -> dict[str, float]: ...

    def export(self, version: int) -> Any: ...  # as `Weights.publish` wants it

    def save(
        self, phase: str, step: int, ledger: dict, metrics: dict | None, wait: bool
    ) -> Sequence[str]: ...


class Weights(Protocol):
    """Where rollout actors find the policy."""

    def publish(self, version: int, handed: Any) -> None: ...


class History(Protocol):
    """Where the life of every prompt is written down: see `learner.history`."""

    @property
    def aside(self) -> Mapping[int, str]: ...

    def asked(self, places: Sequence[int], version: int) -> None: ...

    def set_aside(self, place: int, reason: str) -> None: ...

    def update_lost(self, step: int, places: Sequence[int], batch: Batch) -> None: ...

    def done(self, report: "StepReport") -> None: ...

    def filed(self, path: Path, step: int) -> None: ...

    def sync(self) -> None: ...

    def damaged(self, what: str) -> None: ...


@dataclass(frozen=True)
class StepReport:
    """All that is known of a step once it is done."""

    step: int
    chosen: StepGroups
    metrics: dict[str, float]  # from the learner
    seconds: dict[str, float]  # by part: wait, build, update, publish
    ledger: Ledger


@dataclass(frozen=True)
class Parts:
    """What the loop works with."""

    learner: Learner
    weights: Weights
    collector: Collector
    order: Order
    history: History
    permits: Callable[[Sequence[int], int], list[Permit]]  # of prompts, for a policy version
    ask: Callable[[list[Permit]], None]
    check: Callable[[], None]  # raises Stop when it is time to end
    report: Callable[[StepReport], None]
    flush: Callable[[], Path | None]  # write what was reported: called before each checkpoint


def train(config: RunConfig, parts: Parts, ledger: Ledger) -> tuple[Ledger, str]:
    """Run until `loop.steps`, or until a Stop; returns the ledger and why training ended.

    The checkpoint of the last step is on disk when it returns.
    """
    for version in ledger.versions(config):
        parts.weights.publish(version, parts.learner.export(version))
    _ask(parts, ledger, ledger.outstanding)  # of a run that was cut off
    reason, reward = "all steps done", None
    try:
        while ledger.step < config.loop.steps:
            parts.check()
            overdue = parts.order.overdue(ledger, parts.collector)
            ledger, ahead = ledger.ask_ahead(config)
            _ask(parts, ledger, [*overdue, *ahead])
            report = _step(config, parts, ledger)
            ledger, reward = report.ledger, _comparable(report.chosen.mean_reward)
            parts.history.done(report)
            parts.report(report)
            if ledger.step % config.checkpoint.every_steps == 0:
                _save(parts, ledger, reward, wait=False)
    except Stop as stop:
        reason = str(stop)
    _save(parts, ledger, reward, wait=True)
    return ledger, reason


def _comparable(reward: float) -> dict[str, float] | None:
    """What the best checkpoints are kept by; a step without any verdict has none."""
    return None if math.isnan(reward) else {"reward": reward}


def _save(parts: Parts, ledger: Ledger, reward: dict[str, float] | None, wait: bool) -> None:
    """The checkpoint last: what it stands on must be on disk when it appears."""
    if written := parts.flush():
        parts.history.filed(written, ledger.step)
    parts.history.sync()
    torn = parts.learner.save("grpo", ledger.step, ledger.to_dict(), reward, wait=wait)
    for what in torn:  # earlier checkpoints, when they were read back
        parts.history.damaged(what)


def _ask(parts: Parts, ledger: Ledger, places: Sequence[int]) -> None:
    for version, prompts in groupby(places, lambda place: parts.order.version(place, ledger)):
        asked = list(prompts)
        parts.history.asked(asked, version)
        permits, aside = parts.permits(asked, version), parts.history.aside
        for permit in permits:
            if permit.index in aside:
                parts.collector.keep(ScoredGroup.instead(permit, aside[permit.index]))
        if wanted := [permit for permit in permits if permit.index not in aside]:
            parts.ask(wanted)


def _groups(config: RunConfig, parts: Parts, ledger: Ledger) -> tuple[Ledger, list[ScoredGroup]]:
    """Those of the next step, in the order of their prompts, and the ledger with what was asked
    for since some of them have no spread."""
    taken: list[ScoredGroup] = []
    wanted = config.loop.groups_per_step
    while wanted:
        try:
            taken += parts.order.take(ledger, parts.collector, wanted, taken)
        except WorkLost as lost:  # sampling is deterministic, and what comes twice is used once
            _ask_again(parts, ledger, lost, taken)
            continue
        if wanted := lacking(taken, config):
            ledger, places = ledger.refill(wanted)
            _ask(parts, ledger, places)
    return ledger, sorted(taken, key=lambda group: group.key)


def _ask_again(parts: Parts, ledger: Ledger, lost: WorkLost, taken: Sequence[ScoredGroup]) -> None:
    def ask(keys: list[Key]) -> None:
        _ask(parts, ledger, [index for _, index in keys])

    def set_aside(key: Key) -> None:
        parts.history.set_aside(key[1], SET_ASIDE)
        ask([key])

    here = {group.key for group in taken}
    outstanding = [key for n in ledger.outstanding if (key := ("train", n)) not in here]
    parts.collector.ask_again(lost, outstanding, ask, set_aside)


def _step(config: RunConfig, parts: Parts, ledger: Ledger) -> StepReport:
    marks = [time.perf_counter()]

    def mark() -> None:
        marks.append(time.perf_counter())

    ledger, groups = _groups(config, parts, ledger)
    mark()
    chosen = select(groups, config, ledger.step + 1)
    batch = build_batch(chosen, config)
    mark()
    metrics = _update(parts, chosen, batch, ledger.step + 1)
    mark()
    ledger = ledger.after(chosen)
    parts.weights.publish(ledger.step, parts.learner.export(ledger.step))
    mark()
    parts_of_step = ("wait", "build", "update", "publish")
    seconds = dict(zip(parts_of_step, np.diff(marks).tolist(), strict=True))
    return StepReport(ledger.step, chosen, metrics, seconds, ledger)


def _update(parts: Parts, chosen: StepGroups, batch: Batch, step: int) -> dict[str, float]:
    try:
        return parts.learner.train_step(batch)
    except LearnerLost:
        read = zip(chosen.groups, chosen.trained, strict=True)
        suspects = [group.key[1] for group, trained in read if trained and not group.set_aside]
        parts.history.update_lost(step, suspects, batch)
        raise
