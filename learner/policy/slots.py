"""Where prompts and completions lie in an engine's cache, and what of it a chunk reads.

Pure numpy. S = slots, R = prompts in progress, G = siblings that may share a prompt, B = blocks of
a slot, T = tokens of a chunk; R' = prompts and A = blocks that it reads; N = prompts of a prefill.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cluster.messages import Permit
from configs.schema import RolloutSection

# prompts in progress for each group that fills the slots: ragged groups overlap
_ROWS_PER_GROUP = 2
_BLOCK = 64  # tokens, about
_LEVELS = 4  # sizes of what a chunk reads; each is a program
_SHORTEST = 32  # tokens of the shortest prefill
NOT_GIVEN = -1
_PIECE = 1024  # tokens of a longer prompt that are read at a time
_PREFILL_TOKENS = 256  # of a batch of short prompts, about: products of that size run at full speed


class Slots(NamedTuple):
    """What a decoder needs to know of each slot; a slot is dead when position >= limit."""

    last: np.ndarray  # [S] int32, the token that it reads next
    position: np.ndarray  # [S] int32, where that token stands
    limit: np.ndarray  # [S] int32, the position at which its budget ends
    drawn: np.ndarray  # [S] int32, tokens sampled so far
    row: np.ndarray  # [S] int32, where its prompt is cached
    seat: np.ndarray  # [S] int32, its number among the siblings of that prompt
    start: np.ndarray  # [S] int32, the position of the last token of its prompt
    name: np.ndarray  # [S, 3] uint32, seed, stream, index; with the seat, its randomness
    temperature: np.ndarray  # [S] float32
    # what follows is read where the shape says `restrained` only
    top_k: np.ndarray  # [S] int32, the number of likeliest tokens that may be drawn
    top_p: np.ndarray  # [S] float32
    min_p: np.ndarray  # [S] float32
    given: np.ndarray  # [S, T] int32, tokens of this chunk that are written; NOT_GIVEN: drawn

    @staticmethod
    def empty(slots: int, chunk: int) -> "Slots":
        return Slots(
            *(np.zeros(slots, np.int32) for _ in range(7)),
            name=np.zeros((slots, 3), np.uint32),
            temperature=np.ones(slots, np.float32),
            top_k=np.zeros(slots, np.int32),
            top_p=np.ones(slots, np.float32),
            min_p=np.zeros(slots, np.float32),
            given=np.full((slots, chunk), NOT_GIVEN, np.int32),
        )

    @property
    def live(self) -> np.ndarray:
        return self.position < self.limit

    def occupy(self, slot: int, permit: Permit, seat: int, room: int) -> None:
        """Begin a completion of up to `room` tokens."""
        # the last prompt token is decoded: its logits give the first token of the completion
        self.last[slot] = permit.tokens[-1]
        self.start[slot] = self.position[slot] = len(permit.tokens) - 1
        self.limit[slot] = self.position[slot] + room
        self.drawn[slot], self.seat[slot] = 0, seat
        self.name[slot, 1:] = zlib.crc32(permit.stream.encode()), permit.index
        self.temperature[slot] = permit.temperature
        restraint = permit.restraint
        self.top_k[slot], self.top_p[slot] = restraint.top_k, restraint.top_p
        self.min_p[slot], self.given[slot] = restraint.min_p, NOT_GIVEN

    def rewind(self, slot: int, count: int, last: int) -> None:
        """Forget the last `count` tokens; `last` is the one before them."""
        self.position[slot] -= count
        self.drawn[slot] -= count
        self.last[slot] = last


class Reading(NamedTuple):
    """What a chunk reads of the cache, and for whom. All int32."""

    rows: np.ndarray  # [R'] prompts
    slots: np.ndarray  # [R', G] who sits there; anyone where nobody does
    seats: np.ndarray  # [S] of each slot among the R' G seats
    blocks: np.ndarray  # [A]
    owners: np.ndarray  # [A] the slot of each block
    places: np.ndarray  # [S, B] of a slot's blocks among the A


@dataclass(frozen=True)
class Shape:
    """Sizes of an engine. `rows` are the prompts that may be in progress at one time."""

    slots: int
    seats: int
    rows: int
    prompt: int
    new: int
    chunk: int
    piece: int
    cache_dtype: str  # of keys and values that are kept
    restrained: bool = False  # tokens are drawn, or written, as `messages.Restraint` says

    def kind(self, alone: bool, restrained: bool) -> "Shape":
        """For prompts of one completion each (`alone`), so that they fill the slots as well."""
        if alone:
            return replace(self, seats=1, rows=self.slots, restrained=restrained)
        return replace(self, restrained=restrained)

    @property
    def block(self) -> int:
        """A multiple of the chunk, so that a chunk ends inside one block."""
        chunks = min(max(1, _BLOCK // self.chunk), -(-self.new // self.chunk))
        return chunks * self.chunk

    @property
    def blocks(self) -> int:
        """Of a slot."""
        return -(-self.new // self.block)

    @property
    def levels(self) -> list[tuple[int, int]]:
        """(prompts, blocks) that the programs read, ascending; the last is everything."""
        # a short prompt and a single block are not worth a program
        count = _LEVELS if self.blocks > 1 else 2 if self.prompt > _BLOCK else 1
        all_blocks = self.slots * self.blocks
        return [
            (
                -(-self.rows * number // count),
                -(-all_blocks * number // count) if self.blocks > 1 else all_blocks,
            )
            for number in range(1, count + 1)
        ]

    @property
    def places(self) -> int:
        """Of a prompt in the cache: those that are read in pieces fill whole ones."""
        return (
            self.prompt if self.prompt <= self.piece else -(-self.prompt // self.piece) * self.piece
        )

    @property
    def prompt_lengths(self) -> list[int]:
        """Padded lengths at which prompts of up to a piece are read at once, ascending. A prompt's
        own length decides."""
        lengths = [min(self.prompt, self.piece)]
        while lengths[0] // 2 >= _SHORTEST and len(lengths) < 3:
            lengths.insert(0, -(-lengths[0] // 2))
        return lengths

    def empty_batch(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Prompts [N, length] int32 and their rows [N]; row R is nowhere."""
        size = max(1, min(self.rows, _PREFILL_TOKENS // length))
        return np.zeros((size, length), np.int32), np.full(size, self.rows, np.int32)

    def batches(
        self, prompts: Sequence[np.ndarray], rows: Sequence[int]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """(padded length, prompts, rows) of each prefill.

        The shape that a prompt is read in depends on its own length only: another changes bits.
        """
        by_length: dict[int, list[int]] = {}
        for number, prompt in enumerate(prompts):
            if len(prompt) > self.piece:
                continue
            length = next(n for n in self.prompt_lengths if n >= len(prompt))
            by_length.setdefault(length, []).append(number)
        for length, members in by_length.items():
            size = len(self.empty_batch(length)[1])
            for start in range(0, len(members), size):
                tokens, targets = self.empty_batch(length)
                for place, number in enumerate(members[start : start + size]):
                    tokens[place, : len(prompts[number])] = prompts[number]
                    targets[place] = rows[number]
                yield length, tokens, targets

    def pieces(
        self, prompts: Sequence[np.ndarray], rows: Sequence[int]
    ) -> Iterator[tuple[np.ndarray, np.int32, np.int32]]:
        """(tokens [piece], row, position of the first) of what is read of longer prompts."""
        for prompt, row in zip(prompts, rows, strict=True):
            for start in range(0, len(prompt) if len(prompt) > self.piece else 0, self.piece):
                part = prompt[start : start + self.piece]
                tokens = np.zeros(self.piece, np.int32)
                tokens[: len(part)] = part
                yield tokens, np.int32(row), np.int32(start)

    def empty_piece(self) -> tuple[np.ndarray, np.int32, np.int32]:
        return np.zeros(self.piece, np.int32), np.int32(0), np.int32(0)

    def level_for(self, state: Slots) -> int:
        """The number of the smallest level that holds what the live slots read."""
        rows = len(np.unique(state.row[state.live]))
        blocks = int(self._used_blocks(state).sum())
        return next(
            number
            for number, (most_rows, most_blocks) in enumerate(self.levels)
            if rows <= most_rows and blocks <= most_blocks
        )

    def reading(self, state: Slots, level: int) -> Reading:
        """What a chunk of this level reads for these slots."""
        row_count, block_count = self.levels[level]
        live = np.flatnonzero(state.live)
        rows = np.zeros(row_count, np.int64)
        if row_count == self.rows:
            rows = np.arange(row_count)
        else:
            taken = np.unique(state.row[live])
            rows[: len(taken)] = taken
        place_of_row = np.zeros(self.rows, np.int64)
        place_of_row[rows[::-1]] = np.arange(row_count)[::-1]  # of a row that is twice, the first
        seats = place_of_row[state.row] * self.seats + state.seat
        slots = np.zeros(row_count * self.seats, np.int64)
        slots[seats[live]] = live
        blocks, places = self._blocks(state, block_count)
        parts = (rows, slots.reshape(row_count, -1), seats, blocks, blocks // self.blocks, places)
        return Reading(*(part.astype(np.int32) for part in parts))

    def _blocks(self, state: Slots, count: int) -> tuple[np.ndarray, np.ndarray]:
        if count == self.slots * self.blocks:
            everything = np.arange(count)
            return everything, everything.reshape(self.slots, self.blocks)
        taken_SB = np.arange(self.blocks) < self._used_blocks(state)[:, None]
        blocks = np.zeros(count, np.int64)
        blocks[: taken_SB.sum()] = np.flatnonzero(taken_SB)
        places = (np.cumsum(taken_SB) - 1).reshape(taken_SB.shape)
        return blocks, np.where(taken_SB, places, 0)

    def _used_blocks(self, state: Slots) -> np.ndarray:
        """[S] blocks that hold tokens; none for a dead slot."""
        own = np.where(state.live, state.position - state.start, 0)
        return -(-own // self.block)


def shape_of(section: RolloutSection, compute_dtype: str) -> Shape:
    """The sizes of the engine of a configuration, for a model that computes in this dtype."""
    return Shape(
        slots=section.slots,
        seats=section.group_size,
        rows=_ROWS_PER_GROUP * -(-section.slots // section.group_size),
        prompt=section.max_prompt_tokens,
        new=section.max_new_tokens,
        chunk=section.chunk,
        piece=_PIECE,
        cache_dtype=section.cache_dtype or compute_dtype,
    )
