"""The Tunix models behind one interface; the only module that knows Tunix.

Each family's decoder layers are used as they are, but for what that Tunix does otherwise
than the published models, or not at all, and that are therefore done outside of the layers:

- sliding windows are applied by position (Tunix reads a place in the cache as a position),
- rotary angles are those of the architecture (Tunix's Llama3 has 1e6 as its only base, and none of
  them scales as Llama 3.1 does), computed once for all layers of a kind,
- the einsums of attention can run through `matmul.py`, whose gradients are fast on a CPU, and
  Gemma2's attention without a cache through `attention.py`, its norms through `norm.py`,
- a low-rank change can be added to the products of a layer (`lora.py`).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from tunix.models.gemma import model as gemma
from tunix.models.gemma3 import model as gemma3
from tunix.models.llama3 import model as llama3
from tunix.models.qwen2 import model as qwen2
from tunix.models.qwen3 import model as qwen3

from learner.policy.architecture import Architecture
from learner.policy.attention import attend
from learner.policy.matmul import einsum_product, linear_product, matmul
from learner.policy.norm import rms_norm

Angles = tuple[jax.Array, jax.Array]  # sin and cos [B, T, head_dim / 2] float32


def make_module(found: Architecture, compute_dtype: str, remat: str) -> nnx.Module:
    """The Tunix module of an architecture, with weights of its own: call it abstractly."""
    library, make = _FAMILIES[found.family]
    config = make(found, jnp.dtype(compute_dtype))
    # whole layers are computed again by gather.py
    config["remat_config"] = library.RematConfig["NONE" if remat == "decoder" else remat.upper()]
    network = _CLASSES[found.family]
    return network(library.ModelConfig(**config), rngs=nnx.Rngs(params=0))


def prepare(module: Any, found: Architecture, flat_products: bool) -> None:
    """Take windows and rotations out of a module's layers; see above."""
    by_layer = zip(module.layers, found.windows, found.rotations, strict=True)
    for layer, window, rotation in by_layer:
        if hasattr(layer.attn, "attn_type"):
            layer.attn.attn_type = type(layer.attn.attn_type).GLOBAL
        setattr(layer, _WINDOW, window)
        if found.family != "gemma2":  # whose own rotation is the published one
            setattr(layer, _RATES, tuple(rotation.frequencies(found.head_dim).tolist()))
    if flat_products:
        _use_flat_products(module)


def add_changes(module: Any, changes: Mapping[str, Callable]) -> None:
    """Add to what a prepared module's products give: for a parameter by name, x -> what is added.

    Not by qwix, as Tunix does it: that wraps a module's own call, which is not what runs here.
    """
    for name, change in changes.items():
        part = module
        for step in name.split(".")[:-1]:
            part = part[int(step)] if step.isdecimal() else getattr(part, step)
        if isinstance(part, _EINSUMS):
            setattr(part, _CHANGE, change)
        else:
            part.dot_general = partial(_changed_product, part.dot_general, change)
        if name.startswith("layers."):
            number = int(name.split(".")[1])
            setattr(module.layers[number], _CHANGED, number)


def kind_of(layer: Any) -> tuple[int | None, tuple | None, int | None]:
    """What layers of a prepared module differ in but their weights: how many tokens they see,
    themselves included (None: all), by what rates they rotate, and changes of their own."""
    return getattr(layer, _WINDOW), getattr(layer, _RATES, None), getattr(layer, _CHANGED, None)


def angles_of(module: Any, positions_BT: jax.Array) -> dict[tuple, Angles]:
    """Sine and cosine of each kind of rotation in a prepared module."""
    kinds = {rates for layer in module.layers if (rates := getattr(layer, _RATES, None))}
    angles = {rates: positions_BT[..., None] * jnp.array(rates, jnp.float32) for rates in kinds}
    return {rates: (jnp.sin(angle), jnp.cos(angle)) for rates, angle in angles.items()}


def run_layer(layer: Any, x_BTD, positions_BT, angles: dict[tuple, Angles], cache, mask_BTS):
    """The layer's new keys and values, and its output [B, T, D]."""
    if isinstance(layer, qwen2.DecoderLayer):
        sin, cos = angles[getattr(layer, _RATES)]
        return layer(x_BTD, cache, attn_mask=mask_BTS, sin=sin, cos=cos)
    rates = getattr(layer, _RATES, None)
    # the layers hand their positions on to the rotation alone, which takes angles instead
    return layer(x_BTD, positions_BT if rates is None else angles[rates], cache, mask_BTS)


def projection(module: Any) -> jax.Array:
    """[D, V]: what turns a state into scores of the vocabulary."""
    if hasattr(module, "lm_head"):
        return module.lm_head.w.get_value()
    return module.embedder.input_embedding.get_value().T


def project(module: Any, hidden: jax.Array, weight_DV: jax.Array) -> jax.Array:
    """[..., D] -> [..., V] float32, after the final soft-cap where the family has one."""
    if hasattr(module, _FLAT) and hidden.dtype == jnp.float32:
        values = matmul(hidden, weight_DV)
    else:
        values = jnp.dot(hidden, weight_DV, preferred_element_type=jnp.float32)
    cap = getattr(module, "final_logits_softcap", None)
    return values if cap is None else jnp.tanh(values / cap) * cap


_WINDOW, _RATES, _FLAT, _CHANGE = "window", "rotation_rates", "flat_product", "change"
_CHANGED = "changed"


def _gemma2(found: Architecture, dtype) -> dict[str, Any]:
    return _sizes(found) | {
        "num_embed": found.vocabulary,
        "final_logit_softcap": 30.0,
        "use_post_attn_norm": True,
        "use_post_ffw_norm": True,
        "attention_types": tuple(
            gemma.AttentionType.GLOBAL if window is None else gemma.AttentionType.LOCAL_SLIDING
            for window in found.windows
        ),
        "sliding_window_size": _window(found),
        "attn_logits_soft_cap": 50.0,
    }


def _gemma3(found: Architecture, dtype) -> dict[str, Any]:
    kinds = gemma3.QueryPreAttentionNormalisation
    by_head = abs(found.query_scale - found.head_dim**-0.5) < 1e-9
    return _sizes(found) | {
        "num_embed": found.vocabulary,
        "sliding_window_size": _window(found),
        "query_pre_attn_norm": kinds.BY_ONE_OVER_SQRT_HEAD_DIM
        if by_head
        else kinds.BY_ONE_OVER_SQRT_EMBED_DIM_DIV_NUM_HEADS,
        "param_dtype": jnp.float32,
    }


def _llama(found: Architecture, dtype) -> dict[str, Any]:
    return _sizes(found) | {
        "vocab_size": found.vocabulary,
        "rope_theta": 0,  # angles come from outside
        "norm_eps": found.norm_epsilon,
        "weight_tying": found.tied,
    }


def _qwen(found: Architecture, dtype) -> dict[str, Any]:
    return _sizes(found) | {
        "vocab_size": found.vocabulary,
        "rope_theta": 0,
        "norm_eps": found.norm_epsilon,
        "use_tied_embedding": found.tied,
        "dtype": dtype,
    }


def _window(found: Architecture) -> int:
    return next((window for window in found.windows if window is not None), 1)


def _sizes(found: Architecture) -> dict[str, Any]:
    return {
        "num_layers": found.layers,
        "embed_dim": found.width,
        "hidden_dim": found.hidden,
        "num_heads": found.heads,
        "head_dim": found.head_dim,
        "num_kv_heads": found.kv_heads,
    }


_FAMILIES: dict[str, tuple[Any, Callable]] = {
    "gemma2": (gemma, _gemma2),
    "gemma3_text": (gemma3, _gemma3),
    "llama": (llama3, _llama),
    "qwen2": (qwen2, _qwen),
    "qwen3": (qwen3, _qwen),
}
_CLASSES = {
    "gemma2": gemma.Gemma,
    "gemma3_text": gemma3.Gemma3,
    "llama": llama3.Llama3,
    "qwen2": qwen2.Qwen2,
    "qwen3": qwen3.Qwen3,
}
_EINSUMS = (gemma.Einsum, gemma3.Einsum, llama3.Einsum, qwen2.Einsum, qwen3.Einsum)


def _use_flat_products(module: Any) -> None:
    setattr(module, _FLAT, True)  # of the projection
    for layer in module.layers:
        for linear in (layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj):
            linear.dot_general = linear_product
        for part in vars(layer.attn).values():
            if isinstance(part, _EINSUMS):
                setattr(part, _FLAT, True)


def _einsum_call(self: Any, x: jax.Array) -> jax.Array:
    weight = self.w.get_value()
    flat = einsum_product(self.einsum_str, x, weight) if hasattr(self, _FLAT) else None
    read = jnp.einsum(self.einsum_str, x, weight) if flat is None else flat
    return read + getattr(self, _CHANGE)(x) if hasattr(self, _CHANGE) else read


def _changed_product(product: Callable, change: Callable, x, kernel, *args: Any, **kwargs: Any):
    return product(x, kernel, *args, **kwargs) + change(x)


_gemma_attention = gemma.Attention.block


def _attention(self: Any, x, segment_pos, cache, attn_mask):
    """Gemma2's without a cache, as in the update: as plain batched products."""
    windowed = self.attn_type != gemma.AttentionType.GLOBAL  # of a module that is not prepared
    if cache is not None or windowed or self.use_qkv_einsum:
        return _gemma_attention(self, x, segment_pos, cache, attn_mask)
    keys, values = self.kv_einsum(x)
    queries = gemma.apply_rope(self.q_einsum(x), segment_pos, head_dim=self.head_dim)
    keys = gemma.apply_rope(keys, segment_pos, head_dim=self.head_dim)
    queries = queries * self.head_dim**-0.5
    read = attend(queries, keys, values, attn_mask, self.attn_logits_soft_cap)
    return None, self.attn_vec_einsum(read)


def _norm(self: Any, x: jax.Array) -> jax.Array:
    return rms_norm(x, self.scale.get_value())


def _rotate(inputs_BTNH: jax.Array, angles: Angles, **_: Any) -> jax.Array:
    """In the place of Tunix's `apply_rope`, which computes angles from positions."""
    sin, cos = (part[..., None, :] for part in angles)
    first, second = jnp.split(inputs_BTNH, 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(inputs_BTNH.dtype)


def _rotate_by(inputs_BTNH: jax.Array, sin: jax.Array, cos: jax.Array) -> jax.Array:
    return _rotate(inputs_BTNH, (sin, cos))


# Tunix's einsum has no hook for another product, unlike nnx.Linear's dot_general, and its layers
# none for angles
for _einsum in _EINSUMS:
    _einsum.__call__ = _einsum_call  # pyrefly: ignore
gemma.Attention.block = _attention  # pyrefly: ignore
gemma.RMSNorm.__call__ = _norm  # pyrefly: ignore
for _library in (gemma3, llama3, qwen3):
    _library.apply_rope = _rotate  # pyrefly: ignore
qwen2.apply_rotary_embedding = _rotate_by  # pyrefly: ignore
