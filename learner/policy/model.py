"""The policy network: a Tunix Gemma, and the only module that knows Tunix.

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
from jax.sharding import PartitionSpec
from tunix.models.gemma import model as gemma
from tunix.models.gemma import params_safetensors

from configs.schema import ModelSection
from learner.policy.matmul import einsum_product, linear_product

Params = dict[str, Any]  # name -> array: jax, numpy or abstract
Cache = dict[str, Any]  # layer name -> {"k", "v"}

_REMAT = {
    "none": gemma.RematConfig.NONE,
    "block": gemma.RematConfig.BLOCK,
    "decoder": gemma.RematConfig.DECODER,
}


@dataclass(
    frozen=True, eq=False
)  # one object a configuration, and hashed as such: programs are kept
class PolicyModel:
    """A model without its weights: the Tunix graph, and how its parameters are named and placed."""

    config: gemma.ModelConfig
    compute_dtype: str
    graph: Any
    variables: tuple[tuple[tuple, nnx.Variable], ...]  # (path, abstract variable), sorted

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

    def bind(self, params: Params, for_gradient: bool = False) -> gemma.Gemma:
        """The Tunix module with `params`, cast to the compute dtype.

        `for_gradient`: on a CPU, use the products whose gradients run fast there (`matmul.py`).
        """
        flat = [
            (path, variable.replace(params[_name(path)].astype(self.compute_dtype)))
            for path, variable in self.variables
        ]
        module = nnx.merge(self.graph, nnx.from_flat_state(flat))
        _unmask_windows(module)
        if for_gradient and jax.default_backend() == "cpu":
            _use_flat_products(module)
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
        if name.endswith("scale"):  # RMSNorm multiplies by 1 + scale
            return jnp.zeros(shape, jnp.float32)
        std = 1 / math.sqrt(fan_in(name, shape))
        if name.endswith(("attn_vec_einsum.w", "down_proj.kernel")):
            # what writes into the residual stream starts smaller, so that depth does not blow it up
            std /= math.sqrt(2 * self.config.num_layers)
        return std * jax.random.normal(key, shape, jnp.float32)


@cache
def build_model(
    section: ModelSection, vocabulary: int | None = None, remat: str = "none"
) -> PolicyModel:
    """The model of a configuration, abstractly: no memory is taken for weights.

    `vocabulary`: ids of the tokenizer. Presets have a number of their own, which for Gemma2
    is 128 more than the published weights have; the tokenizer's wins.
    """
    config = _gemma_config(section, vocabulary)
    config.num_embed = vocabulary or config.num_embed
    config.remat_config = _REMAT[remat]
    module = nnx.eval_shape(lambda: gemma.Gemma(config, rngs=nnx.Rngs(params=0)))
    graph, state = nnx.split(module)
    variables = tuple(nnx.to_flat_state(state))
    return PolicyModel(config, section.compute_dtype, graph, variables)


def load_safetensors(model: PolicyModel, folder: str, mesh) -> Params:
    """Parameters (float32) from a Hugging Face Gemma2 folder of .safetensors files."""
    module = params_safetensors.create_model_from_safe_tensors(
        folder, model.config, mesh, jnp.float32, mode="original"
    )
    return {
        _name(path): variable.get_value()
        for path, variable in nnx.to_flat_state(nnx.state(module, nnx.Param))
    }


def fan_in(name: str, shape: tuple[int, ...]) -> int:
    """Inputs that one output of the parameter sums over."""
    if name.endswith("input_embedding"):
        return shape[1]  # read as the output projection: logits = h @ E.T
    if name.endswith("attn_vec_einsum.w"):  # [N, H, D]
        return shape[0] * shape[1]
    if name.endswith("einsum.w"):  # [N, D, H] or [C, K, D, H]
        return shape[-2]
    return shape[0]  # feed-forward kernels: [in, out]


def hidden_states(
    module: gemma.Gemma,
    tokens_BT: jax.Array,
    positions_BT: jax.Array,
    mask_BTS: jax.Array,
    cache: Cache,
    key_positions_BS: jax.Array | None = None,
) -> tuple[jax.Array, Cache]:
    """[B, T, D] after the final norm, and the cache with the new keys and values.

    They are written behind the cache's `end_index`, the same in every row. `mask_BTS` says which
    entries of the cache a token may see; the windows of local layers are applied here.
    `key_positions_BS`: the positions at which entries stand, if not in the order of the cache.
    The module's own call would also project every position onto the vocabulary.
    """
    x_BTD = module.embedder.encode(tokens_BT)
    new_cache: Cache = {}
    if key_positions_BS is None:
        key_positions_BS = jnp.arange(mask_BTS.shape[-1])[None]
    distance_BTS = positions_BT[:, :, None] - key_positions_BS[:, None]
    for number, layer in enumerate(module.layers):
        name, window = f"layer_{number}", getattr(layer.attn, _WINDOW, None)
        seen_BTS = mask_BTS
        if window is not None and window < mask_BTS.shape[-1]:
            seen_BTS = mask_BTS & (distance_BTS < window)
        new_cache[name], x_BTD = layer(x_BTD, positions_BT, cache[name], seen_BTS)
    return module.final_norm(x_BTD), new_cache


def prompt_states(
    model: PolicyModel, module: gemma.Gemma, prompts_NP: jax.Array
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


def logits(module: gemma.Gemma, hidden: jax.Array) -> jax.Array:
    """[..., D] -> [..., V] float32, after the final soft-cap."""
    embedding_VD = module.embedder.input_embedding.get_value()
    values = jnp.dot(hidden, embedding_VD.T, preferred_element_type=jnp.float32)
    cap = module.final_logits_softcap
    return values if cap is None else jnp.tanh(values / cap) * cap


def empty_cache(model: PolicyModel, rows: int, length: int) -> Cache:
    """Keys and values [rows, length, KV heads, head_dim] of each layer, zero, compute dtype."""
    shape = (rows, length, model.config.num_kv_heads, model.config.head_dim)
    zeros = partial(jnp.zeros, shape, model.compute_dtype)
    return {
        f"layer_{number}": {"k": zeros(), "v": zeros()} for number in range(model.config.num_layers)
    }


def _gemma_config(section: ModelSection, vocabulary: int | None) -> gemma.ModelConfig:
    if section.preset:
        return getattr(gemma.ModelConfig, section.preset)()
    if vocabulary is None:
        raise ValueError("a model from scratch needs the size of its tokenizer's vocabulary")
    kinds = (gemma.AttentionType.LOCAL_SLIDING, gemma.AttentionType.GLOBAL)
    return gemma.ModelConfig(
        num_layers=section.layers,
        num_embed=vocabulary,
        embed_dim=section.embed_dim,
        hidden_dim=section.hidden_dim,
        num_heads=section.heads,
        head_dim=section.head_dim,
        num_kv_heads=section.kv_heads,
        final_logit_softcap=30.0,
        use_post_attn_norm=True,
        use_post_ffw_norm=True,
        attention_types=tuple(kinds[number % 2] for number in range(section.layers)),
        attn_logits_soft_cap=50.0,
        sliding_window_size=section.sliding_window,
    )


_WINDOW = "window"  # of a local layer, whose own mask is off


def _unmask_windows(module: gemma.Gemma) -> None:
    """Take local layers' windows from Tunix, which reads a place in the cache as a position."""
    for layer in module.layers:
        if layer.attn.attn_type == gemma.AttentionType.LOCAL_SLIDING:
            layer.attn.attn_type = gemma.AttentionType.GLOBAL
            setattr(layer.attn, _WINDOW, layer.attn.sliding_window_size)


_FLAT = "flat_product"  # marks the einsums whose gradients are wanted fast


def _use_flat_products(module: gemma.Gemma) -> None:
    for layer in module.layers:
        for linear in (layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj):
            linear.dot_general = linear_product
        for part in vars(layer.attn).values():
            if isinstance(part, gemma.Einsum):
                setattr(part, _FLAT, True)


def _einsum_call(self: gemma.Einsum, x: jax.Array) -> jax.Array:
    weight = self.w.get_value()
    flat = einsum_product(self.einsum_str, x, weight) if hasattr(self, _FLAT) else None
    return jnp.einsum(self.einsum_str, x, weight) if flat is None else flat


# Tunix's einsum has no hook for another product, unlike nnx.Linear's dot_general
gemma.Einsum.__call__ = _einsum_call  # pyrefly: ignore


def _name(path: tuple) -> str:
    return ".".join(str(part) for part in path)
