"""Who comes before whom in prose, and does a step say the opposite of what is known.

    "Ann beat Bob. Cem came in after Bob."     Ann < Bob < Cem
    "Cem was faster than Bob"                  contradicts it; "slower than" says the same
    "the order is Ann, Bob, Cem"               agrees; "Bob, Ann, Cem" does not

Comparatives of one kind (`taller` and `shorter`) are each other's converse, and so are words for
coming sooner or later: before, ahead, older, faster, beat. Only names are read (words that the
question writes with a capital) and single letters; a clause with more than two of them, or with a
denial, says nothing here. A question whose own orders contradict each other has none.
"""

import calendar
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

KINDS = {  # kind: what stands first, what stands last
    "sooner": (
        "before ahead earlier sooner older faster quicker beat beats preceded",
        "after behind later younger newer slower followed follows",
    ),
    "left": ("left", "right"),
    "above": ("above over higher", "below under beneath lower"),
    "large": ("taller bigger larger longer greater", "shorter smaller"),
    "heavy": ("heavier", "lighter"),
    "warm": ("warmer hotter", "colder cooler"),
    "rich": ("richer", "poorer"),
    "strong": ("stronger", "weaker"),
    "bright": ("brighter", "darker"),
    "elder": ("mother father parent", "child son daughter"),
}
WORDS = {
    word: (kind, sign)
    for kind, sides in KINDS.items()
    for sign, side in zip((1, -1), sides, strict=True)
    for word in side.split()
}
EXTREMES = {f"{word[:-2]}est": side for word, side in WORDS.items() if word.endswith("er")}
ORDINALS = ("first", "second", "third", "fourth", "fifth")
HAVING = frozenset(("has", "have", "sees", "finds"))  # "Ann has Bob on the left"
DENYING = frozenset(("not", "no", "never", "neither", "nor", "cannot"))
CUT = re.compile(r"[,;.:?!]|\b(?:and|but|so|while|because|which|whereas|then)\b")
WORD = re.compile(r"[^\W\d]+")
NAME = re.compile(r"\b[A-Z][^\W\d]*")
INSIDE = re.compile(r"(?<=[\w,] )[A-Z][^\W\d]+")
BEGINNING = frozenset(
    (
        "a",
        "all",
        "an",
        "at",
        "both",
        "does",
        "each",
        "every",
        "for",
        "he",
        "her",
        "his",
        "how",
        "if",
    )
    + ("in", "is", "it", "no", "of", "on", "one", "only", "right", "she", "some", "the", "their")
    + ("then", "there", "they", "this", "three", "to", "today", "two", "what", "when", "where")
    + ("which", "who", "whose", "with", *WORDS)
)
"""Words that begin a sentence and are no names."""
CALENDAR = frozenset(word.lower() for word in (*calendar.day_name, *calendar.month_name))
SENTENCE = re.compile(r"[^.?!]+[.?!]?")
LISTED = re.compile(
    r"([^\W\d]+)(?:(?:, and |, | and )([^\W\d]+))(?:(?:, and |, | and )([^\W\d]+))+"
)
LETTERS = frozenset("bcdefghijklmnopqrstuvwxyz")  # "a" is an article
FEWEST = 3  # names in a row that are a list
Pair = tuple[str, str, str]  # kind, who comes first, who comes behind


@lru_cache(maxsize=4096)
def names_of(prompt: str) -> frozenset[str]:
    """What the question writes with a capital, lower-cased."""
    return frozenset(name.lower() for name in NAME.findall(prompt)) - BEGINNING - CALENDAR


def named(text: str) -> frozenset[str]:
    """What stands with a capital inside a sentence, lower-cased."""
    return frozenset(name.lower() for name in INSIDE.findall(text)) - {"i"}


@lru_cache(maxsize=4096)
def given_order(prompt: str) -> frozenset[Pair]:
    """What the statements of a question say, and all that follows."""
    names = names_of(prompt)
    said = (s for s in SENTENCE.findall(prompt) if not s.endswith("?"))
    return closed(pair for sentence in said for pair in order_of(sentence, names))


@lru_cache(maxsize=4096)
def order_of(text: str, names: frozenset[str]) -> frozenset[Pair]:
    """Who comes before whom, as the text says it."""
    said = text.lower()
    return frozenset([*_in_clauses(said, names), *_in_ranks(said, names), *_in_list(said, names)])


def closed(pairs: Iterable[Pair]) -> frozenset[Pair]:
    """With all that follows from them; none where they contradict each other."""
    found = set(pairs)
    while (
        new := {
            (kind, a, c)
            for kind, a, b in found
            for other, b_, c in found
            if (kind, b) == (other, b_)
        }
        - found
    ):
        found |= new
    return frozenset(found) if all((k, b, a) not in found for k, a, b in found) else frozenset()


def contradicts(text: str, names: frozenset[str], known: frozenset[Pair]) -> bool:
    """The text has somebody before one who is known to come first, or a letter after a later one.

    A list of names that does not say from where it counts may do so from either end, but from one.
    """
    said = order_of(text, names)
    if any((k, b, a) in known or (_letters(a, b) and b < a) for k, a, b in said):
        return True
    listed = tuple(pairwise(_listed(text.lower(), names)))
    ahead = any((kind, a, b) in known for a, b in listed for kind in KINDS)
    return ahead and any((kind, b, a) in known for a, b in listed for kind in KINDS)


def _in_clauses(text: str, names: frozenset[str]) -> Iterator[Pair]:
    for clause in CUT.split(text):
        words = WORD.findall(clause)
        places = [n for n, word in enumerate(words) if word in names or word in LETTERS]
        signs = [n for n, word in enumerate(words) if word in WORDS]
        if len(places) != 2 or len(signs) != 1 or not DENYING.isdisjoint(words):
            continue
        (first, second), place = places, signs[0]
        kind, sign = WORDS[words[place]]
        if place > second:  # "Ann has Bob on the left"
            if HAVING.isdisjoint(words[first:second]):
                continue
            sign = -sign
        elif place < first:  # "behind Ann stands Bob"
            sign = -sign
        yield _pair(kind, sign, words[first], words[second])


def _in_ranks(text: str, names: frozenset[str]) -> Iterator[Pair]:
    """Ann first, Bob second and Cem third."""
    words = WORD.findall(text)
    ranked = [
        (ORDINALS.index(word), name)
        for name, word in pairwise(words)
        if name in names and word in ORDINALS
    ]
    for (_, first), (_, second) in pairwise(sorted(ranked)):
        yield "sooner", first, second


def _in_list(text: str, names: frozenset[str]) -> Iterator[Pair]:
    """From the oldest to the youngest: Ann, Bob, Cem."""
    extremes = [word for word in WORD.findall(text) if word in EXTREMES]
    if not extremes:
        return
    kind, sign = EXTREMES[extremes[0]]
    for first, second in pairwise(_listed(text, names)):
        yield _pair(kind, sign, first, second)


def _listed(text: str, names: frozenset[str]) -> list[str]:
    """The first names that stand in a row, if they are enough for a list."""
    rows = ([w for w in WORD.findall(m[0]) if w in names] for m in LISTED.finditer(text))
    return next((row for row in rows if len(row) >= FEWEST), [])


def _letters(first: str, second: str) -> bool:
    return len(first) == len(second) == 1


def _pair(kind: str, sign: int, first: str, second: str) -> Pair:
    return (kind, first, second) if sign > 0 else (kind, second, first)
