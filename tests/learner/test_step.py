"""The compiled step: what must not change it, and what it must do."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from configs.schema import LearnerSection
from learner.batch import Demonstrations, build_batch, select
from learner.pack import PackedShape, pack
from learner.policy.sharding import PACKED_ROWS, make_mesh
from learner.step import (
    TrainState,
    abstract_state,
    grpo_optimizer,
    make_grpo_step,
    make_sft_step,
    muon_dimensions,
    sft_optimizer,
)
from tests.learner.conftest import VOCABULARY, make_config, make_group


def batch_of(config, groups=2):
    rng = np.random.default_rng(5)
    scored = [make_group(n, rng.normal(size=4).tolist()) for n in range(groups)]
    return build_batch(select(scored, config, 1), config)


WHOLE = PackedShape(1, 2, 48)  # all in one micro-batch


def packed(config, shape=WHOLE):
    return pack(batch_of(config), shape)


def after_steps(model, params, config, batch, steps=3, place=lambda tree: tree):
    optimizer = grpo_optimizer(config.learner, 100)
    step = make_grpo_step(model, config, optimizer)
    reference = place(jax.tree.map(lambda x: x * 1.02, params))
    params = place(jax.tree.map(jnp.copy, params))
    state = TrainState(params, optimizer.init(params))
    metrics = {}
    for _ in range(steps):
        state, metrics = step(state, reference, batch)
    assert metrics.pop("sound").all()
    return state.params, {name: float(value) for name, value in metrics.items()}


def assert_close(ours, theirs, atol=1e-5):
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def plain(model, params, config):
    return after_steps(model, params, config, packed(config))


def assert_same_step(ours, plain):
    """Parameters, and what is reported; how full the rows are is another matter."""
    assert_close(ours[0], plain[0])
    for metrics in (ours[1], plain[1]):
        metrics.pop("fill", None)
    assert_close(ours[1], plain[1], atol=1e-4)


@pytest.mark.parametrize(
    "shape", [PackedShape(8, 1, 20), PackedShape(4, 2, 18)], ids=["one row", "two rows"]
)
def test_packing_and_micro_batches_do_not_change_the_step(model, params, config, plain, shape):
    rows = packed(config, shape)
    assert rows.count > 1
    assert_same_step(after_steps(model, params, config, rows), plain)


def test_logit_chunks_do_not_change_the_step(model, params, plain):
    other = make_config(learner={"logits_chunk": 7})
    assert_same_step(after_steps(model, params, other, packed(other)), plain)


@pytest.mark.parametrize(("fsdp", "tp"), [(1, 1), (2, 2)])
def test_four_devices_do_not_change_the_step(model, params, config, plain, fsdp, tp):
    mesh = make_mesh(LearnerSection(fsdp=fsdp, tp=tp))
    assert mesh.size == 4
    shardings = {name: NamedSharding(mesh, spec) for name, spec in model.partition_specs().items()}
    rows = jax.tree.map(
        lambda x: jax.device_put(x, NamedSharding(mesh, PACKED_ROWS if x.ndim == 3 else P())),
        packed(config, PackedShape(2, 4, 32)),
    )
    ours = after_steps(
        model, params, config, rows, place=lambda tree: jax.device_put(tree, shardings)
    )
    assert_same_step(ours, plain)


def test_no_array_holds_the_scores_of_all_slots(model, params):
    """Of the compiled step: arrays with the vocabulary as an axis are parameters or a chunk."""
    config = make_config(learner={"logits_chunk": 10})
    batch = packed(config)  # 2 rows of 48 slots, 5 of each row at a time
    optimizer = grpo_optimizer(config.learner, 100)
    state = TrainState(params, optimizer.init(params))
    step: Any = make_grpo_step(model, config, optimizer)
    program = step.lower(state, params, batch).compile().as_text()
    sizes = {
        math.prod(axes)
        for text in re.findall(r"f32\[([\d,]+)\]", program)
        if VOCABULARY in (axes := [int(axis) for axis in text.split(",")])
    }
    width = config.model.embed_dim
    assert 10 * VOCABULARY in sizes
    assert max(sizes) == width * VOCABULARY < batch.tokens.size * VOCABULARY


def test_the_loss_falls_on_what_it_trains(plain, model, params, config):
    once = after_steps(model, params, config, packed(config), steps=1)[1]
    assert plain[1]["loss"] < once["loss"]
    assert once["kl"] > 0  # the reference is another policy


def test_moments_lie_with_their_parameters(model, config):
    mesh = make_mesh(LearnerSection(fsdp=4))
    for optimizer in (grpo_optimizer(config.learner, 10), sft_optimizer(config.sft)):
        abstract = abstract_state(model, optimizer, mesh)
        name = "layers.0.mlp.up_proj.kernel"
        moments = [
            leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(abstract.optimizer)
            if getattr(path[-1], "key", "") == name
        ]
        assert moments
        assert {m.sharding for m in moments} == {abstract.params[name].sharding}
        assert not abstract.params[name].sharding.is_fully_replicated


def test_muon_takes_the_matrices_only(model):
    dimensions = muon_dimensions(model.abstract_params())
    without = {name for name, value in dimensions.items() if value is None}
    assert all(name.endswith(("scale", "input_embedding")) for name in without)
    assert dimensions["layers.1.mlp.down_proj.kernel"] is not None


def test_demonstrations_are_learned(model, params):
    config = make_config(sft={"learning_rate": 0.02, "steps": 60, "warmup_steps": 5})
    rng = np.random.default_rng(0)
    tokens = rng.integers(4, VOCABULARY, (8, 12)).astype(np.int32)
    rows = Demonstrations(
        tokens[:, :4], np.full(8, 4, np.int32), tokens[:, 4:], np.full((8, 8), 1 / 64, np.float32)
    )
    tx = sft_optimizer(config.sft)
    step = make_sft_step(model, config, tx)
    state = TrainState(jax.tree.map(jnp.copy, params), tx.init(params))
    losses = []
    for _ in range(40):
        state, metrics = step(state, {}, rows)
        losses.append(float(metrics["loss"]))
    assert losses[0] > 3 and losses[-1] < 0.5 * losses[0]
