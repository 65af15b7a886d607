"""Twelve kinds of tiny synthetic questions in four domains, with their traces and their split.

A kind asks in several variants (a verb, a superlative, a phrasing). What a question is about is its
key: the operands, the compared pair, the words in their order. Keys are hashed, and about one in
five is held out; kinds that share an operation share the key, so `38 + 1` is held out of plain sums
and of word problems alike. Facts have no operands to hold out: of each fact one phrasing is.
"""

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

NAMES = ("Tom", "Ann", "Sam", "Lily", "Ben", "Mia", "Max", "Eva")
THINGS = ("coins", "books", "pens", "eggs", "cards", "cups")
WORDS = ("sun", "cat", "map", "red", "box", "tree", "fish", "lamp", "door", "milk", "ring", "star")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SYMBOLS = {
    "iron": "Fe",
    "gold": "Au",
    "silver": "Ag",
    "copper": "Cu",
    "tin": "Sn",
    "lead": "Pb",
    "sodium": "Na",
    "zinc": "Zn",
    "helium": "He",
    "neon": "Ne",
}
SYMBOL_PHRASINGS = (
    "Symbol of {element}?",
    "What is the symbol of {element}?",
    "Give the symbol for {element}.",
    "How do we write {element}?",
    "Name the symbol of {element}.",
)
DAY_PHRASINGS = (
    "Which day is {side} {day}?",
    "What day comes {side} {day}?",
    "Name the day {side} {day}.",
    "The day {side} {day} is?",
)
OPERATOR_OF_VERB = {
    "gets": "+",
    "loses": "-",
    "eats": "-",
    "heated": "+",
    "cooled": "-",
    "chilled": "-",
}
ASKS_FOR_HIGHER = {
    "larger": True,
    "smaller": False,
    "lower": False,
    "hotter": True,
    "colder": False,
    "cooler": False,
}
LARGEST_SECOND_OPERAND = 3
HELD_OUT_ONE_IN = 5


@dataclass(frozen=True, slots=True)
class SyntheticQuestion:
    """One question with its trace: `steps` without numbers, `key` as the split reads it."""

    kind: str
    prompt: str
    steps: tuple[str, ...]
    answer: str
    key: str
    held_out: bool
    verifier: str = "choice"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind is drawn with `weight` among its domain's kinds, then one of its variants."""

    domain: str
    weight: int
    variants: tuple[str, ...]
    make: Callable[[str, random.Random], SyntheticQuestion]


def is_held_out(key: str) -> bool:
    """The same answer on every machine and in every version of Python, unlike `hash`."""
    return zlib.crc32(key.encode()) % HELD_OUT_ONE_IN == 0


def _operands(operator: str, rng: random.Random) -> tuple[int, int]:
    """Two digits and one digit whose sum or difference needs no carry."""
    second = rng.randint(1, LARGEST_SECOND_OPERAND)
    tens = rng.randint(1, 7) * 10
    if operator == "+":
        return tens + rng.randint(1, 9 - second), second
    return tens + rng.randint(second + 1, 9), second


def _arithmetic(kind: str, prompt: str, operator: str, rng: random.Random) -> SyntheticQuestion:
    """A question of one sum or difference; `prompt` holds {a} and {b}."""
    a, b = _operands(operator, rng)
    result = a + b if operator == "+" else a - b
    key = f"{operator}{a},{b}"
    step = f"{a} {operator} {b} = {result}"
    prompt = prompt.format(a=a, b=b)
    return SyntheticQuestion(kind, prompt, (step,), str(result), key, is_held_out(key), "number")


def _add(variant: str, rng: random.Random) -> SyntheticQuestion:
    return _arithmetic("add", variant, "+", rng)


def _sub(variant: str, rng: random.Random) -> SyntheticQuestion:
    return _arithmetic("sub", variant, "-", rng)


def _word(variant: str, rng: random.Random) -> SyntheticQuestion:
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    prompt = f"{name} has {{a}} {thing} and {variant} {{b}}. How many {thing}?"
    return _arithmetic("word", prompt, OPERATOR_OF_VERB[variant], rng)


def _net(variant: str, rng: random.Random) -> SyntheticQuestion:
    prompt = f"Water at {{a}} C is {variant} by {{b}}. Now?"
    return _arithmetic("net", prompt, OPERATOR_OF_VERB[variant], rng)


def _comparison(kind: str, unit: str, variant: str, rng: random.Random) -> SyntheticQuestion:
    """Which of two numbers with different tens is the higher or the lower one?

    The trace compares in the direction that is asked for, so its first term is the answer.
    """
    a = rng.randint(10, 99)
    b = rng.choice([x for x in range(10, 100) if x // 10 != a // 10])
    high, low = max(a, b), min(a, b)
    key = f"c{low},{high}"
    prompt = f"Which is {variant}, {a} or {b}{unit}?"
    step = f"{high} > {low}" if ASKS_FOR_HIGHER[variant] else f"{low} < {high}"
    return SyntheticQuestion(
        kind, prompt, (step,), step.split()[0], key, is_held_out(key), "number"
    )


def _weigh(variant: str, rng: random.Random) -> SyntheticQuestion:
    return _comparison("weigh", " C", variant, rng)


def _cmp(variant: str, rng: random.Random) -> SyntheticQuestion:
    return _comparison("cmp", "", variant, rng)


def _symbol(variant: str, rng: random.Random) -> SyntheticQuestion:
    elements = list(SYMBOLS)
    element = rng.choice(elements)
    place = elements.index(element) + SYMBOL_PHRASINGS.index(variant)
    return SyntheticQuestion(
        kind="symbol",
        prompt=variant.format(element=element),
        steps=(f"{element} is {SYMBOLS[element]}",),
        answer=SYMBOLS[element],
        key=f"{element}|{variant}",
        held_out=place % len(SYMBOL_PHRASINGS) == 0,
        verifier="exact",
    )


def _order(variant: str, rng: random.Random) -> SyntheticQuestion:
    first, second, third = rng.sample(NAMES, 3)
    key = f"o{first}{second}{third}"
    return SyntheticQuestion(
        kind="order",
        prompt=f"{first} is taller than {second}. {second} is taller than {third}. "
        f"Who is {variant}?",
        steps=(f"{first} > {second} > {third}",),
        answer={"tallest": first, "middle": second, "shortest": third}[variant],
        key=key,
        held_out=is_held_out(key),
    )


def _odd(variant: str, rng: random.Random) -> SyntheticQuestion:
    number = rng.randint(10, 99)
    key = f"e{number}"
    prompt, step = variant.format(number=number), f"{number} ends in {number % 10}"
    answer = "odd" if number % 2 else "even"
    return SyntheticQuestion("odd", prompt, (step,), answer, key, is_held_out(key))


def _pick(variant: str, rng: random.Random) -> SyntheticQuestion:
    words = rng.sample(WORDS, 3)
    key = "w" + ",".join(words)
    prompt, step = f"{variant} word of: {' '.join(words)}?", " then ".join(words)
    answer = words[("First", "Second", "Third").index(variant)]
    return SyntheticQuestion("pick", prompt, (step,), answer, key, is_held_out(key))


def _day(variant: str, rng: random.Random) -> SyntheticQuestion:
    place = rng.randrange(len(DAYS))
    earlier, later = DAYS[place], DAYS[(place + 1) % len(DAYS)]
    given, answer = (earlier, later) if variant == "after" else (later, earlier)
    phrasing = rng.randrange(len(DAY_PHRASINGS))
    return SyntheticQuestion(
        kind="day",
        prompt=DAY_PHRASINGS[phrasing].format(side=variant, day=given),
        steps=(f"{earlier} then {later}",),
        answer=answer,
        key=f"{variant} {given}|{DAY_PHRASINGS[phrasing]}",
        held_out=(place + phrasing) % len(DAY_PHRASINGS) == 0,
    )


def _count(variant: str, rng: random.Random) -> SyntheticQuestion:
    words = tuple(rng.sample(WORDS, int(variant)))
    key = "w" + ",".join(words)
    prompt = f"How many words: {' '.join(words)}?"
    return SyntheticQuestion("count", prompt, words, variant, key, is_held_out(key), "number")


KINDS = {
    "add": Kind("math", 1, ("What is {a} + {b}?", "Compute {a} + {b}."), _add),
    "sub": Kind("math", 1, ("What is {a} - {b}?", "Compute {a} - {b}."), _sub),
    "word": Kind("math", 3, ("gets", "loses", "eats"), _word),
    "net": Kind("science", 2, ("heated", "cooled", "chilled"), _net),
    "weigh": Kind("science", 2, ("hotter", "colder", "cooler"), _weigh),
    "symbol": Kind("science", 1, SYMBOL_PHRASINGS, _symbol),
    "cmp": Kind("reasoning", 2, ("larger", "smaller", "lower"), _cmp),
    "order": Kind("reasoning", 2, ("tallest", "middle", "shortest"), _order),
    "odd": Kind("reasoning", 1, ("Odd or even: {number}?", "Even or odd: {number}?"), _odd),
    "pick": Kind("general", 2, ("First", "Second", "Third"), _pick),
    "day": Kind("general", 2, ("after", "before"), _day),
    "count": Kind("general", 1, ("1", "2", "3"), _count),
}
DOMAINS = ("math", "science", "reasoning", "general")
