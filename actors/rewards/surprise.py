"""Figures of a text that a model has read: how surprised it was where, and what is said again.

A wrong number, a fact that was not given and an answer that does not follow surprise whoever has
read what stands before them; copies, loops and idle steps surprise too little or use nothing. The
second kind of figures counts tokens and needs no model.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

LARGEST = 4  # surprises that count one by one
LEVELS = (0.1, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)  # nats above which tokens are counted
RUNS = (2, 3, 4)  # tokens in a row
Spans = Sequence[Sequence[int]]


def figures(text: Spans, logprobs: np.ndarray) -> np.ndarray:
    """[F] of a question, steps and an answer; [T] log-probabilities of the tokens behind the
    question (reader.py)."""
    return np.array([*_surprises(text, -logprobs), *_counts(text)], np.float64)


def _surprises(text: Spans, surprise: np.ndarray) -> Iterator[float]:
    """Of the steps together, of the steps one by one, and of the answer; in nats."""
    ends = np.cumsum([0, *(len(span) for span in text[1:])])
    spans = [surprise[start:end] for start, end in pairwise(ends)]
    *steps, answer = (span if span.size else np.zeros(1) for span in spans)
    whole = np.concatenate(steps) if steps else np.zeros(1)
    largest = np.sort(np.pad(whole, (LARGEST, 0)))[: -LARGEST - 1 : -1]
    yield from (np.log(len(whole)), len(whole), len(steps), whole.sum(), whole.mean(), *largest)
    yield from ((whole > level).sum() for level in LEVELS)
    means, sums, most = (np.array([f(step) for step in steps or [whole]]) for f in _OF_A_STEP)
    yield from (means.max(), means.min(), means[0], means[-1], means.std())
    yield from (sums.max(), sums[-1], most[0], most[-1])
    yield from (answer.sum(), answer.max(), answer.mean())


_OF_A_STEP = (np.mean, np.sum, np.max)


def _counts(text: Spans) -> Iterator[float]:
    """Shares of tokens: copied from the question, said again, new, used, and of the answer's."""
    question, *steps, answer = map(list, text)
    said = [token for step in steps for token in step]
    yield _share(said, set(question))
    for length in RUNS:
        runs, asked = _runs(said, length), set(_runs(question, length))
        yield _share(runs, asked)
        yield 1 - len(set(runs)) / max(1, len(runs))
    before, new = set(question), []
    for step in steps or [[]]:
        new.append(1 - _share(step, before))
        before |= set(step)
    yield from (min(new), max(new), sum(new) / len(new), new[-1])
    yield _share(list(set(question)), set(said))
    yield from (_share(answer, set(part)) for part in (question, said, steps[-1] if steps else []))


def _runs(tokens: list[int], length: int) -> list[tuple[int, ...]]:
    return list(zip(*(tokens[n:] for n in range(length)), strict=False))


def _share(tokens: Sequence, among: set) -> float:
    """Of the tokens that are among those."""
    return sum(token in among for token in tokens) / max(1, len(tokens))
