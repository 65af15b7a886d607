"""Is the answer right? Each verifier compares an answer with the reference, deterministically.

A row names its verifier; `number:0.02` allows 2 % of the reference. "auto" reads a reference that
is a number, with or without a unit, as "number" and any other as "choice". None of them knows
synonyms, so a free text is right only in the reference's own words.
"""

import math
import re
from collections.abc import Callable

from configs.errors import InputError

QUANTITY = re.compile(
    r"([-+−]?)\s*[$€£]?\s*([-+−]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)\s*(\D*)"
)
LONGEST_UNIT = 4  # words; more is a sentence, not a unit
SAME_UNIT = {"mph": "mile per hour", "percent": "%", "°c": "c", "°f": "f", "dollar": ""}


def exact(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """Equal but for surrounding whitespace."""
    return answer.strip() == reference.strip()


def choice(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """Equal words, whatever their case and punctuation: `(b)` is `B.`"""
    wanted = _words(reference)
    return _words(answer) == wanted if wanted else exact(answer, reference)


def number(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """Equal quantities: signs, decimals, separators; units where both name one.

    The answer must be one quantity: `38 + 1 = 39` or `3 or 4` is a hedge, and wrong.
    """
    given, wanted = _quantity(answer), _quantity(reference)
    if given is None or wanted is None:
        return False
    if given[1] and wanted[1] and given[1] != wanted[1]:
        return False
    return math.isclose(given[0], wanted[0], rel_tol=tolerance, abs_tol=1e-9)


def auto(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """`number` if the reference is one, else `choice`."""
    check = number if _quantity(reference) else choice
    return check(answer, reference, tolerance)


VERIFIERS: dict[str, Callable[[str, str, float], bool]] = {
    "auto": auto,
    "choice": choice,
    "exact": exact,
    "number": number,
}


def verify(verifier: str, answer: str, reference: str) -> bool:
    """Raises InputError for a verifier that does not exist."""
    name, tolerance = read_verifier(verifier)
    return VERIFIERS[name](answer, reference, tolerance)


def read_verifier(verifier: str) -> tuple[str, float]:
    """Name and relative tolerance of `number:0.02`; raises InputError."""
    name, colon, argument = verifier.partition(":")
    if name not in VERIFIERS:
        raise InputError(
            f"verifier {verifier!r} is unknown; known: {', '.join(VERIFIERS)} "
            "(number:0.02 allows a relative error of 0.02)"
        )
    if not colon:
        return name, 0.0
    try:
        tolerance = float(argument)
    except ValueError:
        tolerance = -1.0
    if name != "number" or not 0 <= tolerance < 1:
        raise InputError(
            f"verifier {verifier!r}: only number takes an argument, a relative tolerance from 0 "
            "up to 1, as in number:0.02"
        )
    return name, tolerance


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _quantity(text: str) -> tuple[float, str] | None:
    """Value and normalised unit, None if the text is anything but one quantity."""
    match = QUANTITY.fullmatch(text.strip())
    if match is None or (match[1] and match[2]) or len(match[4].split()) > LONGEST_UNIT:
        return None
    value = float(match[3].replace(",", ""))
    if (match[1] or match[2]) in ("-", "−"):
        value = -value
    unit = " ".join(word.removesuffix("s") for word in match[4].lower().strip(" .").split())
    return value, SAME_UNIT.get(unit, unit)
