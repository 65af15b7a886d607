"""The checksum of parameters: what changes it, and what does not."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from learner.fingerprint import lanes, number

ARRAYS = {
    "a": np.arange(24, dtype=np.float32).reshape(4, 6),
    "b": np.ones(3, np.float32),
    "steps": np.array(7, np.int32),
}
of = jax.jit(lanes)


def fingerprint(arrays):
    return number(of(arrays))


def test_the_sum_is_the_one_worked_out_by_hand():
    def scrambled(x):  # MurmurHash3's finalizer
        x %= 2**32
        x = (x ^ x >> 16) * 0x85EBCA6B % 2**32
        x = (x ^ x >> 13) * 0xC2B2AE35 % 2**32
        return x ^ x >> 16

    name = 0xE8B7BE43  # CRC-32 of "a"
    low = [scrambled(5 ^ scrambled(name)), scrambled(9 ^ scrambled(name + 1))]
    high = [scrambled(x + 0x9E3779B9) for x in low]
    expected = sum(low) % 2**32 + (sum(high) % 2**32 >> 12) * 2**32
    assert fingerprint({"a": np.array([5, 9], np.uint32)}) == expected


def test_any_bit_of_any_element_changes_it():
    seen = {fingerprint(ARRAYS)}
    for bit in range(32):
        for place in (0, 5, 23):
            changed = ARRAYS["a"].copy().reshape(-1).view(np.uint32)
            changed[place] ^= np.uint32(1 << bit)
            seen.add(fingerprint(ARRAYS | {"a": changed.view(np.float32).reshape(4, 6)}))
    assert len(seen) == 1 + 32 * 3


def test_names_and_places_count():
    whole = fingerprint(ARRAYS)
    assert fingerprint(ARRAYS | {"a": ARRAYS["a"][::-1].copy()}) != whole
    assert fingerprint({"a": ARRAYS["a"], "c": ARRAYS["b"], "steps": ARRAYS["steps"]}) != whole
    assert fingerprint({"a": np.float32([0.0])}) != fingerprint({"a": np.float32([-0.0])})


def test_devices_and_order_do_not_count():
    mesh = Mesh(np.array(jax.devices()).reshape(4), ("rows",))
    split = jax.device_put(ARRAYS["a"], NamedSharding(mesh, PartitionSpec("rows")))
    shared = {"steps": ARRAYS["steps"], "b": ARRAYS["b"], "a": split}
    assert fingerprint(shared) == fingerprint(ARRAYS) == number(lanes(ARRAYS))


def test_half_precision_counts_too():
    halves = {"a": jnp.arange(4, dtype=jnp.bfloat16)}
    assert fingerprint(halves) != fingerprint({"a": halves["a"].at[2].add(1)})
