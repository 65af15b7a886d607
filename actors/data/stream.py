"""The order in which rows are asked: a seeded permutation for each epoch, and a cursor.

The stream is a pure function of (num_rows, seed); its cursor is all that a checkpoint must keep.
"""

import numpy as np


class PromptStream:
    """Endless stream of rows. `cursor` is the index that the next `take` starts with."""

    def __init__(self, num_rows: int, seed: int, cursor: int = 0):
        if num_rows < 1:
            raise ValueError(f"a prompt stream needs at least one row, got {num_rows}")
        if cursor < 0:
            raise ValueError(f"cursor = {cursor} must not be negative")
        self.num_rows, self.seed, self.cursor = num_rows, seed, cursor
        self._epoch = -1
        self._rows = np.empty(0, np.int64)  # [num_rows], the permutation of the current epoch

    def take(self, n: int) -> list[tuple[int, int]]:
        """The next n pairs (index in the stream, row of the table)."""
        indices = range(self.cursor, self.cursor + n)
        self.cursor += n
        return [(index, self._row(index)) for index in indices]

    def _row(self, index: int) -> int:
        epoch, place = divmod(index, self.num_rows)
        if epoch != self._epoch:
            self._rows = np.random.default_rng((self.seed, epoch)).permutation(self.num_rows)
            self._epoch = epoch
        return int(self._rows[place])
