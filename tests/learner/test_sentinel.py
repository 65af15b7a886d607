"""The comparison of the engine's log-probabilities with the learner's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.errors import RunError
from learner.batch import build_batch, select
from learner.pack import PackedShape, pack
from learner.sentinel import Sentinel, make_comparison
from tests.learner.conftest import Rows, make_config, make_group, trainer_logprobs

CONFIG = make_config(rollout={"temperature": 0.7}, learner={"sentinel_stops": True})


def sampled(model, params, temperature=0.7, off=0.0):
    """A batch whose tokens were sampled by `params`, as far as the sentinel can tell."""
    groups = [make_group(n, [0.1, 0.2, 0.3, 0.4]) for n in range(2)]
    batch = build_batch(select(groups, CONFIG, 1), CONFIG)
    rows = Rows(batch.prompts, batch.prompt_lengths, batch.completions)
    logprobs = trainer_logprobs(model, params, rows, temperature)
    signs = np.where(np.arange(logprobs.shape[1]) % 2, off, -off).astype(np.float32)
    return pack(
        batch._replace(sampled_logprobs=np.asarray(logprobs) + signs), PackedShape(2, 1, 48)
    )


def test_the_figures_by_hand(model, params):
    batch = sampled(model, params, off=0.1)
    found = make_comparison(model, 0.7, 512)(params, batch)
    np.testing.assert_allclose(found["mismatch_mean"], 0.1, atol=1e-4)
    np.testing.assert_allclose(found["mismatch_max"], 0.1, atol=1e-4)
    # lengths 3, 5, 1, 10: of 38 tokens 22 are too low by 0.1, which weigh exp(0.1)
    gaps = np.repeat([0.1, -0.1], [22, 16])
    weights = np.exp(gaps)
    np.testing.assert_allclose(found["mismatch_k3"], np.mean(weights - 1 - gaps), rtol=1e-2)
    size = weights.sum() ** 2 / (38 * (weights**2).sum())
    np.testing.assert_allclose(found["effective_sample_size"], size, rtol=1e-4)


def test_it_compares_at_the_start_and_then_every_so_many_steps(model, params):
    sentinel = Sentinel(model, CONFIG)
    batch = sampled(model, params)
    checked = [
        step for step in (7, 8, 99, 100, 101, 200) if sentinel.check(step, 0, {0: params}, batch)
    ]
    assert checked == [7, 100, 200]


def test_it_names_what_the_engine_does_otherwise(model, params):
    older = jax.tree.map(lambda x: x * 1.3, params)
    uncapped = sampled(model, params)
    loud = {name: x * 12 if "embed" in name else x for name, x in params.items()}  # near the cap
    scores = make_comparison(model, 0.7, 512, capped=False)
    assert float(scores(loud, uncapped)["mismatch_mean"]) > 0.1
    cases = [
        ("temperature 1", sampled(model, params, temperature=1.0)),
        ("the weights of version 3 instead of 4", sampled(model, older)),
        ("What is left is the engine's cache", sampled(model, params, off=0.3)),
    ]
    for cause, batch in cases:
        with pytest.raises(RunError, match=f"sentinel_band = 0.02.*{cause}"):
            Sentinel(model, CONFIG).check(5, 4, {3: older, 4: params}, batch)


def test_it_warns_and_goes_on_by_default(model, params, caplog):
    config = make_config(rollout={"temperature": 0.7})
    batch = sampled(model, params, off=jnp.float32(0.5))
    found = Sentinel(model, config).check(1, 0, {0: params}, batch)
    assert found["mismatch_mean"] == pytest.approx(0.5, abs=1e-3)
    assert "off those of the learner by 0.5 nats a token" in caplog.text
