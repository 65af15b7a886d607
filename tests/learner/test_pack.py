"""Packed rows: what lies where, and that log-probabilities do not depend on it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from learner.batch import Batch
from learner.pack import PackedShape, pack, packed_shape, row_length, shape_of
from learner.policy.logprobs import completion_logprobs, packed_logprobs
from learner.policy.model import build_model
from tests.learner.conftest import VOCABULARY, make_config

SHAPE = PackedShape(micro_batches=3, rows=2, length=16)


def batch_of(prompt_lengths, completion_lengths, width=6):
    """Two completions a prompt; tokens tell where they come from."""
    rows, prompts = len(completion_lengths), len(prompt_lengths)
    rng = np.random.default_rng(0)
    slots = np.arange(width)
    mask = slots < np.array(completion_lengths)[:, None]
    return Batch(
        prompts=rng.integers(4, VOCABULARY, (prompts, 7)).astype(np.int32),
        prompt_lengths=np.array(prompt_lengths, np.int32),
        completions=rng.integers(4, VOCABULARY, (rows, width)).astype(np.int32),
        sampled_logprobs=rng.normal(size=(rows, width)).astype(np.float32),
        advantages=np.arange(1, rows + 1, dtype=np.float32),
        weights=(mask / mask.sum()).astype(np.float32),
    )


def test_a_row_by_hand():
    batch = batch_of([3, 1], [2, 1, 4, 0])
    p, c = batch.prompts, batch.completions
    packed = pack(batch, PackedShape(1, 1, 12))
    assert packed.count == 1 and packed.scored.tolist() == [7]
    row = {name: getattr(packed, name)[0, 0] for name in packed._fields[:-2]}
    # the longer prompt's completions come first, each behind the last token of its prompt;
    # then prompts without their last token: the second has no other
    np.testing.assert_array_equal(
        row["tokens"][:10],
        [p[1, 0], *c[2, :3], p[0, 2], c[0, 0], p[0, 2], p[0, 0], p[0, 1], 0],
    )
    np.testing.assert_array_equal(row["targets"][:7], [*c[2, :4], *c[0, :2], c[1, 0]])
    np.testing.assert_array_equal(row["positions"][:9], [0, 1, 2, 3, 2, 3, 2, 0, 1])
    np.testing.assert_array_equal(row["prompts"], [1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 0, 0])
    np.testing.assert_array_equal(row["completions"], [1, 1, 1, 1, 2, 2, 3] + [0] * 5)
    np.testing.assert_array_equal(row["advantages"][:7], [3, 3, 3, 3, 1, 1, 2])


def test_every_weight_is_packed_once():
    rng = np.random.default_rng(1)
    batch = batch_of(rng.integers(1, 8, 3), rng.integers(0, 7, 6))
    packed = pack(batch, SHAPE)
    assert packed.weights.sum() == pytest.approx(1.0)
    for name in ("sampled_logprobs", "completions"):
        field = "targets" if name == "completions" else name
        ours = getattr(packed, field)[packed.weights > 0]
        np.testing.assert_allclose(np.sort(ours), np.sort(getattr(batch, name)[batch.weights > 0]))
    assert not packed.weights[packed.count :].any()
    for weights, scored in zip(packed.weights, packed.scored, strict=True):
        assert not weights[:, scored:].any()


def test_the_worst_lengths_fit():
    """Every completion as long as it may be, and no two in a row."""
    batch = batch_of([7, 7, 7], [6] * 6)
    shape = packed_shape(length=12, completions=6, parts=1, tokens=24)
    assert shape == PackedShape(micro_batches=3, rows=2, length=12)
    assert pack(batch, shape).count == 3
    with pytest.raises(ValueError, match="12 tokens do not fit a row of 11"):
        pack(batch, dataclasses.replace(shape, length=11))


def test_row_lengths():
    # sqrt(25 x 256) = 80 slots: 3.5 completions and 24 of a prompt, so 88, which 96 hold
    assert row_length(prompt=25, completion=16, siblings=8, reading=256) == 96
    assert row_length(prompt=25, completion=100, siblings=8, reading=256) == 128  # one completion
    assert row_length(prompt=25, completion=4, siblings=2, reading=10_000) == 32  # all of a group


# 3: shorter than a prompt and a completion; 64: longer than any
@pytest.mark.parametrize("window", [3, 64])
def test_values_and_gradients_are_those_of_rows_alone(window):
    section = make_config(model={"sliding_window": window}).model
    model = build_model(section, VOCABULARY)
    params = jax.jit(model.init)(3)
    batch = batch_of([7, 2, 5], [6, 1, 3, 4, 2, 5])
    shape = PackedShape(1, 3, 24)
    packed = pack(batch, shape)
    rows = jax.tree.map(lambda x: x[0] if x.ndim else x, packed)
    wanted = rows.weights > 0

    def ours(params):
        return packed_logprobs(model, params, rows, 0.7, chunk=12)

    def alone(params):
        return completion_logprobs(model, params, batch, 0.7, chunk=512)

    for mine, theirs in zip(jax.jit(ours)(params), jax.jit(alone)(params), strict=True):
        # a packed value is found again by its sampled log-probability, which no other has
        found = dict(zip(rows.sampled_logprobs[wanted], np.asarray(mine)[wanted], strict=True))
        scored = batch.weights > 0
        for key, value in zip(
            batch.sampled_logprobs[scored], np.asarray(theirs)[scored], strict=True
        ):
            assert found[key] == pytest.approx(value, abs=2e-5)

    def loss(of, given):
        weights = jnp.where(given.weights > 0, jnp.cos(given.sampled_logprobs), 0.0)
        return lambda params: jnp.sum(weights * of(params)[0])

    gradients = [jax.jit(jax.grad(loss(*x)))(params) for x in ((ours, rows), (alone, batch))]
    for name, value in gradients[1].items():
        np.testing.assert_allclose(gradients[0][name], value, atol=2e-4, err_msg=name)


def test_the_shape_depends_on_the_configuration_alone():
    config = make_config()
    model = build_model(config.model, VOCABULARY)
    # 2,560 parameters a layer: 13 slots to attend to cost as much; 8 + 10 tokens must fit
    assert shape_of(config, model, parts=1) == PackedShape(micro_batches=1, rows=16, length=32)
    assert shape_of(config, model, parts=4).rows == 64
