"""Keys and values as a cache keeps them: as they were computed, in 16 bits, or in 8 with a scale.

In 8 bits the numbers of a head of one token share a scale, so that the largest of them is 127.
Kept is an array, or then a pair of arrays: whole numbers, and scales with a 1 in place of the head
size. What moves one of them about moves the other, so that `jax.tree.map` does for both.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Kept = Any  # an array; or (int8, float32)
_MOST = 127


def empty(shape: tuple[int, ...], dtype: str, axis: int) -> Kept:
    """Zeros; `axis` is that of the head's numbers, here and below."""
    if dtype != "int8":
        return jnp.zeros(shape, dtype)
    of_scales = (*shape[:axis], 1, *shape[axis + 1 :])
    return jnp.zeros(shape, jnp.int8), jnp.zeros(of_scales, jnp.float32)


def write(place: Callable, kept: Kept, x: jax.Array, axis: int) -> Kept:
    """The cache with keys or values put in: `place(old, new)` is done for each of its arrays."""
    if not isinstance(kept, tuple):
        return place(kept, x.astype(kept.dtype))
    x = x.astype(jnp.float32)
    scale = jnp.abs(x).max(axis, keepdims=True) / _MOST
    whole = jnp.round(x / jnp.where(scale == 0, 1, scale)).astype(jnp.int8)
    return place(kept[0], whole), place(kept[1], scale)


def numbers(kept: Kept, dtype) -> tuple[jax.Array, jax.Array | None]:
    """What a product takes, in `dtype`, and the scales of what it gives; None: there are none."""
    values, scale = kept if isinstance(kept, tuple) else (kept, None)
    return values.astype(dtype), scale


def restored(kept: Kept, dtype) -> jax.Array:
    """The keys or values in `dtype`, near to what they were."""
    values, scale = numbers(kept, dtype)
    return values if scale is None else (values * scale).astype(dtype)
