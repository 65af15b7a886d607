"""LoRA: a low-rank change of some matrices is trained, and they stand still (Hu et al. 2021).

The adapter is a flat dictionary like the parameters, named and shaped as PEFT stores it: a matrix
that a Hugging Face folder has as `NAME.weight` [out, in] has the factors `NAME.lora_A.weight`
[rank, in] and `NAME.lora_B.weight` [out, rank], and counts as W + alpha / rank B A.

The learner adds `x A' B'` to what a layer's products give (`PolicyModel.bind` finds the factors in
its parameters), so no gradient of a whole matrix is ever computed. Rollout actors merge: their
engine then decodes as fast as without an adapter.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from configs.lora import LoraSection
from learner.policy.architecture import Architecture
from learner.policy.layout import Stored, stored_layout

Params = dict[str, Any]  # name -> array
_A, _B = ".lora_A.weight", ".lora_B.weight"


def adapter_shapes(found: Architecture, section: LoraSection) -> dict[str, tuple[int, ...]]:
    """Of each factor, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for stored in stored_layout(found).values():
        for name in stored.names:
            module = name.removesuffix(".weight")
            if module != name and module.rsplit(".", 1)[-1] in section.targets:
                rows, columns = stored.shape
                shapes[module + _A] = (section.rank, columns)
                shapes[module + _B] = (rows, section.rank)
    return shapes


def fresh_adapter(found: Architecture, section: LoraSection, seed: jax.Array) -> Params:
    """Float32 factors as PEFT draws them: A uniform within 1/sqrt(in), B zero. Changes nothing."""
    key = jax.random.key(seed)

    def draw(number: int, name: str, shape: tuple[int, ...]) -> jax.Array:
        if name.endswith(_B):
            return jnp.zeros(shape, jnp.float32)
        bound = 1 / math.sqrt(shape[1])
        own = jax.random.fold_in(key, number)
        return jax.random.uniform(own, shape, jnp.float32, -bound, bound)

    shapes = adapter_shapes(found, section)
    return {name: draw(n, name, shape) for n, (name, shape) in enumerate(shapes.items())}


def over(base: Mapping[str, Any], trained: Mapping[str, Any], section: LoraSection) -> Params:
    """The policy's parameters for `PolicyModel.bind`: what is trained over what stands still.

    Without an adapter all is trained, and `base` counts for nothing.
    """
    scaled = {n: section.scale * x if n.endswith(_B) else x for n, x in trained.items()}
    return {**base, **scaled}


def merged(
    found: Architecture, section: LoraSection, base: Mapping[str, Any], adapter: Mapping[str, Any]
) -> Params:
    """The base with the adapter's change in its matrices, float32 inside, in the base's dtype."""

    def changed(name: str, stored: Stored) -> jax.Array:
        pairs = [_factors(adapter, part) for part in stored.names]
        if not any(pairs):
            return base[name]
        parts = [
            section.scale * jnp.dot(pair[1].astype(jnp.float32), pair[0].astype(jnp.float32))
            if pair
            else jnp.zeros(stored.shape, jnp.float32)
            for pair in pairs
        ]
        return (base[name] + stored.arranged(parts)).astype(base[name].dtype)

    return {name: changed(name, stored) for name, stored in stored_layout(found).items()}


def changes(found: Architecture, params: Mapping[str, Any], dtype: str) -> dict[str, Callable]:
    """For each parameter that factors in `params` change: inputs -> what is added to its product.

    The factors must be scaled already, as `over` does it; they are cast to `dtype`.
    """
    wanted = {}
    for name, stored in stored_layout(found).items():
        pairs = [_factors(params, part) for part in stored.names]
        if any(pairs):
            cast = [pair and tuple(x.astype(dtype) for x in pair) for pair in pairs]
            wanted[name] = partial(_change, stored, cast)
    return wanted


def _change(stored: Stored, pairs: list, x: jax.Array) -> jax.Array:
    """[..., *in axes] -> [..., *out axes], stacked on a new first axis where the parameter is."""
    out, inner = stored.axes
    rows = x.reshape(*x.shape[: x.ndim - len(inner)], -1)
    shape = (*rows.shape[:-1], *out)
    parts = [
        jnp.dot(jnp.dot(rows, pair[0].T), pair[1].T).reshape(shape)
        if pair
        else jnp.zeros(shape, x.dtype)
        for pair in pairs
    ]
    return jnp.stack(parts) if stored.stacked else parts[0]


def _factors(params: Mapping[str, Any], stored: str) -> tuple | None:
    module = stored.removesuffix(".weight")
    return (params[module + _A], params[module + _B]) if module + _A in params else None


@dataclass(frozen=True)
class Trained:
    """What of a policy is trained: all parameters, or an adapter (`section.rank` above 0)."""

    model: Any  # PolicyModel
    section: LoraSection

    def abstract_params(self) -> dict[str, jax.ShapeDtypeStruct]:
        if not self.section.rank:
            return self.model.abstract_params()
        shapes = adapter_shapes(self.model.architecture, self.section)
        return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}

    def partition_specs(self) -> dict[str, PartitionSpec]:
        """An adapter is small: every device has it whole."""
        if not self.section.rank:
            return self.model.partition_specs()
        return dict.fromkeys(self.abstract_params(), PartitionSpec())

    def start(self, base: Params, seed: jax.Array) -> Params:
        """What training begins with over these weights: a copy of them, or a fresh adapter."""
        if not self.section.rank:
            return jax.tree.map(jnp.copy, base)
        return fresh_adapter(self.model.architecture, self.section, seed)

    def whole(self, base: Params, trained: Params) -> Params:
        """The policy's weights in one."""
        if not self.section.rank:
            return trained
        return merged(self.model.architecture, self.section, base, trained)
