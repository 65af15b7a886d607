"""A checksum of arrays that is cheap enough to take after every step.

It is a sum over all elements, modulo 2^32 and in two lanes, of each element's bits scrambled with
its name and place. Sums of integers do not depend on their order, so the same values give the same
checksum on any number of devices, hosts and threads; a change of one element always changes it, and
any other change goes unseen about once in 2^52. It guards against accidents, not against forgers:
for those there is the SHA-256 of the parameters in `summary.json`.
"""

import hashlib
import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_SECOND_LANE = 0x9E3779B9


def lanes(arrays: Mapping[str, jax.Array | np.ndarray]) -> jax.Array:
    """[2] uint32 of arrays with 2 or 4 bytes an element.

    As it is, it compiles once for each shape; inside `jax.jit` it is one program, twice as fast.
    """
    seeds = {name: np.uint32(zlib.crc32(name.encode())) for name in arrays}
    return _total([_lanes(array, seeds[name]) for name, array in arrays.items()])


def of_trees(trees: Mapping[str, Any]) -> float:
    """The checksum of whole trees: a leaf is named by its path, whatever the containers are."""
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    path_of = partial(jax.tree_util.keystr, simple=True, separator="/")
    return of_arrays({path_of(path): leaf for path, leaf in leaves})


def of_arrays(arrays: Mapping[str, jax.Array | np.ndarray]) -> float:
    return number(jax.device_get(lanes(arrays)))


def sha256(arrays: Mapping[str, np.ndarray]) -> str:
    """Of whole arrays, ordered by name."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def number(pair: Any) -> float:
    """The lanes as one whole number below 2^52, which a float64 and a JSON file hold exactly."""
    low, high = (int(lane) for lane in pair)
    return float(low | (high >> 12) << 32)


@jax.jit
def _lanes(array: jax.Array, seed: jax.Array) -> jax.Array:
    bits = _bits(array)
    first = _scrambled(bits ^ _scrambled(_places(bits.shape) + seed))
    second = _scrambled(first + jnp.uint32(_SECOND_LANE))
    # both in one pass: XLA:CPU would scramble the first lane again for the second one's sum
    zero = jnp.uint32(0)
    sums = jax.lax.reduce((first, second), (zero, zero), _add_pairs, tuple(range(bits.ndim)))
    return jnp.stack(sums)


def _add_pairs(sums, values):
    return sums[0] + values[0], sums[1] + values[1]


@jax.jit
def _total(pairs: list[jax.Array]) -> jax.Array:
    return jnp.sum(jnp.stack(pairs), axis=0)


def _bits(x: jax.Array) -> jax.Array:
    unsigned = {2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    return jax.lax.bitcast_convert_type(x, unsigned).astype(jnp.uint32)


def _places(shape: tuple[int, ...]) -> jax.Array:
    """The row-major place of each element, without a reshape that would gather the shards."""
    place = jnp.zeros(shape, jnp.uint32)
    for axis, size in enumerate(shape):
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    return place


def _scrambled(x: jax.Array) -> jax.Array:
    """The finalizer of MurmurHash3: one to one, and every bit depends on every bit."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
