"""Reading a reasoning trace: its steps, and in each step the tokens, equations and comparisons.

Pure text work without a model. An equation is read whole: `7 * -9 + 5 = -58` is one equation, never
the `9 + 5 = -58` inside it, and one that starts in the middle of something unreadable (`y * 9 + 5 =
14`) is not read at all.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

UNSIGNED = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
NUMBER = rf"[-+]?{UNSIGNED}"
UNIT = r"(?:\s?[%°]|\s[a-zA-Z°]+){0,3}?"
OPERATOR = r"[-+x*/×÷]"
EXPRESSION = rf"\$?{NUMBER}{UNIT}(?:\s*{OPERATOR}\s*\$?{NUMBER}{UNIT})*"
EQUATION = re.compile(
    rf"(?<![\w.,)]){EXPRESSION}(?:\s*=\s*{EXPRESSION})+(?![\d.,]*\d|\s*[-+*/×÷=(]|\s*x\b)"
)
TERM_OR_OPERATOR = re.compile(rf"({NUMBER}){UNIT}\s*(?:({OPERATOR})\s*\$?(?=[-+\d])|$)")
COMPARISON = re.compile(rf"{NUMBER}{UNIT}(?:\s*[<>]\s*{NUMBER}{UNIT})+")
STEP_NUMBER = re.compile(r"(?:step\s+)?(\d+)\s*[.):]\s+", re.IGNORECASE)
TOKEN = re.compile(rf"(?<![\w)])[-+]?{UNSIGNED}|{UNSIGNED}|[^\W\d]\w*|[-+*/×÷=<>]")
SIGNS = frozenset("+-x*/×÷=<>")
PLAIN_OPERATOR = {"*": "x", "×": "x", "÷": "/"}
STOP_WORDS = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "how", "i")
    + ("in", "is", "it", "its", "of", "on", "or", "so", "that", "the", "then", "there", "they")
    + ("this", "to", "was", "we", "what", "which", "who", "will", "with")
)
LONGEST_READ = 500  # characters; keeps the cost of a runaway step bounded
LONGEST_TRACE, MOST_STEPS = 50_000, 500  # characters, lines; a longer trace has no steps


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a trace. Numbers in `tokens`, `givens` and `result` carry no separators."""

    text: str  # without its number
    number: int | None  # as written before the step, None where there is none
    tokens: tuple[str, ...]  # lower-cased words, numbers and signs
    form: str  # "equation", "comparison" or "text"
    givens: frozenset[str]  # what it rests on: operands, compared numbers, or its content words
    words: frozenset[str] = frozenset()  # content words around its equations
    operators: frozenset[str] = frozenset()  # of its equations
    sound: bool = True  # its equations and comparisons are numerically right
    result: str = ""  # what its last equation arrives at


def read_steps(reasoning: str) -> tuple[Step, ...]:
    """The non-blank lines of a trace."""
    if len(reasoning) > LONGEST_TRACE:
        return ()
    lines = [line.strip() for line in reasoning.splitlines()]
    lines = [line for line in lines if line]
    if len(lines) > MOST_STEPS:
        return ()
    return tuple(
        _read_again(line) if len(line) <= LONGEST_READ else _read_step(line) for line in lines
    )


@lru_cache(maxsize=4096)
def _read_again(line: str) -> Step:
    """Cached: siblings often write the same step."""
    return _read_step(line)


def tokenize(text: str) -> tuple[str, ...]:
    """Lower-cased words, numbers without separators, and signs."""
    return tuple(_token(match) for match in TOKEN.findall(text.lower()))


def content(tokens: tuple[str, ...]) -> frozenset[str]:
    """The numbers and the words that mean something."""
    return frozenset(tokens) - STOP_WORDS - SIGNS


def _token(token: str) -> str:
    return token.replace(",", "").lstrip("+") if token[-1].isdigit() else token


def _read_step(line: str) -> Step:
    match = STEP_NUMBER.match(line)
    number = int(match[1]) if match else None
    text = line[match.end() :] if match else line
    tokens = tokenize(text)
    if len(text) <= LONGEST_READ:
        if "=" in text and (step := _read_equations(text, number, tokens)):
            return step
        if ("<" in text or ">" in text) and (found := COMPARISON.findall(text)):
            return _read_comparisons(found, text, number, tokens)
    return Step(text, number, tokens, "text", content(tokens))


def _read_equations(text: str, number: int | None, tokens: tuple[str, ...]) -> Step | None:
    """None if the step holds no equation that can be read with certainty."""
    operands: list[str] = []
    operators: set[str] = set()
    sound, result, rest = True, "", text
    for match in EQUATION.finditer(text):
        before = text[: match.start()].rstrip()
        if before.endswith(("+", "-", "*", "/", "×", "÷", "(", " x")):
            return None
        sides = [_terms(side) for side in match[0].split("=")]
        used = {operator for _, signs in sides for operator in signs}
        if not used or any(not terms for terms, _ in sides):
            return None
        operators |= used
        values = [_value(*side) for side in sides]
        result = sides[-1][0][-1]
        sound = sound and all(_equal(a, b, result) for a, b in pairwise(values))
        operands += [term for terms, _ in sides[:-1] for term in terms]
        rest = rest.replace(match[0], " ", 1)
    if not operators:
        return None
    words = content(tokenize(rest)) if rest.strip() else frozenset()
    return Step(
        text,
        number,
        tokens,
        "equation",
        frozenset(operands),
        words,
        frozenset(operators),
        sound,
        result,
    )


def _terms(expression: str) -> tuple[list[str], list[str]]:
    """The numbers of `12 - 3 x 2`, and the operators between them."""
    found = TERM_OR_OPERATOR.findall(expression.strip().lstrip("$"))
    terms = [_token(term) for term, _ in found]
    operators = [PLAIN_OPERATOR.get(operator, operator) for _, operator in found if operator]
    return (terms, operators) if len(terms) == len(operators) + 1 else ([], [])


def _value(terms: list[str], operators: list[str]) -> float:
    """Value with products before sums; not a number for a division by zero."""
    total, product = 0.0, float(terms[0])
    for operator, term in zip(operators, map(float, terms[1:]), strict=True):
        if operator == "x":
            product *= term
        elif operator == "/":
            product = product / term if term else float("nan")
        else:
            total, product = total + product, term if operator == "+" else -term
    return total + product


def _equal(a: float, b: float, written: str) -> bool:
    """Equal up to the decimals that were written: 10 / 3 = 3.33."""
    decimals = len(written.partition(".")[2])
    tolerance = 0.501 * 10**-decimals if decimals else 1e-9 * max(1.0, abs(b))
    return abs(a - b) <= tolerance


def _read_comparisons(
    found: list[str], text: str, number: int | None, tokens: tuple[str, ...]
) -> Step:
    numbers = (token for one in found for token in tokenize(one) if token[-1].isdigit())
    sound = all(map(_ordered, found))
    return Step(text, number, tokens, "comparison", frozenset(numbers), sound=sound)


def _ordered(comparison: str) -> bool:
    """Is 2 < 3 < 5 true?"""
    tokens = tokenize(comparison)
    numbers = [token for token in tokens if token[-1].isdigit()]
    signs = [token for token in tokens if token in "<>"]
    return all(
        float(a) > float(b) if sign == ">" else float(a) < float(b)
        for (a, b), sign in zip(pairwise(numbers), signs, strict=True)
    )
