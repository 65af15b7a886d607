"""Are two mathematical texts equal? math-verify, in a process of its own (see worker.py)."""

import re
from functools import lru_cache

from actors.rewards.worker import Worker

LONGEST = 300  # characters of a text

WRAPPED = re.compile(
    r"\$\$(.*)\$\$|\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\]|\\boxed\{(.*)\}|\\text\{(.*)\}", re.DOTALL
)
ASSIGNED = re.compile(r"[a-zA-Z]\s*=\s*(?=[^=])")
WORD = re.compile(r"\\?[a-zA-Z]{2,}")
FUNCTIONS = frozenset(
    ("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan")
    + ("log", "ln", "exp", "sqrt", "pi")
)
OPERATION = re.compile(r"(?<=[\d)}])\s*(\+|-|\*|\^|x|×|÷|\\cdot|\\times|\\div)\s*(?=[-\d({\\])")


def equal(answer: str, reference: str) -> bool:
    """Whether the answer is the reference, mathematically: 0.5 is \\frac{1}{2}.

    The answer must be one expression: a sentence, a list of guesses or an equation is wrong, and so
    is a sum that is left to the reader where the reference is its value. Raises Unavailable.
    """
    given, wanted = _expression(answer), _expression(reference)
    if not given or not wanted or max(len(given), len(wanted)) > LONGEST:
        return False
    if given == wanted:
        return True
    if any(word[0] != "\\" and word.lower() not in FUNCTIONS for word in WORD.findall(given)):
        return False
    if given.count("=") > wanted.count("=") or re.search(r"[;?!\n]", given):
        return False
    if not re.search(r"[a-zA-Z]", wanted) and _operations(given) - _operations(wanted):
        return False
    return _ask(wanted, given)


def _expression(text: str) -> str:
    """Without what only wraps it: dollar signs, \\boxed{}, `x = `, a full stop."""
    text = text.strip().removesuffix(".").strip()
    while match := WRAPPED.fullmatch(text):
        text = next(group for group in match.groups() if group is not None).strip()
    match = ASSIGNED.match(text)
    return text[match.end() :].strip() if match and text.count("=") == 1 else text


def _operations(text: str) -> set[str]:
    return set(OPERATION.findall(text))


@lru_cache(maxsize=4096)
def _ask(reference: str, answer: str) -> bool:
    """Cached, because siblings often give the same answer."""
    return bool(WORKER.ask(reference, answer))


WORKER = Worker("actors.rewards.math_worker")
