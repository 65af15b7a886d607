"""A policy on its way to rollout actors: cut where it lies, put together where it is used.

Each learner process hands over parts of its own shards, so that no process ever has the whole and
no link carries more than its share. What several processes hold is dealt out among them. Pieces are
small enough to travel side by side; each has a hash of its content (XXH3, 128 bits: against
accidents, not against forgers). Who puts them together looks at each piece as it comes; arrays that
lie in one piece are not copied.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xxhash

PIECE_BYTES = 32 * 2**20
_BITS = np.dtype(np.uint16)  # bfloat16 travels as its bits: as ml_dtypes arrays go by value

Place = tuple[tuple[int, int], ...]  # (start, stop) of each axis
Part = np.ndarray  # 1-D


class Segment(NamedTuple):
    """Elements `start` to `stop`, row by row, of the shard that lies at `place` of an array."""

    name: str
    place: Place
    start: int
    stop: int


Piece = tuple[Segment, ...]


@dataclass(frozen=True)
class Offer:
    """What a learner process hands over of a version, and how it is put together."""

    process: int
    shapes: Mapping[str, tuple[int, ...]]  # of the whole arrays, by name
    pieces: tuple[Piece, ...]
    hashes: tuple[str, ...]  # of each piece


class Damaged(ValueError):
    """A piece that is not what was handed over."""


def plan(arrays: Mapping[str, Any], itemsize: int, limit: int = PIECE_BYTES) -> list[list[Piece]]:
    """The pieces that each process of the learner hands over, by its number.

    `arrays`: jax arrays, or their shapes with shardings, that travel with `itemsize` bytes an
    element. The same on every process. A piece has at most `limit` bytes, and but for the last
    ones at least half of that.
    """
    shards: dict[tuple[int, ...], list[tuple[str, Place]]] = defaultdict(list)
    processes = {0}
    for name, array in arrays.items():
        holders: dict[Place, set[int]] = defaultdict(set)
        for device, index in array.sharding.devices_indices_map(array.shape).items():
            holders[_place(index, array.shape)].add(device.process_index)
        for place, of_shard in sorted(holders.items()):
            shards[tuple(sorted(of_shard))].append((name, place))
            processes |= of_shard
    found: list[list[Piece]] = [[] for _ in range(max(processes) + 1)]
    for holding, of_them in sorted(shards.items()):
        for number, piece in enumerate(_cut(of_them, limit // itemsize)):
            found[holding[number % len(holding)]].append(piece)
    return found


def _place(index: Sequence[slice], shape: Sequence[int]) -> Place:
    """Of a shard, from its slices."""
    return tuple(each.indices(size)[:2] for each, size in zip(index, shape, strict=True))


def _size(place: Place) -> int:
    return math.prod(stop - start for start, stop in place)


def _cut(shards: Sequence[tuple[str, Place]], limit: int) -> Iterator[Piece]:
    """Pieces of at most `limit` elements; a shard that fits into one is not cut."""
    piece: list[Segment] = []
    room = limit
    for name, place in shards:
        size = _size(place)
        if piece and size > room:
            yield tuple(piece)
            piece, room = [], limit
        parts = math.ceil(size / limit)
        ends = [size * number // parts for number in range(parts + 1)]
        for start, stop in zip(ends, ends[1:], strict=False):
            if piece and stop - start > room:
                yield tuple(piece)
                piece, room = [], limit
            piece.append(Segment(name, place, start, stop))
            room -= stop - start
    if piece:
        yield tuple(piece)


def hand_over(
    arrays: Mapping[str, Any], process: int, pieces: Sequence[Piece]
) -> tuple[Offer, list[tuple[Part, ...]]]:
    """An offer and its pieces, from the shards that lie on devices of this process."""
    shards = {
        (name, _place(shard.index, array.shape)): shard.data
        for name, array in arrays.items()
        for shard in array.addressable_shards
    }
    wanted = dict.fromkeys((part.name, part.place) for piece in pieces for part in piece)
    for key in wanted:
        shards[key].copy_to_host_async()
    here = {key: _flat(shards[key]) for key in wanted}
    cut = [tuple(here[s.name, s.place][s.start : s.stop] for s in piece) for piece in pieces]
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    hashes = tuple(content(piece, parts) for piece, parts in zip(pieces, cut, strict=True))
    return Offer(process, shapes, tuple(pieces), hashes), cut


def _flat(shard: Any) -> np.ndarray:
    values = np.asarray(shard).reshape(-1)
    return values.view(_BITS) if values.dtype.itemsize == _BITS.itemsize else values


def content(piece: Piece, parts: Sequence[Part]) -> str:
    """A hash of what a piece holds, and of where it belongs."""
    digest = xxhash.xxh3_128(repr(piece).encode())
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


class Assembly:
    """Puts the offers of all learner processes together, piece by piece in any order."""

    def __init__(self, offers: Sequence[Offer]):
        self._offers = offers
        self._arrays: dict[str, np.ndarray] = {}
        self._missing = {name: math.prod(shape) for name, shape in offers[0].shapes.items()}
        self.bytes = 0

    def add(self, which: int, number: int, parts: Sequence[Part]) -> None:
        """Take in piece `number` of an offer. Raises Damaged when it is not what was offered."""
        offer = self._offers[which]
        piece = offer.pieces[number]
        if content(piece, parts) != offer.hashes[number]:
            raise Damaged(
                f"piece {number} of {len(offer.pieces)} from learner process {offer.process} "
                "does not have the content that it was sent with"
            )
        for segment, part in zip(piece, parts, strict=True):
            self._write(offer.shapes[segment.name], segment, part)
            self._missing[segment.name] -= part.size
            self.bytes += part.nbytes

    def _write(self, shape: tuple[int, ...], segment: Segment, part: Part) -> None:
        name, place, start, stop = segment
        if part.size == math.prod(shape):
            self._arrays[name] = part.reshape(shape)
            return
        if name not in self._arrays:
            self._arrays[name] = np.empty(shape, part.dtype)
        whole = self._arrays[name]
        shard = whole[tuple(slice(*each) for each in place)]
        if shard.flags.c_contiguous:
            shard.reshape(-1)[start:stop] = part
        else:
            _write_rows(shard, start, part)

    def arrays(self) -> dict[str, np.ndarray]:
        """By name, once every piece was added."""
        if lacking := [name for name, missing in self._missing.items() if missing]:
            raise ValueError(f"parts of {lacking[0]} and {len(lacking) - 1} others are missing")
        return {name: self._arrays[name] for name in self._missing}


def _write_rows(shard: np.ndarray, start: int, part: Part) -> None:
    """Elements from `start` on of a shard that does not lie in one row: a rim, whole rows, a rim.

    `shard.flat[...]` would do the same, one element at a time.
    """
    row = math.prod(shard.shape[1:])
    done = 0
    while done < part.size:
        at, offset = divmod(start + done, row)
        if offset == 0 and part.size - done >= row:
            rows = (part.size - done) // row
            shard[at : at + rows] = part[done : done + rows * row].reshape(rows, *shard.shape[1:])
            done += rows * row
            continue
        taken = min(row - offset, part.size - done)
        inner, piece = shard[at], part[done : done + taken]
        if inner.flags.c_contiguous:
            inner.reshape(-1)[offset : offset + taken] = piece
        else:
            _write_rows(inner, offset, piece)
        done += taken


def pull_order(counts: Sequence[int], turn: int) -> list[tuple[int, int]]:
    """(offer, piece) of all pieces, in the order in which actor `turn` takes them.

    `counts`: pieces of each offer. Actors begin with different processes, and those that begin
    with the same one at different pieces, which others then have too.
    """
    offers = len(counts)
    order = []
    for step in range(offers):
        which = (turn + step) % offers
        first = int(counts[which] * _spread(turn // offers))
        order += [(which, (first + n) % counts[which]) for n in range(counts[which])]
    return order


def _spread(number: int) -> float:
    """From 0 to 1, for successive numbers far apart from all before (the golden ratio)."""
    return number * 0.6180339887498949 % 1.0
