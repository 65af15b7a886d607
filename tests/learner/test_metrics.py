"""Scalars of a step made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from learner.batch import select
from learner.ledger import Ledger
from learner.loop import StepReport
from learner.metrics import bottleneck, scalars
from tests.learner.conftest import make_config, make_group

CONFIG = make_config()


@pytest.fixture(scope="module")
def values():
    chosen = select([make_group(0, [0.0, 1.0, 0.0, 1.0]), make_group(1, [0.5] * 4)], CONFIG, 3)
    seconds = {"wait": 0.5, "build": 0.0, "update": 1.5, "publish": 0.0}
    report = StepReport(3, chosen, {"grad_norm": 2.0, "kl": 0.1}, seconds, Ledger())
    return scalars(report, CONFIG, now=4.0)


def test_rewards(values):
    assert values["reward/mean"] == 0.5
    assert values["reward/group_std"] == 0.25  # 0.5 in one group, 0 in the other


def test_rates_are_per_second_of_wall_time(values):
    assert values["rollout/tokens_per_s"] == 38 / 2  # two groups of 3 + 5 + 1 + 10 tokens, 2 s
    assert values["rollout/tokens_per_s/actor_0"] == 19
    assert values["rollout/length"] == 4.75 and values["rollout/truncated"] == 0


def test_signal_and_staleness(values):
    assert values["grpo/flat_groups"] == 0.5
    assert values["grpo/grad_clipped"] == 1 and values["grpo/kl"] == 0.1
    assert values["policy/staleness"] == 2  # version 2 trained on what version 0 sampled
    assert values["queue/age_s"] == 4


def test_the_bottleneck_is_what_the_step_waited_for():
    busy, waiting = {"wait": 0.1, "update": 0.9}, {"wait": 0.9, "update": 0.1}
    assert bottleneck(busy, 0) == "learner"
    assert (bottleneck(waiting, 0), bottleneck(waiting, 3)) == ("rollout", "judge")


def test_an_abstention_widens_no_group():
    groups = [make_group(0, [0.5] * 4, abstained=(1,)), make_group(1, [0.5] * 4)]
    report = StepReport(3, select(groups, CONFIG, 3), {"grad_norm": 2.0}, {"wait": 1.0}, Ledger())
    values = scalars(report, CONFIG, now=4.0)
    assert values["grpo/flat_groups"] == 1 and values["reward/mean"] == 0.5
    assert values["judge/abstained"] == 1 / 8


def test_what_is_watched_has_a_panel_of_its_own():
    group = make_group(0, [0.0, 1.0, 0.0, 1.0])
    steps = (1.0, 2.0, 3.0, 6.0)
    verdicts = [
        replace(v, watched={"steps": n}) for v, n in zip(group.verdicts, steps, strict=True)
    ]
    watched = select([replace(group, verdicts=tuple(verdicts))] * 2, CONFIG, 3)
    report = StepReport(3, watched, {"grad_norm": 2.0}, {"wait": 1.0}, Ledger())
    assert scalars(report, CONFIG, now=4.0)["reward/hacking/steps"] == 3


def test_all_values_are_finite(values):
    assert np.isfinite(list(values.values())).all()
