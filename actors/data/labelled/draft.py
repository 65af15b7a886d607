"""What a template of labelled questions gives; none of them is a training question.

A draft holds a reference trace, a good trace in other words, and what a flawed one needs to know: a
wrong answer, a step that says something wrong, a step whose facts are altered, a step that the
trace cannot do without, and two steps whose order matters. Templates of the split "tune" may be
looked at when a rubric is made; those of "test" are there to measure it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

NAMES = ("Nora", "Emil", "Yusuf", "Clara", "Pavel", "Ines", "Hugo", "Rosa")


@dataclass(frozen=True, slots=True)
class Draft:
    """A question with its traces. Steps carry no numbers; indices count the good trace's steps."""

    prompt: str
    reference: tuple[str, ...]
    good: tuple[str, ...]
    answer: str
    wrong_answer: str
    wrong: tuple[int, str]  # a step that says something wrong
    altered: tuple[int, str]  # a step with other numbers or names than were given
    needed: int  # a step that a later one rests on
    ordered: tuple[int, int]  # the second rests on the first
    verifier: str = "auto"


Template = Callable[[random.Random], Draft]


def off(rng: random.Random, value: int) -> int:
    """Another number near by."""
    return value + rng.choice((-2, -1, 1, 2, 10))


def far_off(rng: random.Random, value: int) -> int:
    """Another round number."""
    return value + rng.choice((-10, 5, 10, 20))
