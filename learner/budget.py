"""What a run needs of its devices, computed from the configuration alone: no device, no weights.

Memory that is held (parameters, moments, reference, cache) is exact, from shapes and shardings.
Activations are an estimate of what the backward pass keeps; times are a roofline: the larger of
operations / (peak x `EFFICIENCY`) and bytes / bandwidth. A matrix product of n inputs and m outputs
counts 2 n m operations a token, attention 4 x heads x head_dim operations a token and key.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from configs.schema import RunConfig
from learner.footprint import footprint
from learner.policy.architecture import Architecture
from learner.policy.model import PolicyModel, build_model
from learner.policy.room import room_of
from learner.policy.sharding import mesh_shape

EFFICIENCY = 0.4  # of the peak: what well-tuned training of a few billion parameters reaches
GIB = 2**30


@dataclass(frozen=True)
class Device:
    """Published figures of one accelerator."""

    name: str
    flops: float  # per second, bfloat16, dense
    bandwidth: float  # bytes per second to its memory
    memory: float  # bytes


DEVICES = {
    "v5e": Device("TPU v5e", 197e12, 819e9, 16e9),
    "h100": Device("H100 SXM", 989e12, 3350e9, 80e9),
}


@dataclass(frozen=True)
class Budget:
    """Of one run; bytes are those of one device."""

    mesh: tuple[int, int, int]  # data, fsdp, tp
    parameters: int  # their number
    learner_bytes: dict[str, int]  # by part
    rollout_bytes: dict[str, int]  # by part, of the one device of a rollout actor
    learner_flops: float  # of one step, all devices
    rollout_flops: float  # of one step's samples, all actors
    decode_steps: int  # of one actor for one step's samples, all at full length
    weight_bytes: int  # that a decode step reads


def budget(config: RunConfig, devices: int, vocabulary: int | None = None) -> Budget:
    """For a learner on `devices`. Raises InputError for a mesh that does not divide them."""
    return budget_of(model_of(config, vocabulary), config, devices)


def budget_of(model: PolicyModel, config: RunConfig, devices: int) -> Budget:
    mesh = mesh_shape(config.learner, devices)
    rows = config.trained_groups * config.rollout.group_size
    sampled = config.loop.groups_per_step * config.rollout.group_size
    slots, actors = config.rollout.slots, config.rollout.actors
    parameters = sum(x.size for x in model.abstract_params().values())
    weights = parameters * _item(config)
    rounds = math.ceil(sampled / (slots * actors))
    return Budget(
        mesh=(mesh["data"], mesh["fsdp"], mesh["tp"]),
        parameters=parameters,
        learner_bytes=_learner_bytes(model, config, mesh),
        rollout_bytes={"weights": weights, "cache": room_of(model, config.rollout).cache}
        | ({"base of the adapter": weights} if config.lora.rank else {}),
        learner_flops=_train_flops(model.architecture, parameters, config, rows),
        rollout_flops=_sample_flops(model.architecture, parameters, config, sampled),
        decode_steps=rounds * config.rollout.max_new_tokens,
        weight_bytes=weights,
    )


def model_of(config: RunConfig, vocabulary: int | None) -> PolicyModel:
    """Its shapes and shardings, whatever weights it is to have."""
    section = config.model.model_copy(update={"weights": "", "tokenizer": ""})
    return build_model(section, vocabulary)


def step_seconds(found: Budget, config: RunConfig, device: Device) -> dict[str, float]:
    """Predicted seconds of one step on devices of a kind: "learner" and "rollout"."""
    count = math.prod(found.mesh)
    usable = device.flops * EFFICIENCY
    read = found.decode_steps * (found.weight_bytes + found.rollout_bytes["cache"] / 2)
    samplers = config.rollout.actors * config.rollout.tp
    return {
        "learner": found.learner_flops / (count * usable),
        "rollout": max(
            found.rollout_flops / (samplers * usable),
            read / (config.rollout.tp * device.bandwidth),
        ),
    }


def budget_lines(config: RunConfig, devices: int, vocabulary: int | None = None) -> list[str]:
    """For people."""
    found = budget(config, devices, vocabulary)
    data, fsdp, tp = found.mesh
    return [
        f"parameters  {found.parameters:,}; mesh data {data} x fsdp {fsdp} x tp {tp}",
        *_memory_lines("learner", found.learner_bytes),
        *_memory_lines("rollout", found.rollout_bytes),
        *work_lines(found, config),
    ]


def work_lines(found: Budget, config: RunConfig) -> list[str]:
    """Operations of a step, and what they would take on each of `DEVICES`."""
    lines = [
        f"operations  {found.learner_flops / 1e12:,.1f} T to learn from a step, "
        f"{found.rollout_flops / 1e12:,.1f} T to sample it",
    ]
    for device in DEVICES.values():
        times = step_seconds(found, config, device)
        held = sum(found.learner_bytes.values())
        fits = "fits" if held < device.memory else "does not fit"
        lines.append(
            f"  on {device.name}: learner {times['learner']:.2f} s, rollout "
            f"{times['rollout']:.2f} s a step (peak x {EFFICIENCY}, or bandwidth); by this "
            f"estimate it {fits} into {device.memory / 1e9:.0f} GB"
        )
    return lines


def sharding_lines(model: PolicyModel, mesh: tuple[int, int, int]) -> list[str]:
    """Each kind of parameter, its shape, how it is split and what a device holds of it."""
    lines = []
    specs, places = model.partition_specs(), _shardings(model, mesh)
    for name, shape in model.abstract_params().items():
        if not name.startswith("layers.") or name.startswith("layers.0."):
            part = places[name].shard_shape(shape.shape)
            lines.append(f"{name:42} {shape.shape!s:20} {specs[name]!s:38} {part}")
    return lines


def _shardings(model: PolicyModel, mesh: tuple[int, int, int]) -> dict[str, NamedSharding]:
    axes = AbstractMesh(mesh, ("data", "fsdp", "tp"), axis_types=(AxisType.Auto,) * 3)
    return {
        name: NamedSharding(axes, PartitionSpec(*spec))
        for name, spec in model.partition_specs().items()
    }


def _item(config: RunConfig) -> int:
    return jnp.dtype(config.model.compute_dtype).itemsize


def _learner_bytes(model: PolicyModel, config: RunConfig, mesh: dict[str, int]) -> dict[str, int]:
    held = footprint(model, config, mesh)
    parameters = held.state // 3
    return {
        "parameters": parameters,
        "moments": 2 * parameters,
        "reference": held.reference,
        "policies": held.policies,
        "gradients": 2 * held.gradient,  # of a micro-batch, and their sum
        "compute copy": held.reference // 4 * _item(config),
        "activations": _activation_bytes(model.architecture, config, mesh["tp"]),
        "logits": 3 * held.logits,  # they, their softmax and their gradient
    }


def _activation_bytes(found: Architecture, config: RunConfig, tp: int) -> int:
    """What the backward pass of one micro-batch keeps on a device."""
    keys = config.rollout.max_prompt_tokens + config.rollout.max_new_tokens
    tokens = config.learner.micro_batch_tokens
    item = _item(config)
    heads = found.heads * found.head_dim + found.kv_heads * found.head_dim
    inner = 2 * item * heads + found.heads * keys * (4 + item) + 4 * item * found.hidden
    layer = 6 * item * found.width + inner / tp
    kept = {
        "none": layer * found.layers,
        "block": 6 * item * found.width * found.layers + layer,
        "decoder": item * found.width * found.layers + layer,
    }
    return int(tokens * kept[config.learner.remat])


def _forward_flops(found: Architecture, parameters: int, tokens: float, keys: float) -> float:
    """Of `tokens`, each seeing `keys` on average; the embedding counts as the output projection."""
    extra = 0 if found.tied else found.vocabulary * found.width  # looked up, never multiplied
    attention = 4 * found.layers * found.heads * found.head_dim * keys
    return tokens * (2 * (parameters - extra) + attention)


def _train_flops(found: Architecture, parameters: int, config: RunConfig, rows: int) -> float:
    """Policy forward and backward, reference forward, and what is computed again.

    Under an adapter the backward pass has no gradients of the matrices.
    """
    prompt, new = config.rollout.max_prompt_tokens, config.rollout.max_new_tokens
    again = 0 if config.learner.remat == "none" else 1
    backward = 1 if config.lora.rank else 2
    passes = 1 + backward + again + (1 if config.grpo.kl_coefficient else 0)
    prompts = _forward_flops(found, parameters, config.trained_groups * prompt, prompt / 2)
    return passes * (prompts + _forward_flops(found, parameters, rows * new, prompt + new / 2))


def _sample_flops(found: Architecture, parameters: int, config: RunConfig, rows: int) -> float:
    prompt, new = config.rollout.max_prompt_tokens, config.rollout.max_new_tokens
    prompts = _forward_flops(found, parameters, config.loop.groups_per_step * prompt, prompt / 2)
    return prompts + _forward_flops(found, parameters, rows * new, prompt + new / 2)


def _memory_lines(who: str, parts: dict[str, int]) -> list[str]:
    total = sum(parts.values()) / GIB
    shares = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    return [f"{who:10}  {total:.2f} GiB a device: {shares}"]
