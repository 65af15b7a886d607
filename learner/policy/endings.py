"""When a completion ends, and what its text has to do with it.

Stop tokens and the last budget end a slot on the device, in the middle of a chunk; what depends on
the text is looked for between chunks, and what was drawn behind it is dropped.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from learner.policy.slots import NOT_GIVEN

TextEnd = Callable[[np.ndarray, int], int]
"""(tokens, number of those that were looked at before) -> tokens up to a string, or 0."""


class Budget(NamedTuple):
    """New tokens of a completion. The answer's count from where reasoning was closed, if the two
    are kept apart; else their sum counts."""

    reasoning: int
    answer: int

    @property
    def total(self) -> int:
        return self.reasoning + self.answer


class Endings(NamedTuple):
    """How completions end. `closed` finds the closing tag of reasoning."""

    stops: tuple[int, ...] = ()  # ids
    text_end: TextEnd | None = None  # finds stop strings
    closed: TextEnd | None = None
    written: tuple[int, ...] = ()  # what closes reasoning where a permit asks for it

    def cut_at(self, tokens: np.ndarray, seen: int) -> int:
        """The number of tokens up to a stop string; 0: there is none."""
        return self.text_end(tokens, seen) if self.text_end else 0


class Course:
    """Where a completion stands whose budgets are kept apart.

    `limit`: tokens that there may be. Where a closing tag may have to be written, they are those of
    reasoning until it is closed: a slot must not draw on before.
    """

    def __init__(self, budget: Budget, endings: Endings, write: bool):
        self._budget, self._endings = budget, endings
        self._written = np.array(endings.written if write else (), np.int32)
        self._writes_from = -1  # number of the first token that is written
        self.limit = budget.reasoning if write else budget.total
        self._closed = False

    def follow(self, tokens: np.ndarray, seen: int) -> int:
        """Look at what was drawn; how many of the tokens count.

        A completion with `limit` tokens ends.
        """
        if not self._closed:
            self._close(tokens[: self._budget.reasoning], seen)
        return min(len(tokens), self.limit)

    def _close(self, reasoning: np.ndarray, seen: int) -> None:
        assert self._endings.closed is not None
        if found := self._endings.closed(reasoning, seen):
            self._closed, self.limit = True, found + self._budget.answer
        elif len(reasoning) == self._budget.reasoning:
            self._closed, self.limit = True, len(reasoning)
            if len(self._written):
                self._writes_from, self.limit = len(reasoning), self._budget.total

    def given(self, drawn: int, count: int) -> np.ndarray:
        """[count] int32: the tokens behind the first `drawn` ones that are written."""
        found = np.full(count, NOT_GIVEN, np.int32)
        if self._writes_from >= 0:
            places = self._writes_from - drawn + np.arange(len(self._written))
            inside = (places >= 0) & (places < count)
            found[places[inside]] = self._written[inside]
        return found
