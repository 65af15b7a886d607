"""A policy is cut, handed over and put together: the same bits, from any number of processes."""

import math
from collections import Counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from configs.schema import LearnerSection
from learner.pieces import Assembly, Damaged, content, hand_over, plan, pull_order
from learner.policy.sharding import make_mesh

SPECS = {
    "embedding": (P("tp", "fsdp"), (40, 12)),
    "gate": (P("fsdp", "tp"), (12, 16)),
    "heads": (P("tp", "fsdp", None), (4, 12, 3)),
    "inner": (P(None, None, "tp"), (3, 5, 8)),
    "norm": (P(), (7,)),
    "scale": (P(), ()),
}


class Device(NamedTuple):
    number: int
    process_index: int


class Seen:
    """A jax array as one of several processes sees it, each with as many of its devices."""

    def __init__(self, array, process, processes):
        per_process = len(jax.devices()) // processes
        self.array, self.shape, self.sharding = array, array.shape, self
        self.host_of = lambda device: device.id // per_process
        self.addressable_shards = [
            shard for shard in array.addressable_shards if self.host_of(shard.device) == process
        ]

    def devices_indices_map(self, shape):
        found = self.array.sharding.devices_indices_map(shape)
        return {Device(d.id, self.host_of(d)): index for d, index in found.items()}


def arrays_on(fsdp, tp, dtype):
    mesh = make_mesh(LearnerSection(fsdp=fsdp, tp=tp))
    rng = np.random.default_rng(0)
    return {
        name: jax.device_put(jnp.asarray(rng.normal(size=shape), dtype), NamedSharding(mesh, spec))
        for name, (spec, shape) in SPECS.items()
    }


def handed_over(arrays, processes, limit):
    """By each process what it hands over."""
    handed = []
    for process in range(processes):
        seen = {name: Seen(array, process, processes) for name, array in arrays.items()}
        size = next(iter(arrays.values())).dtype.itemsize
        pieces = plan(seen, size, limit)
        handed.append(hand_over(seen, process, pieces[process]))
    return handed


def put_together(handed, turn=0):
    assembly = Assembly([offer for offer, _ in handed])
    for which, number in pull_order([len(pieces) for _, pieces in handed], turn):
        assembly.add(which, number, handed[which][1][number])
    return assembly


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("limit", [40, 200, 10**6])
@pytest.mark.parametrize(
    ("fsdp", "tp", "dtype"),
    [
        (1, 1, "float32"),
        (2, 1, "bfloat16"),
        (2, 2, "float32"),
        (4, 1, "bfloat16"),
        (1, 4, "float32"),
    ],
)
def test_what_is_put_together_has_the_bits_of_what_was_cut(fsdp, tp, dtype, limit, processes):
    arrays = arrays_on(fsdp, tp, dtype)
    handed = handed_over(arrays, processes, limit)
    assembly = put_together(handed, turn=2)
    assert assembly.bytes == sum(array.nbytes for array in arrays.values()), "each part once"
    for name, whole in assembly.arrays().items():
        expected = np.asarray(arrays[name])
        assert whole.dtype == (np.uint16 if dtype == "bfloat16" else np.float32)
        np.testing.assert_array_equal(whole, expected.view(whole.dtype), strict=True)
    sizes = [sum(part.nbytes for part in piece) for _, pieces in handed for piece in pieces]
    assert max(sizes) <= limit


def test_what_all_processes_hold_is_dealt_out():
    """Data parallel: each of two has everything, and hands over half of the pieces."""
    (_, first), (_, second) = handed_over(arrays_on(1, 1, "float32"), 2, 200)
    assert abs(len(first) - len(second)) <= 1 and len(first) > 5


def test_each_process_hands_over_its_own_shards_alone():
    handed = handed_over(arrays_on(4, 1, "float32"), 4, 10**6)
    own = [Counter(s.name for piece in offer.pieces for s in piece) for offer, _ in handed]
    assert all(names["embedding"] == names["gate"] == names["heads"] == 1 for names in own)
    assert sum(names["norm"] for names in own) == 1


def test_a_small_policy_of_one_process_is_one_piece_and_is_not_copied():
    arrays = arrays_on(1, 1, "float32")
    ((offer, (piece,)),) = handed_over(arrays, 1, 10**6)
    assert len(offer.pieces) == 1
    assembled = put_together([(offer, [piece])]).arrays()
    for array, part in zip(assembled.values(), piece, strict=True):
        assert np.shares_memory(array, part)


def test_a_flipped_bit_is_found_and_a_sound_piece_is_taken_after_it():
    handed = handed_over(arrays_on(2, 2, "float32"), 2, 200)
    rng = np.random.default_rng(0)
    assembly = Assembly([offer for offer, _ in handed])
    for which, (_, pieces) in enumerate(handed):
        for number, parts in enumerate(pieces):
            broken = [part.copy() for part in parts]
            part = broken[rng.integers(len(broken))].view(np.uint8)
            part[rng.integers(part.size)] ^= 1 << rng.integers(8)
            with pytest.raises(Damaged, match=f"piece {number} of .* learner process {which}"):
                assembly.add(which, number, broken)
            assembly.add(which, number, parts)
    assembly.arrays()


def test_a_piece_in_another_ones_place_is_found():
    """Two layers' norms, say: of one size, with the same values."""
    arrays = {name: jnp.ones(8) for name in ("first", "second")}
    ((offer, pieces),) = handed_over(arrays, 1, 32)
    assert content(offer.pieces[0], pieces[0]) != content(offer.pieces[1], pieces[0])
    with pytest.raises(Damaged):
        Assembly([offer]).add(0, 0, pieces[1][:0])


def test_what_did_not_come_is_named():
    ((offer, pieces),) = handed_over(arrays_on(1, 1, "float32"), 1, 10**6)
    with pytest.raises(ValueError, match="parts of embedding and 5 others are missing"):
        Assembly([offer]).arrays()


@pytest.mark.parametrize("counts", [[1], [3, 5, 4], [7, 7]])
def test_actors_take_all_pieces_and_begin_at_different_ones(counts):
    orders = [pull_order(counts, turn) for turn in range(2 * len(counts))]
    every = [(which, n) for which, count in enumerate(counts) for n in range(count)]
    assert all(sorted(order) == every for order in orders)
    assert len({order[0] for order in orders}) == min(2 * len(counts), math.prod(counts))
