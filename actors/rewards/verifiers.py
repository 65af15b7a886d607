"""Is the answer right? Each verifier compares an answer with the reference, deterministically.

    exact     the same text but for surrounding whitespace
    choice    the same words, whatever their case and punctuation: (b) is B.
    number    the same number; the same unit where both name one. number:0.02 allows 2 % of the
              reference
    quantity  the same number in the reference's unit, across units: 2 km is 2000 m. quantity:0.02
    list      the same items in the same order; set: in any order. Items are compared by auto and
              separated by commas and "and", or by semicolons or lines where there are some
    math      the same value or expression, in LaTeX or plain: math-verify (see maths.py)
    code      the answer is Python, alone or in a ``` fence, the reference its unit tests (asserts),
              run in a sandbox (see sandbox.py)
    gym:NAME  the scorer of reasoning-gym's data set NAME (see gym.py)
    auto      number if the reference is one, else choice

A row names its verifier. None of them knows synonyms, so a free text is right only in the
reference's own words. No answer makes a verifier fail: it is right or wrong within bounded time.
"""

import re
from collections.abc import Callable
from functools import cache

from actors.rewards import confine, gym, maths, sandbox
from actors.rewards.quantities import read_quantity, same_quantity, same_value
from configs.errors import InputError

LONGEST_ANSWER = 10_000  # characters of an answer that is compared as words or items
MOST_ITEMS = 100
FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)
BRACKETS = {"(": ")", "[": "]", "{": "}"}


def exact(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """Equal but for surrounding whitespace."""
    return answer.strip() == reference.strip()


def choice(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """Equal words, whatever their case and punctuation: `(b)` is `B.`"""
    if len(answer) > LONGEST_ANSWER + len(reference):
        return False
    wanted = _words(reference)
    return _words(answer) == wanted if wanted else exact(answer, reference)


def number(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """Equal quantities: signs, decimals, separators; units where both name one.

    The answer must be one quantity: `38 + 1 = 39` or `3 or 4` is a hedge, and wrong.
    """
    given, wanted = read_quantity(answer), read_quantity(reference)
    if given is None or wanted is None:
        return False
    if given.unit and wanted.unit and given.unit != wanted.unit:
        return False
    return same_value(given.value, wanted.value, tolerance)


def auto(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """`number` if the reference is one, else `choice`."""
    check = number if read_quantity(reference) else choice
    return check(answer, reference, tolerance)


def in_order(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """The same items in the same order."""
    given, wanted = _items(answer), _items(reference)
    return len(given) == len(wanted) and all(map(auto, given, wanted))


def in_any_order(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """The same items, each as often."""
    given, missing = _items(answer), _items(reference)
    if len(given) != len(missing):
        return False
    for item in given:
        place = next((n for n, wanted in enumerate(missing) if auto(item, wanted)), None)
        if place is None:
            return False
        missing.pop(place)
    return True


def math(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """Equal as mathematics; raises sandbox.Unavailable."""
    return maths.equal(answer, reference)


def code(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """The reference's tests pass; raises sandbox.Unavailable."""
    fenced = FENCE.search(answer)
    return sandbox.run_tests(fenced[1] if fenced else answer, reference).passed


VERIFIERS: dict[str, Callable[[str, str, float], bool]] = {
    "auto": auto,
    "choice": choice,
    "code": code,
    "exact": exact,
    "list": in_order,
    "math": math,
    "number": number,
    "quantity": same_quantity,
    "set": in_any_order,
}
TOLERANT = ("number", "quantity")


def verify(verifier: str, answer: str, reference: str) -> bool:
    """Raises InputError for a verifier that does not exist, sandbox.Unavailable for one that does
    not work just now."""
    name, argument = read_verifier(verifier)
    if name == "gym":
        return gym.right(str(argument), answer, reference)
    return VERIFIERS[name](answer, reference, float(argument))


def answer_text(verifier: str, reference: str) -> str:
    """The right answer as a trace would say it: for gym, the one inside the entry."""
    return gym.answer_of(reference) if verifier.startswith("gym:") else reference


def read_verifier(verifier: str) -> tuple[str, float | str]:
    """Name, and the relative tolerance of `number:0.02` or data set of `gym:zebra_puzzles`.

    Raises InputError.
    """
    name, colon, argument = verifier.partition(":")
    if name == "gym" and colon:
        return name, _gym_data_set(verifier, argument)
    if name not in VERIFIERS:
        raise InputError(
            f"verifier {verifier!r} is unknown; known: {', '.join(VERIFIERS)}, gym:<data set> "
            "(number:0.02 allows a relative error of 0.02)"
        )
    if name == "code" and not confine.supported():
        raise InputError("verifier 'code' runs on Linux on x86-64 or arm64 only: its sandbox does")
    if not colon:
        return name, 0.0
    try:
        tolerance = float(argument)
    except ValueError:
        tolerance = -1.0
    if name not in TOLERANT or not 0 <= tolerance < 1:
        raise InputError(
            f"verifier {verifier!r}: only {' and '.join(TOLERANT)} take an argument, a relative "
            "tolerance from 0 up to 1, as in number:0.02"
        )
    return name, tolerance


@cache
def _gym_data_set(verifier: str, name: str) -> str:
    """Checked against what is installed, once."""
    if not gym.installed():
        raise InputError(f"verifier {verifier!r} needs reasoning-gym: uv sync --extra gym")
    if name in gym.WRONG_SCORERS:
        raise InputError(
            f"verifier {verifier!r}: the scorer of {name} is not reliable; leave it out"
        )
    if name not in gym.data_sets():
        raise InputError(f"verifier {verifier!r}: reasoning-gym has no data set {name!r}")
    return name


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _items(text: str) -> list[str]:
    """At most one more than MOST_ITEMS: enough to be a wrong count."""
    text = text.strip()[:LONGEST_ANSWER]
    if text[:1] in BRACKETS and text.endswith(BRACKETS[text[0]]):
        text = text[1:-1]
    separator = r"[;\n]" if re.search(r"[;\n]", text) else r",\s*and\b|,|\band\b"
    items = (item.strip(" .") for item in re.split(separator, text, maxsplit=MOST_ITEMS + 1))
    return [item for item in items if item][: MOST_ITEMS + 1]
