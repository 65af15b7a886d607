"""Policy weights on their way from the learner to rollout actors, on a real local cluster."""

import ctypes
import threading
from copy import copy

import numpy as np
import pytest
import ray

from cluster.weights import WeightStore
from cluster.workers import start_actor
from configs.errors import RunError
from learner.pieces import Offer, Segment, content

pytestmark = pytest.mark.ray


def test_weights_come_by_version(connection):
    store = WeightStore(keep=2, node_id=connection.nodes[0])
    publish = lambda n: store.publish(n, [exported(np.full(3, n))])  # noqa: E731
    threading.Timer(0.3, publish, [0]).start()
    np.testing.assert_array_equal(store.fetch(0, 20.0, 0)["w"], [0, 0, 0])
    publish(1)
    publish(2)
    with pytest.raises(LookupError, match=r"version 0 was dropped; kept: \[1, 2\]"):
        store.fetch(0, 1.0, 0)
    with pytest.raises(TimeoutError, match="version 7 was not published"):
        store.fetch(7, 0.1, 0)
    replaced = copy(store)
    store.renew(2)
    with pytest.raises(RunError, match="policy version 3 by the learner of epoch 0 is refused"):
        replaced.publish(3, [exported(np.zeros(3))])
    publish(3)
    np.testing.assert_array_equal(store.fetch(3, 1.0, 0)["w"], [3, 3, 3])


def exported(w, pieces=1):
    """References to what a learner process hands over: an array in so many pieces."""
    ends = [len(w) * number // pieces for number in range(pieces + 1)]
    whole = ((0, len(w)),)
    cut = [(Segment("w", whole, *each),) for each in zip(ends, ends[1:], strict=False)]
    parts = [(w[piece[0].start : piece[0].stop],) for piece in cut]
    hashes = tuple(content(*each) for each in zip(cut, parts, strict=True))
    return [ray.put(Offer(0, {"w": w.shape}, tuple(cut), hashes)), *map(ray.put, parts)]


class Pulls:
    """On another host than the learner's, with a copy of a piece there; one bit may flip."""

    def pull(self, store, boxed, flipped):
        if flipped:
            (part,) = ray.get(boxed[0])
            ctypes.c_uint8.from_address(part.ctypes.data).value ^= 1
        return store.fetch(0, 5.0, 1)["w"]


def test_a_damaged_piece_is_read_again_from_where_it_is_sound(connection):
    """Seven pieces of 256 kB go to the other host; with the source damaged, no copy helps."""
    store = WeightStore(keep=2, node_id=connection.nodes[0])
    w = np.random.default_rng(0).integers(0, 9, 7 * 2**16).astype(np.int32)
    handed = exported(w, 7)
    store.publish(0, [handed])
    actor = start_actor(Pulls, connection, 1, (), {})
    for flipped in (False, True):
        back = ray.get(actor.pull.remote(store, [handed[3]], flipped))
        np.testing.assert_array_equal(back, w)
    (part,) = ray.get(handed[3])
    ctypes.c_uint8.from_address(part.ctypes.data).value ^= 2
    with pytest.raises(RunError, match="piece 2 of 7 from learner process 0 .* read again it is"):
        store.fetch(0, 5.0, 1)
