"""Numbers with units: reading one, and comparing two across units (pint).

A quantity is one number with an optional sign, currency sign and unit. Whatever holds more is none.
"""

import math
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

QUANTITY = re.compile(
    r"([-+−]?)\s*[$€£]?\s*([-+−]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)\s*(\D*)"
)
WITH_POWERS = re.compile(QUANTITY.pattern.replace(r"(\D*)", r"(\D*(?:\^?-?[1-3]\D*){0,3})"))
LONGEST = 80  # characters; a number of more digits than a float holds compares as nothing
LONGEST_UNIT = 4  # words; more is a sentence, not a unit
SAME_UNIT = {"mph": "mile per hour", "percent": "%", "°c": "c", "°f": "f", "dollar": ""}
PINT_UNIT = re.compile(
    r"[a-zA-ZµμΩ°%²³]+(?:\^?-?[1-3])?(?:(?:\s*[/*·]\s*|\s+)[a-zA-ZµμΩ°%²³]+"
    r"(?:\^?-?[1-3])?){0,5}"
)
TEMPERATURES = {"c": "degC", "°c": "degC", "f": "degF", "°f": "degF", "k": "kelvin"}
"""What pint would read as coulomb, farad and its own k."""
CONVERSION_ERROR = 1e-6  # relative; of factors that are no round numbers


@dataclass(frozen=True, slots=True)
class Quantity:
    value: float
    unit: str  # normalised words, "" for none
    written: str  # the unit as it was written


def read_quantity(text: str, powers: bool = False) -> Quantity | None:
    """None if the text is anything but one quantity; `powers` lets units be as in m^2."""
    text = text.strip()
    return None if len(text) > LONGEST else _read(text, powers)


@lru_cache(maxsize=4096)
def _read(text: str, powers: bool) -> Quantity | None:
    """Cached: siblings have their reference in common, and often their answer."""
    match = (WITH_POWERS if powers else QUANTITY).fullmatch(text)
    if match is None or (match[1] and match[2]) or len(match[4].split()) > LONGEST_UNIT:
        return None
    value = float(match[3].replace(",", ""))
    if (match[1] or match[2]) in ("-", "−"):
        value = -value
    written = match[4].strip(" .")
    unit = " ".join(word.removesuffix("s") for word in written.lower().split())
    return Quantity(value, SAME_UNIT.get(unit, unit), written)


def same_value(answer: float, reference: float, tolerance: float) -> bool:
    return math.isclose(answer, reference, rel_tol=tolerance, abs_tol=1e-9)


def same_quantity(answer: str, reference: str, tolerance: float = 0.0) -> bool:
    """Equal in the reference's unit: 2 km is 2000 m, 20 °C is 68 °F.

    Where the reference has a unit, the answer needs one too. Units that pint does not know (coins)
    must be the same words.
    """
    given, wanted = read_quantity(answer, powers=True), read_quantity(reference, powers=True)
    if given is None or wanted is None or (wanted.unit and not given.unit):
        return False
    if given.unit == wanted.unit or not wanted.unit:
        return same_value(given.value, wanted.value, tolerance)
    value = _convert(given, wanted)
    return value is not None and same_value(value, wanted.value, max(tolerance, CONVERSION_ERROR))


def _convert(given: Quantity, wanted: Quantity) -> float | None:
    """The given value in the wanted unit; None where there is no way from one to the other."""
    units = _unit(given.written), _unit(wanted.written)
    if units[0] is None or units[1] is None or units[0].dimensionality != units[1].dimensionality:
        return None
    value = float(_registry().Quantity(given.value, units[0]).to(units[1]).magnitude)
    return value if math.isfinite(value) else None


@lru_cache(maxsize=4096)
def _unit(written: str) -> Any:
    """The pint unit, None for what is no unit."""
    text = TEMPERATURES.get(written.lower(), written)
    if not PINT_UNIT.fullmatch(text):
        return None
    # m2 is m^2 to everyone but pint
    powers = re.sub(r"(?<=[a-zA-Z])\^?(-?[1-3])\b", r"**\1", text)
    for form in (powers, powers.lower()):
        try:
            return _registry().parse_units(form)
        except Exception:  # noqa: BLE001  # whatever pint makes of it, it is no unit
            continue
    return None


@cache
def _registry() -> Any:
    import pint  # 0.7 s, for those who use it

    return pint.UnitRegistry()
