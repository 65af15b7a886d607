"""What the learner makes of a judge that is noisy, slow, watched by another one, or down."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.messages import Calls, Verdict
from configs.schema import RunConfig
from learner.batch import select
from learner.metrics import call_scalars, second_scalars
from tests.learner.conftest import make_config, make_group


def with_noise(noise: float) -> RunConfig:
    return make_config(judge={"noise": noise})


def test_what_the_judge_varies_by_is_no_signal():
    groups = [make_group(0, [0.50, 0.52, 0.51, 0.50]), make_group(1, [0.1, 0.9, 0.5, 0.5])]
    quiet, noisy = (select(groups, with_noise(noise), 1) for noise in (0.0, 0.03))
    assert np.abs(quiet.advantages[0]).max() > 1  # a spread of nothing, blown up
    assert not noisy.advantages[0].any()
    np.testing.assert_array_equal(noisy.advantages[1], quiet.advantages[1])


def test_a_group_without_verdicts_has_no_spread():
    groups = [make_group(0, [0.5] * 4, abstained=(0, 1, 2, 3)), make_group(1, [0.1, 0.9, 0.5, 0.5])]
    assert not select(groups, with_noise(0.1), 1).advantages[0].any()


def test_the_gap_to_a_second_judge_is_over_what_both_have_judged():
    group = make_group(0, [0.9, 0.8, 0.7, 0.6], abstained=(1,))
    second = (Verdict(0.4, {}), Verdict(0.1, {}), Verdict.abstain("down"), Verdict(0.5, {}))
    scalars = second_scalars([replace(group, second=second), make_group(1, [1.0] * 4)])
    assert scalars == {"judge/gold_gap": pytest.approx((0.5 + 0.1) / 2), "judge/gold_seen": 2}
    assert second_scalars([group]) == {}


def test_calls_add_up_and_are_told():
    calls = Calls((0.1, 0.3), 2, {"HTTP 429": 1}) + Calls((0.2,), 1, {"HTTP 429": 1, "timeout": 2})
    scalars = call_scalars(calls)
    assert scalars == {
        "judge/request_s_p50": pytest.approx(0.2),
        "judge/request_s_p95": pytest.approx(0.29),
        "judge/requests": 3.0,
        "judge/cache_hits": 0.5,
        "judge/failed/HTTP_429": 2.0,
        "judge/failed/timeout": 2.0,
    }
    assert call_scalars(Calls()) == {}
    assert call_scalars(Calls((), 3)) == {"judge/requests": 0.0, "judge/cache_hits": 1.0}
