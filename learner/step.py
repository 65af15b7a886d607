"""The compiled programs of the learner: one cold-start step and one GRPO step.

Everything that a program depends on is an argument, its state is donated, and the only thing that
leaves the device is a dictionary of scalars. A process traces the program of a configuration once.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from optax import contrib

from configs.schema import LearnerSection, RunConfig, SftSection
from learner.adamw import AdamW
from learner.batch import Demonstrations
from learner.grpo import LossSums, Objective, grpo_loss
from learner.pack import Packed
from learner.policy.gather import each_time, split
from learner.policy.logprobs import completion_logprobs, packed_logprobs
from learner.policy.lora import Trained, over
from learner.policy.model import Params, PolicyModel


class TrainState(NamedTuple):
    """Float32 parameters that are trained, and optimizer moments."""

    params: Params
    optimizer: optax.OptState


def abstract_state(trained: PolicyModel | Trained, optimizer, mesh: Mesh) -> TrainState:
    """Shapes, dtypes, shardings of parameters and moments: a moment lies with its parameter."""
    places = {name: NamedSharding(mesh, spec) for name, spec in trained.partition_specs().items()}
    shapes = trained.abstract_params()

    def placed(path, leaf):
        name = str(getattr(path[-1], "key", ""))
        like_parameter = name in shapes and shapes[name].shape == leaf.shape
        sharding = places[name] if like_parameter else NamedSharding(mesh, PartitionSpec())
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    state = TrainState(shapes, jax.eval_shape(optimizer.init, shapes))
    return jax.tree_util.tree_map_with_path(placed, state)


def placed_like(shapes, like):
    """An abstract tree with the shapes and dtypes of one and the placement of another."""
    return jax.tree.map(
        lambda x, y: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=y.sharding), shapes, like
    )


def fresh_state(trained: Trained, optimizer, mesh: Mesh, base: Params, seed: int) -> TrainState:
    """The start of training over the weights `base`, born where it belongs."""
    placed = jax.tree.map(lambda x: x.sharding, abstract_state(trained, optimizer, mesh))
    params = jax.jit(trained.start, out_shardings=placed.params)(base, seed)
    return TrainState(params, jax.jit(optimizer.init, out_shardings=placed.optimizer)(params))


@cache
def grpo_optimizer(section: LearnerSection, steps: int) -> AdamW:
    """AdamW under a cosine schedule with linear warm-up, gradients clipped by their global norm."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0 if section.warmup_steps else section.learning_rate,
        section.learning_rate,
        section.warmup_steps,
        max(steps, section.warmup_steps + 1),
        section.final_learning_rate,
    )
    decay, norm = section.weight_decay, section.max_grad_norm
    return AdamW(schedule, section.adam_b1, section.adam_b2, decay, norm)


@cache
def sft_optimizer(section: SftSection) -> optax.GradientTransformation:
    """The cold start's optimizer: AdamW, or Muon on the matrices (Jordan et al. 2024)."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0 if section.warmup_steps else section.learning_rate,
        section.learning_rate,
        section.warmup_steps,
        max(section.steps, section.warmup_steps + 1),
        0.1 * section.learning_rate,
    )
    if section.optimizer == "adamw":
        inner = optax.adamw(schedule, b2=0.98, weight_decay=0.01)
    else:
        # embeddings and norms are no matrices to orthogonalise: AdamW, at a fifth of the rate
        inner = contrib.muon(
            schedule,
            ns_steps=4,
            weight_decay=0.01,
            adam_b2=0.98,
            adam_learning_rate=lambda count: 0.2 * schedule(count),
            adam_weight_decay=0.01,
            muon_weight_dimension_numbers=muon_dimensions,  # pyrefly: ignore
        )
    return optax.chain(optax.clip_by_global_norm(1.0), inner)


def muon_dimensions(params: Params) -> dict[str, contrib.MuonDimensionNumbers | None]:
    """Which axes of each parameter are a matrix's input and output; None: not for Muon."""
    dimensions = contrib.MuonDimensionNumbers

    def of(name: str):
        if name.endswith("kernel"):  # [in, out]
            return dimensions(reduction_axis=0, output_axis=1)
        if name.endswith("attn_vec_einsum.w"):  # [N, H, D]
            return dimensions(reduction_axis=(0, 1), output_axis=2)
        if name.endswith("q_einsum.w"):  # [N, D, H]
            return dimensions(reduction_axis=1, output_axis=(0, 2))
        if name.endswith("kv_einsum.w"):  # [2, K, D, H]: keys and values are separate matrices
            return dimensions(reduction_axis=2, output_axis=(1, 3))
        return None

    return {name: of(name) for name in params}


@cache
def make_sft_step(
    model: PolicyModel, config: RunConfig, optimizer, mesh: Mesh | None = None
) -> Callable:
    """(state, base params, Demonstrations) -> (state, {"loss"}): completions' cross-entropy.

    The base is what an adapter is trained over; {} where all parameters are trained.
    """

    def loss_of(params: Params, base: Params, rows: Demonstrations) -> jax.Array:
        policy, chunk = over(base, params, config.lora), config.learner.logits_chunk
        logprobs_BC, _ = completion_logprobs(model, policy, rows, 1.0, chunk, mesh)
        return -jnp.sum(rows.weights * logprobs_BC)

    def step(state: TrainState, base: Params, rows: Demonstrations):
        loss, grads = jax.value_and_grad(loss_of)(state.params, base, rows)
        return _apply(optimizer, state, grads), {"loss": loss}

    return jax.jit(step, donate_argnums=0)


@cache
def make_grpo_step(
    model: PolicyModel, config: RunConfig, optimizer, mesh: Mesh | None = None
) -> Callable:
    """(state, reference params, Packed) -> (state, metrics). An adapter lies over the reference.

    A step that is not finite changes nothing: "sound" [parameters, by name] says where it is.
    `mesh`: where all of it lies, if it is split.

    Gradients of the micro-batches are summed; the batch's weights already sum to 1 over the step,
    so how completions were packed does not change the objective.
    """
    loss_of = _loss_of(model, config, mesh)
    specs = Trained(model, config.lora).partition_specs()

    def step(state: TrainState, reference: Params, batch: Packed):
        def gradient_of(number):
            params, frozen = each_time((state.params, reference), number, mesh)
            grads, sums = jax.grad(loss_of, has_aux=True)(params, frozen, batch.micro_batch(number))
            return split(grads, mesh, specs), sums

        grads, (sums, entropy) = _accumulate(gradient_of, state.params, batch.count)
        # one norm that is not finite would spread to all parameters by the clipping
        squares = jnp.stack([jnp.sum(g * g) for _, g in sorted(grads.items())])
        sound, norm = jnp.isfinite(squares) & jnp.isfinite(sums.loss), jnp.sqrt(jnp.sum(squares))
        state = TrainState(*optimizer.step(*state, grads, norm, sound.all()))
        metrics = _means(sums, entropy, batch) | {"grad_norm": norm}
        return state, metrics | {"sound": sound, "fill": _fill(batch)}

    return jax.jit(step, donate_argnums=0)


def _loss_of(model: PolicyModel, config: RunConfig, mesh: Mesh | None) -> Callable:
    """(params, reference params, Packed) -> (loss, (sums, entropy)) of a micro-batch."""
    objective = Objective(*(getattr(config.grpo, name) for name in Objective._fields))
    logprobs_of = partial(
        packed_logprobs,
        model,
        temperature=config.rollout.temperature,
        chunk=config.learner.logits_chunk,
        mesh=mesh,
    )

    def loss_of(params: Params, reference: Params, rows: Packed):
        reference_logprobs_RL = jax.lax.stop_gradient(logprobs_of(reference, rows)[0])
        logprobs_RL, entropy_RL = logprobs_of(over(reference, params, config.lora), rows)
        sums = grpo_loss(
            logprobs_RL,
            rows.sampled_logprobs,
            reference_logprobs_RL,
            rows.advantages,
            rows.weights,
            rows.completions,
            objective,
        )
        return sums.loss, (sums, jnp.sum(rows.weights * entropy_RL))

    return loss_of


def _means(sums: LossSums, entropy: jax.Array, batch: Packed) -> dict[str, jax.Array]:
    """Per unit of weight; the loss is what it is, and the highest ratio no sum."""
    # 1, but for grpo.loss_mean = "constant", and 0 where nothing has a verdict
    weight = jnp.sum(batch.weights).clip(1e-9)
    means = {name: value / weight for name, value in sums._asdict().items()}
    means |= {"loss": sums.loss, "ratio_max": sums.ratio_max}
    return means | {"entropy": entropy / weight}


def _accumulate(gradient_of: Callable, params: Params, count):
    """Gradients of `params` and sums over the micro-batches that hold anything."""

    def add(number, before):
        here = gradient_of(number)
        grads, (sums, entropy) = jax.tree.map(jnp.add, before, here)
        highest = jnp.maximum(before[1][0].ratio_max, here[1][0].ratio_max)
        return grads, (sums._replace(ratio_max=highest), entropy)

    none = jnp.zeros(())
    start = jax.tree.map(jnp.zeros_like, params), (LossSums(*[none] * len(LossSums._fields)), none)
    return jax.lax.fori_loop(0, count, add, start)


def _fill(batch: Packed) -> jax.Array:
    """The share of the slots read that hold a token."""
    _, rows, length = batch.tokens.shape
    return jnp.sum(batch.prompts > 0) / (batch.count * rows * length).clip(1)


def _apply(optimizer, state: TrainState, grads: Params) -> TrainState:
    updates, moments = optimizer.update(grads, state.optimizer, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    return TrainState(params, moments)
