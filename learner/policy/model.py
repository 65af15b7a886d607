"""The policy network: one interface for all families.

Parameters are one flat dictionary `{"layers.0.attn.q_einsum.w": array}` wherever they go: in the
optimizer, in checkpoints, over the wire. `PolicyModel.bind` turns it back into the Tunix module.

Shapes: B = rows, T = tokens, D = width of the residual stream, S = cache length, N = prompts of
P tokens.
"""

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from configs.schema import ModelSection
from learner.policy.architecture import Architecture, architecture_of
from learner.policy.families import (
    add_changes,
    angles_of,
    kind_of,
    make_module,
    prepare,
    project,
    projection,
    run_layer,
)
from learner.policy.gather import look_up, through_layers
from learner.policy.lora import changes

Params = dict[str, Any]  # name -> array: jax, numpy or abstract
Cache = dict[str, Any]  # layer name -> {"k", "v"}


@dataclass(
    frozen=True, eq=False
)  # one object a configuration, and hashed as such: programs are kept
class PolicyModel:
    """A model without its weights: the Tunix graph, and how its parameters are named and placed."""

    architecture: Architecture
    compute_dtype: str
    graph: Any
    variables: tuple[tuple[tuple, nnx.Variable], ...]  # (path, abstract variable), sorted
    remat: str

    def abstract_params(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Names, shapes and dtypes of the master parameters (float32)."""
        return {
            _name(path): jax.ShapeDtypeStruct(variable.get_value().shape, jnp.float32)
            for path, variable in self.variables
        }

    def partition_specs(self) -> dict[str, PartitionSpec]:
        """Tunix's logical axes of each parameter, over the mesh axes `fsdp` and `tp`."""
        return {
            _name(path): PartitionSpec(*variable.get_metadata()["out_sharding"])
            for path, variable in self.variables
        }

    def bind(self, params: Params, for_gradient: bool = False, mesh: Mesh | None = None) -> Any:
        """The Tunix module with `params`, cast to the compute dtype; see `lora.over` for others
        than its own among them.

        `for_gradient`: on a CPU, use the products whose gradients run fast there (`matmul.py`).
        `mesh`: where `params` lie, if they are split over it; see `gather.py`.
        """
        flat = [
            (path, variable.replace(params[_name(path)].astype(self.compute_dtype)))
            for path, variable in self.variables
        ]
        module = nnx.merge(self.graph, nnx.from_flat_state(flat))
        module.mesh, module.again = mesh, self.remat == "decoder"
        prepare(module, self.architecture, for_gradient and jax.default_backend() == "cpu")
        add_changes(module, changes(self.architecture, params, self.compute_dtype))
        return module

    def init(self, seed: jax.Array) -> Params:
        """Fresh float32 parameters, scaled by 1/sqrt(fan in).

        Tunix's own initialisation leaves the feed-forward kernels at zero, where gradients of gate,
        up and down vanish together; so everything is drawn here.
        """
        key = jax.random.key(seed)
        return {
            name: self._draw(name, shape.shape, jax.random.fold_in(key, number))
            for number, (name, shape) in enumerate(self.abstract_params().items())
        }

    def _draw(self, name: str, shape: tuple[int, ...], key: jax.Array) -> jax.Array:
        if name.endswith(("scale", "_bias")):  # a Gemma norm multiplies by 1 + scale
            return jnp.zeros(shape, jnp.float32)
        if name.endswith("norm.w"):
            return jnp.ones(shape, jnp.float32)
        std = 1 / math.sqrt(fan_in(name, shape))
        if name.endswith(("attn_vec_einsum.w", "o_proj.w", "down_proj.kernel")):
            # what writes into the residual stream starts smaller, so that depth does not blow it up
            std /= math.sqrt(2 * self.architecture.layers)
        return std * jax.random.normal(key, shape, jnp.float32)


@cache
def build_model(
    section: ModelSection, vocabulary: int | None = None, remat: str = "none"
) -> PolicyModel:
    """The model of a configuration, abstractly: no memory is taken for weights.

    `vocabulary`: ids of the tokenizer; a model without published weights has as many.
    """
    found = architecture_of(section, vocabulary)
    module = nnx.eval_shape(lambda: make_module(found, section.compute_dtype, remat))
    graph, state = nnx.split(module)
    variables = tuple(nnx.to_flat_state(state))
    return PolicyModel(found, section.compute_dtype, graph, variables, remat)


def fan_in(name: str, shape: tuple[int, ...]) -> int:
    """Inputs that one output of the parameter sums over."""
    if name.endswith("input_embedding"):
        return shape[1]  # read as the output projection: logits = h @ E.T
    if name.endswith(("attn_vec_einsum.w", "o_proj.w")):  # [N, H, D]
        return shape[0] * shape[1]
    if name.endswith("einsum.w"):  # [N, D, H] or [C, K, D, H]
        return shape[-2]
    return shape[0]  # feed-forward kernels [in, out], q, k, v of others than Gemma [D, N, H]


def hidden_states(
    module: Any,
    tokens_BT: jax.Array,
    positions_BT: jax.Array,
    mask_BTS: jax.Array,
    cache: Cache | None,
    key_positions_BS: jax.Array | None = None,
) -> tuple[jax.Array, Cache]:
    """[B, T, D] after the final norm, and the cache with the new keys and values.

    They are written behind the cache's `end_index`, the same in every row. `mask_BTS` says which
    entries of the cache a token may see; the windows of local layers are applied here. Without a
    cache the tokens see each other, and S = T.
    `key_positions_BS`: the positions at which entries stand, if not in the order of the cache.
    The module's own call would also project every position onto the vocabulary.
    """
    x_BTD = look_up(module.embedder.encode, tokens_BT, module.mesh)
    if key_positions_BS is None:
        key_positions_BS = jnp.arange(mask_BTS.shape[-1])[None]
    distance_BTS = positions_BT[:, :, None] - key_positions_BS[:, None]
    angles = angles_of(module, positions_BT)
    kinds = [kind_of(layer) for layer in module.layers]

    def run(layer, number, x_BTD, cache):
        window, seen_BTS = kinds[number][0], mask_BTS
        if window is not None and window < mask_BTS.shape[-1]:
            seen_BTS = mask_BTS & (distance_BTS < window)
        return run_layer(layer, x_BTD, positions_BT, angles, cache, seen_BTS)

    names = [f"layer_{number}" for number in range(len(kinds))]
    caches = [cache and cache[name] for name in names]
    x_BTD, caches = through_layers(run, module.layers, kinds, module, x_BTD, caches)
    return module.final_norm(x_BTD), dict(zip(names, caches, strict=True))


def prompt_states(
    model: PolicyModel, module: Any, prompts_NP: jax.Array
) -> tuple[jax.Array, Cache]:
    """[N, P, D] of right-padded prompts, and their keys and values.

    Under a causal mask no token sees the padding behind it; who goes on from the cache must mask
    what the padding wrote.
    """
    count, length = prompts_NP.shape
    start = jnp.zeros(count, jnp.int32)
    cache = {
        name: {**layer, "end_index": start}
        for name, layer in empty_cache(model, count, length).items()
    }
    positions_NP = jnp.broadcast_to(jnp.arange(length), prompts_NP.shape)
    mask_NPP = jnp.broadcast_to(jnp.tril(jnp.ones((length, length), bool)), (count, length, length))
    return hidden_states(module, prompts_NP, positions_NP, mask_NPP, cache)


def logits(module: Any, hidden: jax.Array, weight_DV: jax.Array | None = None) -> jax.Array:
    """[..., D] -> [..., V] float32, after the final soft-cap. `weight_DV`: the module's own."""
    return project(module, hidden, projection(module) if weight_DV is None else weight_DV)


def empty_cache(model: PolicyModel, rows: int, length: int) -> Cache:
    """Keys and values [rows, length, KV heads, head_dim] of each layer, zero, compute dtype."""
    found = model.architecture
    shape = (rows, length, found.kv_heads, found.head_dim)
    zeros = partial(jnp.zeros, shape, model.compute_dtype)
    return {f"layer_{number}": {"k": zeros(), "v": zeros()} for number in range(found.layers)}


def _name(path: tuple) -> str:
    return ".".join(str(part) for part in path)
