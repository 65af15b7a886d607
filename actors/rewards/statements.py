"""What prose affirms and denies, clause by clause: does one text say the opposite of another.

    "water in the shed and none in the room"   (water shed) affirmed, (room) denied
    "the red box is full"                      the opposite of "the red box is empty"

A clause is a set of words and a sign; "not" and its kin turn the sign, and so does the word for the
opposite of one that the other clause has: empty is full, denied. What neither grammar nor this list
of opposites says is not seen.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from actors.rewards.steps import STOP_WORDS

OPPOSITES = {
    pair.split()[0]: pair.split()[1]
    for pair in (
        *("empty full", "cold hot", "low high", "short long", "dry wet", "less more", "slow fast"),
        *("closed open", "falls rises", "fall rise", "shrinks expands", "shrink expand"),
        *("contracts expands", "contract expand", "repels attracts", "repel attract"),
        *("sinks floats", "sink float", "decreases increases", "decrease increase", "lose gain"),
        *("loses gains", "false true", "different same", "soft hard", "thin thick", "weak strong"),
        *("small large", "little much", "few many", "fewer more", "dead alive", "outside inside"),
        *("begins ends", "begin end", "poor rich", "absent present", "rough smooth", "odd even"),
        *("dark bright", "colder hotter", "cooler warmer", "smaller larger", "shorter longer"),
        *("slower faster", "lower higher", "down up", "downwards upwards", "wrong right"),
        *("invisible visible", "impossible possible", "unequal equal", "uneven even"),
    )
}
DENIALS = frozenset(
    ("no", "not", "never", "none", "cannot", "without", "nobody", "nothing", "neither", "nor")
    + ("hardly", "barely", "isn't", "doesn't", "don't", "aren't", "can't", "won't", "wasn't")
)
LINKS = frozenset(
    ("because", "hence", "since", "therefore", "thus", "also", "too", "one", "does", "do", "can")
    + ("belong", "belongs", "must", "any", "around", "been", "some", "may", "could", "would")
)
CONDITION = frozenset(("if", "when", "whenever", "unless", "suppose"))
CUT = re.compile(r"[,;:]|\b(?:and|but|so|while|whereas|which|because|as|hence|therefore)\b")
IDIOM = re.compile(r"\b(?:any more|any longer|more or less)\b")  # no words of comparison
SENTENCE = re.compile(r"[^.?!]+[.?!]?")
WORD = re.compile(r"[^\W_]+(?:'t)?")
FEWEST_COMMON = 2
SAME = 0.75  # share of common words at which two clauses say the same, or its opposite
COMMON = 0.6  # of the shorter clause's words, for the two to be about the same


@dataclass(frozen=True, slots=True)
class Clause:
    words: frozenset[str]  # stems, opposites by the same word
    denied: bool
    turned: frozenset[str]  # the words that stand for their opposites


@lru_cache(maxsize=4096)
def clauses(text: str) -> tuple[Clause, ...]:
    plain = IDIOM.sub(" ", text.lower())
    found = (_clause(part) for part in CUT.split(plain))
    return tuple(clause for clause in found if clause.words)


@lru_cache(maxsize=4096)
def stated(prompt: str) -> tuple[Clause, ...]:
    """Of the sentences that state something: neither questions nor conditions."""
    sentences = (part.strip() for part in SENTENCE.findall(prompt))
    plain = (
        s
        for s in sentences
        if not s.endswith("?") and CONDITION.isdisjoint(WORD.findall(s.lower()))
    )
    return tuple(clause for sentence in plain for clause in clauses(sentence.rstrip(".!")))


def contrary(some: tuple[Clause, ...], others: tuple[Clause, ...]) -> bool:
    """A clause denies what one of the others affirms, in nearly the same words."""
    return any(
        _signs_differ(one, other)
        and len(one.words & other.words) >= max(FEWEST_COMMON, SAME * len(one.words | other.words))
        for one in some
        for other in others
    )


def opposed(some: tuple[Clause, ...], others: tuple[Clause, ...]) -> bool:
    """A clause denies what is affirmed of the same things, and agrees with none as well as that.

    For texts that are known to speak of the same: a step, and that of the reference.
    """
    return any(_against(clause, others) for clause in some)


def swapped(some: tuple[Clause, ...], others: tuple[Clause, ...], names: frozenset[str]) -> bool:
    """What is said of one of the names is what the others say of another one, and of it alone."""
    names = frozenset(map(_stem, names))
    ours, theirs = _said_of(some, names), _said_of(others, names)
    return any(
        not whom & theirs[word] and any(whom & other for other in theirs.values())
        for word, whom in ours.items()
        if word in theirs
    )


def _said_of(clauses: tuple[Clause, ...], names: frozenset[str]) -> dict[str, frozenset[str]]:
    """Word: the one name that stands with it in a clause, or several."""
    found: dict[str, frozenset[str]] = {}
    for clause in clauses:
        whom = clause.words & names
        if len(whom) == 1:
            for word in clause.words - names:
                found[word] = found.get(word, frozenset()) | whom
    return found


def _against(clause: Clause, others: tuple[Clause, ...]) -> bool:
    alike = [(_common(clause, other), not _signs_differ(clause, other)) for other in others]
    against = max((share for share, same in alike if not same), default=0.0)
    return against > 0 and against > max((share for share, same in alike if same), default=0.0)


def _signs_differ(one: Clause, other: Clause) -> bool:
    turned = (one.turned ^ other.turned) & one.words & other.words
    return (one.denied != other.denied) != (len(turned) % 2 == 1)


def _common(clause: Clause, other: Clause) -> float:
    """Share of common words of the shorter clause; 0 where the two are not about the same."""
    common = len(clause.words & other.words)
    share = common / min(len(clause.words), len(other.words))
    return share if common >= FEWEST_COMMON and share >= COMMON else 0.0


def _clause(part: str) -> Clause:
    words = WORD.findall(part)
    meant = [OPPOSITES.get(word, word) for word in words if word not in DENIALS]
    return Clause(
        frozenset(_stem(word) for word in meant if word not in STOP_WORDS | LINKS),
        sum(word in DENIALS for word in words) % 2 == 1,
        frozenset(_stem(OPPOSITES[word]) for word in words if word in OPPOSITES),
    )


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
