"""The layers of Gemma2 over fused weights: what prefill and decoding share.

D = width, K = heads of keys and values, Q = queries of each, N = K Q heads, H = head size,
M = tokens, C = keys.
"""

from typing import Any

import jax
import jax.numpy as jnp

from learner.policy.architecture import Architecture
from learner.policy.kept import Kept, numbers
from learner.policy.model import Params, PolicyModel

Weights = dict[str, Any]
SCORE_CAP, LOGIT_CAP = 50.0, 30.0  # of all published Gemma2
_LARGE = 2**18  # numbers: a megabyte, about what one core's own cache holds
_NORMS = ("pre_attention_norm", "post_attn_norm", "pre_ffw_norm", "post_ffw_norm")


def fused(model: PolicyModel, params: Params) -> Weights:
    """Parameters as decoding wants them: products over the same input side by side."""
    found, dtype = model.architecture, model.compute_dtype

    def flat(weight):  # [N, D, H] -> [D, N H]
        return weight.transpose(1, 0, 2).reshape(weight.shape[1], -1)

    def of_layer(number: int) -> dict:
        layer = {
            name.split(".", 2)[2]: value
            for name, value in params.items()
            if name.startswith(f"layers.{number}.")
        }
        if "attn.qkv_einsum.w" in layer:
            query, key, value = layer["attn.qkv_einsum.w"]
        else:
            query, (key, value) = layer["attn.q_einsum.w"], layer["attn.kv_einsum.w"]
        out = layer["attn.attn_vec_einsum.w"]
        qkv = [flat(query * found.query_scale), flat(key), flat(value)]
        gate_up = [layer["mlp.gate_proj.kernel"], layer["mlp.up_proj.kernel"]]
        return {
            "qkv": _laid_out(jnp.concatenate(qkv, axis=1).astype(dtype)),
            "out": out.reshape(-1, out.shape[-1]),
            "gate_up": _laid_out(jnp.concatenate(gate_up, axis=1).astype(dtype)),
            "down": layer["mlp.down_proj.kernel"],
        } | {norm: 1 + layer[f"{norm}.scale"] for norm in _NORMS}

    return jax.tree.map(
        lambda value: value.astype(dtype),
        {
            "layers": [of_layer(number) for number in range(found.layers)],
            "embedding": params["embedder.input_embedding"],
            "final_norm": 1 + params["final_norm.scale"],
        },
    )


def split_axis(name: str, weight) -> int | None:
    """Which axis of a weight several devices share: outputs of what widens, inputs of what narrows,
    words of the vocabulary; None: each has it whole."""
    if name in ("qkv", "gate_up"):
        return 0 if _by_output(weight) else 1
    return 0 if name in ("out", "down", "embedding") else None


def _laid_out(weight_DF):
    """As `_wide_product` reads it fastest: large ones by output, which few rows gain most from."""
    return weight_DF.T if _by_output(weight_DF) else weight_DF


def _by_output(weight) -> bool:
    """16 bits have no fast product of that layout on a CPU."""
    return weight.dtype == jnp.float32 and weight.size >= _LARGE


def _wide_product(x_MD, weight):
    """The product with a weight that was `_laid_out`."""
    return x_MD @ (weight.T if _by_output(weight) else weight)


def attend(q, k: Kept, v: Kept, mask):
    """Weighted sums of values [..., M, H] and totals of weights [..., M], both float32.

    q [..., M, H], k [..., H, C], v [..., C, H]; the latter two as a cache keeps them. The weights
    are exp(score): Gemma2's soft-cap bounds scores, so that no maximum has to be taken off and
    parts simply add up.
    """
    keys, scale_k = numbers(k, q.dtype)  # scales [..., 1, C] and [..., C, 1]
    values, scale_v = numbers(v, q.dtype)
    scores = jnp.einsum("...mh,...hc->...mc", q, keys, preferred_element_type=jnp.float32)
    scores = scores if scale_k is None else scores * scale_k
    weight = jnp.where(mask, jnp.exp(capped(scores, SCORE_CAP)), 0)
    scaled = weight if scale_v is None else weight * scale_v.swapaxes(-1, -2)
    sums = jnp.einsum(
        "...mc,...ch->...mh", scaled.astype(q.dtype), values, preferred_element_type=jnp.float32
    )
    return sums, weight.sum(axis=-1)


def project(found: Architecture, layer, x_MD, positions_M):
    """Query [M, K, Q, H], key and value [M, K, H] of tokens at these positions."""
    heads, kv_heads, size = found.heads, found.kv_heads, found.head_dim
    y = _wide_product(norm(x_MD, layer["pre_attention_norm"]), layer["qkv"])
    y = y.reshape(-1, heads + 2 * kv_heads, size)
    turned = _rotate(y[:, : heads + kv_heads], positions_M)
    q = turned[:, :heads].reshape(-1, kv_heads, heads // kv_heads, size)
    return q, turned[:, heads:], y[:, heads + kv_heads :]


def _rotate(x, positions_M, base: float = 10_000.0):
    """Rotary embedding of [M, heads, H]."""
    half = x.shape[-1] // 2
    angle = positions_M[:, None] / base ** (jnp.arange(half) / half)
    sin, cos = jnp.sin(angle)[:, None], jnp.cos(angle)[:, None]
    first, second = x[..., :half], x[..., half:]
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def finish_layer(layer, x_MD, read_MN):
    """The residual stream after the output projection and the feed-forward part."""
    attended = read_MN.astype(x_MD.dtype) @ layer["out"]
    x_MD = x_MD + norm(attended, layer["post_attn_norm"])
    both = _wide_product(norm(x_MD, layer["pre_ffw_norm"]), layer["gate_up"])
    gate, up = jnp.split(both, 2, axis=-1)
    return x_MD + norm((jax.nn.gelu(gate) * up) @ layer["down"], layer["post_ffw_norm"])


def embed(w, tokens):
    x = w["embedding"][tokens]
    return x * jnp.sqrt(x.shape[-1]).astype(x.dtype)


def norm(x, scale):
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6) * scale


def capped(scores, cap: float):
    return jnp.tanh(scores / cap) * cap
