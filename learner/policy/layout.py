"""How each parameter lies in a Hugging Face folder: under which names, in which shape.

A linear layer is stored as [out, in] there, with heads and head dimension as one axis; here it is
[in, out] or one axis each. The same table reads and writes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from learner.policy.architecture import GEMMAS, Architecture

Axes = tuple[tuple[int, ...], ...]  # for each stored axis, the sizes that it is made of
Read = Callable[[str, tuple[slice, ...]], np.ndarray]  # part of a stored tensor


@dataclass(frozen=True)
class Stored:
    """One parameter as stored: `names` are stacked on a new first axis if there are several."""

    names: tuple[str, ...]
    axes: Axes
    order: tuple[int, ...]  # the single axes of a stored tensor, in our order
    stacked: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of each stored tensor."""
        return tuple(int(np.prod(sizes)) for sizes in self.axes)

    @property
    def whole(self) -> tuple[int, ...]:
        """The shape of our parameter."""
        single = [size for sizes in self.axes for size in sizes]
        first = (len(self.names),) if self.stacked else ()
        return first + tuple(single[axis] for axis in self.order)

    def read(self, read: Read, index: tuple[slice, ...]) -> np.ndarray:
        """The part `index` of our parameter, out of just those stored rows that hold it."""
        if not self.stacked:
            return self._read_one(read, self.names[0], index)
        parts = [self._read_one(read, name, index[1:]) for name in self.names[index[0]]]
        return np.stack(parts)

    def arranged(self, parts: list[jax.Array]) -> jax.Array:
        """Our whole parameter, of whole stored tensors, on their device."""
        single = [size for sizes in self.axes for size in sizes]
        turned = [part.reshape(single).transpose(self.order) for part in parts]
        return jnp.stack(turned) if self.stacked else turned[0]

    def write(self, value: np.ndarray) -> dict[str, np.ndarray]:
        """The stored tensors of a whole parameter."""
        parts = value if self.stacked else value[None]
        back = np.argsort(self.order)
        return {
            name: np.ascontiguousarray(part.transpose(back).reshape(self.shape))
            for name, part in zip(self.names, parts, strict=True)
        }

    def _read_one(self, read: Read, name: str, index: tuple[slice, ...]) -> np.ndarray:
        wanted = [index[place] for place in np.argsort(self.order)]  # for each single axis
        rows, rest, sizes = [], [], []
        for group in self.axes:
            own, wanted = wanted[: len(group)], wanted[len(group) :]
            start, stop, _ = own[0].indices(group[0])
            inner = int(np.prod(group[1:]))
            rows.append(slice(start * inner, stop * inner))
            sizes += [stop - start, *group[1:]]
            rest += [slice(None), *own[1:]]
        stored = read(name, tuple(rows))
        return stored.reshape(sizes)[tuple(rest)].transpose(self.order)


def stored_layout(found: Architecture) -> dict[str, Stored]:
    """For each parameter of the architecture, by name."""
    d, f, v = found.width, found.hidden, found.vocabulary
    layout = {"embedder.input_embedding": _as_is("model.embed_tokens.weight", v, d)}
    for number in range(found.layers):
        ours, theirs = f"layers.{number}", f"model.layers.{number}"
        make = _gemma_attention if found.family in GEMMAS else _split_attention
        layout |= make(found, f"{ours}.attn", f"{theirs}.self_attn")
        for part, sizes in (("gate_proj", (f, d)), ("up_proj", (f, d)), ("down_proj", (d, f))):
            layout[f"{ours}.mlp.{part}.kernel"] = _turned(f"{theirs}.mlp.{part}.weight", *sizes)
        for name, stored in _NORMS[found.family].items():
            layout[f"{ours}.{name}"] = _as_is(f"{theirs}.{stored}.weight", d)
    norm = "scale" if found.family in GEMMAS else "w"
    layout[f"final_norm.{norm}"] = _as_is("model.norm.weight", d)
    if not found.tied:
        layout["lm_head.w"] = _turned("lm_head.weight", v, d)
    return layout


def as_stored(
    found: Architecture, params: Mapping[str, Any], dtype: Any = np.float32
) -> Iterator[dict[str, np.ndarray]]:
    """The tensors of a Hugging Face file by name, parameter by parameter."""
    for name, stored in stored_layout(found).items():
        yield stored.write(np.asarray(params[name]).astype(dtype))


def may_be_ignored(name: str, found: Architecture) -> bool:
    """Tensors that some folders have and no computation needs."""
    return re.fullmatch(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\..*", name) is not None or (
        found.tied and name == "lm_head.weight"
    )


_NORMS = {
    "gemma2": {
        "pre_attention_norm.scale": "input_layernorm",
        "post_attn_norm.scale": "post_attention_layernorm",
        "pre_ffw_norm.scale": "pre_feedforward_layernorm",
        "post_ffw_norm.scale": "post_feedforward_layernorm",
    },
    "gemma3_text": {
        "pre_attention_norm.scale": "input_layernorm",
        "post_attention_norm.scale": "post_attention_layernorm",
        "pre_ffw_norm.scale": "pre_feedforward_layernorm",
        "post_ffw_norm.scale": "post_feedforward_layernorm",
    },
} | dict.fromkeys(
    ("llama", "qwen2", "qwen3"),
    {
        "input_layernorm.w": "input_layernorm",
        "post_attention_layernorm.w": "post_attention_layernorm",
    },
)


def _as_is(name: str, *shape: int) -> Stored:
    return Stored((name,), tuple((size,) for size in shape), tuple(range(len(shape))))


def _turned(name: str, rows: int, columns: int) -> Stored:
    return Stored((name,), ((rows,), (columns,)), (1, 0))


def _gemma_attention(found: Architecture, ours: str, theirs: str) -> dict[str, Stored]:
    d, n, k, h = found.width, found.heads, found.kv_heads, found.head_dim
    q, key, value = (f"{theirs}.{part}_proj.weight" for part in "qkv")
    order = (0, 2, 1)  # [N, H, D] -> [N, D, H]
    layout = {
        f"{ours}.attn_vec_einsum.w": Stored((f"{theirs}.o_proj.weight",), ((d,), (n, h)), (1, 2, 0))
    }
    if n == k:
        stacked = Stored((q, key, value), ((n, h), (d,)), order, stacked=True)
        layout[f"{ours}.qkv_einsum.w"] = stacked
    else:
        layout[f"{ours}.q_einsum.w"] = Stored((q,), ((n, h), (d,)), order)
        layout[f"{ours}.kv_einsum.w"] = Stored((key, value), ((k, h), (d,)), order, stacked=True)
    if found.family == "gemma3_text":
        layout[f"{ours}._query_norm.scale"] = _as_is(f"{theirs}.q_norm.weight", h)
        layout[f"{ours}._key_norm.scale"] = _as_is(f"{theirs}.k_norm.weight", h)
    return layout


def _split_attention(found: Architecture, ours: str, theirs: str) -> dict[str, Stored]:
    d, n, k, h = found.width, found.heads, found.kv_heads, found.head_dim
    layout = {f"{ours}.o_proj.w": Stored((f"{theirs}.o_proj.weight",), ((d,), (n, h)), (1, 2, 0))}
    for part, count in (("q", n), ("k", k), ("v", k)):
        stored = f"{theirs}.{part}_proj"
        # [N, H, D] -> [D, N, H]
        layout[f"{ours}.{part}_proj.w"] = Stored(
            (f"{stored}.weight",), ((count, h), (d,)), (2, 0, 1)
        )
        if found.family == "qwen2":
            layout[f"{ours}.{part}_bias"] = _as_is(f"{stored}.bias", count * h)
    if found.family == "qwen3":
        layout[f"{ours}.q_norm.w"] = _as_is(f"{theirs}.q_norm.weight", h)
        layout[f"{ours}.k_norm.w"] = _as_is(f"{theirs}.k_norm.weight", h)
    return layout
