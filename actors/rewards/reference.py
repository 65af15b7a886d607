"""What the rules know of a question: its words, its numbers, and its reference trace if it has one.

A reference step of up to TERSE tokens (`37 ends in 7`, `Sunday then Monday`) leaves no room for
other words: a step says the same only in its words and order. A longer one is compared by the words
that mean something, so that it can be said in another way.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from actors.rewards.orders import Pair, given_order, names_of, order_of
from actors.rewards.statements import (
    DENIALS,
    LINKS,
    Clause,
    clauses,
    exchanged,
    opposed,
    stated,
    swapped,
)
from actors.rewards.steps import Step, content, read_steps, tokenize
from actors.rewards.words import meaning, stem

TERSE = 5  # tokens
COPIED_RUN = 4  # tokens in the question's order that are taken for a copy
SAME = 0.7  # share of common words at which two steps say the same
TURNED = 0.7  # what is left where the words are the same but their order or a "not" is another
CONTRARY = 0.3  # where one says the opposite of the other
SAME_ORDER = 0.9  # at least, where both say who comes before whom, and agree
NEGATORS = frozenset(("no", "not", "never", "none", "cannot", "without", "nobody", "nothing"))
FACTORS = frozenset(("x", "/"))  # operators
OFFERED = re.compile(r"(\w+),? or (?:(?:at|in|to|the|a|an) )*(\w+)")
ONE = frozenset("1")  # the next one, and the one before
CONSTANTS = frozenset(
    ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10")
    + ("12", "24", "30", "52", "60", "100", "360", "365", "1000")
)
"""Factors and divisors that need no source where no reference says which ones are needed."""


@dataclass(frozen=True, slots=True)
class Reference:
    steps: tuple[Step, ...]
    said: frozenset[tuple[str, ...]]  # tokens of each step
    prose: bool  # the reference has steps that can be said in other words
    terse: bool  # there is a reference, and it has none
    computed: int  # steps that are equations
    operators: frozenset[str]
    comparisons: bool
    question_tokens: tuple[str, ...]
    question_runs: frozenset[tuple[str, ...]]  # of COPIED_RUN tokens
    known: frozenset[str]  # content of the question
    constants: frozenset[str]  # numbers that a trace may bring along, as factors and divisors ...
    terms: frozenset[str]  # ... and in sums and comparisons
    needed: frozenset[str]  # facts of the question that the reference uses
    words: frozenset[str]  # of the reference's steps
    answer: tuple[str, ...]  # tokens
    names: frozenset[str]  # in the question
    order: frozenset[Pair]  # who comes before whom, as the question says it
    stated: tuple[Clause, ...]  # by the question
    facts: frozenset[str]  # words of what it states
    focus: frozenset[str]  # words of what it asks
    offered: frozenset[str]  # what it asks to choose from: "the red or the blue one"


@lru_cache(maxsize=4096)
def read_reference(prompt: str, reasoning: str, answer: str) -> Reference:
    """Cached: the siblings of a group are judged against the same question."""
    steps = read_steps(reasoning)
    asked = tokenize(prompt)
    known = content(asked)
    used = frozenset().union(*(step.givens for step in steps)) if steps else known
    needed = known & used
    numbers = frozenset(filter(is_number, needed))
    # Beside numbers, shared words are wording; without a reference they always are.
    needed = numbers if numbers or not steps else needed
    computed = [step for step in steps if step.form != "text"]
    brought = list(_brought(computed, known))
    factors = frozenset(number for step, number in brought if step.operators & FACTORS)
    terms = frozenset(
        number for step, number in brought if not step.operators or step.operators - FACTORS
    )
    prose = any(step.form == "text" and len(step.tokens) > TERSE for step in steps)
    return Reference(
        steps=steps,
        said=frozenset(step.tokens for step in steps),
        prose=prose,
        terse=bool(steps) and not prose,
        computed=sum(step.form == "equation" for step in steps),
        operators=frozenset().union(*(step.operators for step in steps)),
        comparisons=any(step.form == "comparison" for step in steps),
        question_tokens=asked,
        question_runs=frozenset(_runs(asked)),
        known=known,
        constants=factors if steps else CONSTANTS,
        terms=terms if steps else ONE,
        needed=needed,
        words=frozenset().union(*(step.tokens for step in steps)),
        answer=tokenize(answer),
        names=names_of(prompt),
        order=given_order(prompt),
        stated=stated(prompt),
        facts=stems(tokenize(prompt.removesuffix(_asked(prompt) + "?"))),
        focus=stems(tokenize(_asked(prompt))),
        offered=frozenset(
            word for pair in OFFERED.findall(_asked(prompt).lower()) for word in pair
        ),
    )


def _brought(computed: Sequence[Step], known: frozenset[str]) -> Iterator[tuple[Step, str]]:
    """Numbers that neither the question nor an earlier step has given when they are used."""
    by_then = set(known)
    for step in computed:
        yield from ((step, number) for number in step.givens - by_then)
        by_then |= step.givens | {step.result}


def _asked(prompt: str) -> str:
    """The last sentence that ends with a question mark; the whole prompt where none does."""
    asking, mark, _ = prompt.rpartition("?")
    return re.split(r"[.!?]", asking)[-1] if mark else prompt


def _runs(tokens: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [tokens[n : n + COPIED_RUN] for n in range(len(tokens) - COPIED_RUN + 1)]


def own_words(step: Step, reference: Reference) -> frozenset[str]:
    """Content of a step without the runs of words that it takes from the question."""
    copied: set[int] = set()
    for place, run in enumerate(_runs(step.tokens)):
        if run in reference.question_runs:
            copied.update(range(place, place + COPIED_RUN))
    return content(tuple(t for n, t in enumerate(step.tokens) if n not in copied))


def is_number(token: str) -> bool:
    return token[-1].isdigit()


def stems(tokens: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(stem, content(tokens)))


def likeness(step: Step, other: Step, names: frozenset[str]) -> float:
    """How much two steps of prose say the same, from 0 to 1.

    The share of their words that both have; little where what both say stands in another order, or
    where one denies what the other says. Where both say which of the `names` comes before which
    other one, in whatever words, that decides.
    """
    if step.tokens == other.tokens:
        return 1.0
    ours, theirs = _meant(step.tokens), _meant(other.tokens)
    common = len(ours & theirs) / max(1, len(ours | theirs))
    alike = min(1.0, common / SAME)
    if (agreed := _same_order(step.text, other.text, names)) is not None:
        return max(alike, SAME_ORDER) if agreed else alike * CONTRARY
    said, wanted = clauses(step.text), clauses(other.text)
    if opposed(said, wanted) or exchanged(said, wanted) or swapped(said, wanted, names):
        return alike * CONTRARY
    if not _in_order(step.tokens, other.tokens):
        alike *= TURNED
    return alike if denies(step.tokens) == denies(other.tokens) else alike * TURNED


def _meant(tokens: tuple[str, ...]) -> frozenset[str]:
    """What the words mean that say something: an opposite is another word."""
    said = map(meaning, content(tokens) - DENIALS - LINKS)
    return frozenset(f"-{word}" if turned else word for word, turned in said)


def _same_order(text: str, other: str, names: frozenset[str]) -> bool | None:
    """None where the two do not speak of the same two names."""
    ours, theirs = order_of(text, names), order_of(other, names)
    if any((kind, b, a) in theirs for kind, a, b in ours):
        return False
    return True if ours & theirs else None


def denies(tokens: tuple[str, ...]) -> bool:
    return any(token in NEGATORS for token in tokens)


def _in_order(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """The words that both use stand in the same order; what only one says does not matter."""
    shared = content(first) & content(second)
    a, b = ([token for token in tokens if token in shared] for tokens in (first, second))
    short, long = sorted((a, b), key=len)
    rest = iter(long)
    return all(token in rest for token in short)


def places(wanted: tuple[str, ...], tokens: tuple[str, ...]) -> set[int]:
    """Where the tokens occur as one run."""
    if not wanted or wanted[0] not in tokens:
        return set()
    starts = range(len(tokens) - len(wanted) + 1)
    return {start for start in starts if tokens[start : start + len(wanted)] == wanted}
