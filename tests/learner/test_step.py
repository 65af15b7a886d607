"""The compiled step: what must not change it, and what it must do."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from configs.schema import LearnerSection
from learner.batch import Demonstrations, build_batch, select
from learner.grpo import Objective, grpo_loss
from learner.pack import PackedShape, pack
from learner.policy.logprobs import completion_logprobs
from learner.policy.model import build_model
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


def after_steps(model, params, config, batch, steps=3, mesh=None):
    optimizer = grpo_optimizer(config.learner, 100)
    step = make_grpo_step(model, config, optimizer, mesh)
    reference = jax.tree.map(lambda x: x * 1.02, params)
    params = jax.tree.map(jnp.copy, params)
    state = TrainState(params, optimizer.init(params))
    if mesh:
        placed = jax.tree.map(lambda x: x.sharding, abstract_state(model, optimizer, mesh))
        state, reference = jax.device_put((state, reference), (placed, placed.params))
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
    assert distance(ours[0], plain[0]) < 1e-5
    assert ours[1]["loss"] == pytest.approx(plain[1]["loss"], rel=1e-5)
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


@pytest.mark.parametrize("chunk", [7, 96])  # 96 holds all slots: their scores are kept
def test_logit_chunks_do_not_change_the_step(model, params, plain, chunk):
    other = make_config(learner={"logits_chunk": chunk})
    assert_same_step(after_steps(model, params, other, packed(other)), plain)


# fsdp = 2: whole weights exist while a layer runs, with remat = "decoder" twice
@pytest.mark.parametrize(
    ("fsdp", "tp", "remat"), [(1, 1, "none"), (2, 2, "none"), (4, 1, "decoder")]
)
def test_four_devices_do_not_change_the_step(params, config, plain, fsdp, tp, remat):
    model = build_model(config.model, VOCABULARY, remat)
    mesh = make_mesh(LearnerSection(fsdp=fsdp, tp=tp))
    assert mesh.size == 4
    shardings = {name: NamedSharding(mesh, spec) for name, spec in model.partition_specs().items()}
    rows = jax.tree.map(
        lambda x: jax.device_put(x, NamedSharding(mesh, PACKED_ROWS if x.ndim == 3 else P())),
        packed(config, PackedShape(2, 4, 32)),
    )
    ours = after_steps(model, params, config, rows, mesh=mesh)
    assert_same_step(ours, plain)
    for name, sharding in shardings.items():
        assert ours[0][name].sharding.is_equivalent_to(sharding, ours[0][name].ndim), name


def test_packed_is_unpacked(model, params, config, plain):
    """The same three steps without any packing: a row for each completion, one product for all,
    and by optax's AdamW."""
    batch, ours = batch_of(config), grpo_optimizer(config.learner, 100)
    adamw = optax.adamw(ours.schedule, ours.b1, ours.b2, weight_decay=ours.weight_decay)
    optimizer = optax.chain(optax.clip_by_global_norm(ours.max_norm), adamw)
    reference = jax.tree.map(lambda x: x * 1.02, params)
    rows_B1 = np.arange(1, len(batch.completions) + 1)[:, None]
    objective = Objective(kl_coefficient=config.grpo.kl_coefficient)

    @jax.jit
    def step(params, moments):
        def loss_of(params):
            logprobs_BC, reference_BC = (
                completion_logprobs(model, of, batch, 1.0, 512)[0] for of in (params, reference)
            )
            return grpo_loss(
                logprobs_BC,
                batch.sampled_logprobs,
                jax.lax.stop_gradient(reference_BC),
                batch.advantages[:, None],
                batch.weights,
                np.broadcast_to(rows_B1, batch.completions.shape),
                objective,
            ).loss

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, moments = optimizer.update(grads, moments, params)
        return optax.apply_updates(params, updates), moments, loss

    unpacked, moments, loss = params, optimizer.init(params), 0.0
    for _ in range(3):
        unpacked, moments, loss = step(unpacked, moments)
    assert plain[1]["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert distance(unpacked, plain[0]) < 1e-5


def distance(ours, theirs) -> float:
    """Of all parameters together, relative."""

    def norm(tree):  # of numpy arrays: they lie on meshes of their own
        return math.sqrt(sum(np.square(x, dtype=np.float64).sum() for x in tree.values()))

    theirs = {name: np.asarray(x) for name, x in theirs.items()}
    return norm({name: np.asarray(ours[name]) - x for name, x in theirs.items()}) / norm(theirs)


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
