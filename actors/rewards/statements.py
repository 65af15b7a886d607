"""What prose affirms and denies, clause by clause: does one text say the opposite of another.

    "water in the shed and none in the room"   (water shed) affirmed, (room) denied
    "the red box is full"                      the opposite of "the red box is empty"

A clause is a set of words and a sign; "not" and its kin turn the sign, and so does the word for the
opposite of one that the other clause has: empty is full, denied (words.py). What neither grammar
nor that list of opposites says is not seen.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from actors.rewards.orders import WORDS as COMPARING
from actors.rewards.steps import STOP_WORDS
from actors.rewards.words import meaning, stem

DENIALS = frozenset(
    ("no", "not", "never", "none", "cannot", "without", "nobody", "nothing", "neither", "nor")
    + ("hardly", "barely", "isn't", "doesn't", "don't", "aren't", "can't", "won't", "wasn't")
)
LINKS = frozenset(
    ("because", "hence", "since", "therefore", "thus", "also", "too", "one", "does", "do", "can")
    + ("belong", "belongs", "must", "any", "around", "been", "some", "may", "could", "would")
    + ("did", "had", "should", "might", "being", "word", "mean", "means", "such")
    + ("all", "every", "everybody", "everyone", "each", "whoever", "everything", "both")
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
    names = frozenset(map(stem, names))
    ours, theirs = _said_of(some, names), _said_of(others, names)
    return any(
        not whom & theirs[word] and any(whom & other for other in theirs.values())
        for word, whom in ours.items()
        if word in theirs
    )


def exchanged(some: tuple[Clause, ...], others: tuple[Clause, ...]) -> bool:
    """What a text denies in passing, the other affirms, and the other way round.

    "the wind has such air, the cellar does not": the second clause says of the cellar that it is
    not so, and no more. Who has it and who has not must be the same two.
    """
    ours, theirs = _in_passing(some), _in_passing(others)
    here, there = ours - theirs, theirs - ours
    return any(_affirms(others, word) for word in here) and any(
        _affirms(some, word) for word in there
    )


def _in_passing(clauses: tuple[Clause, ...]) -> frozenset[str]:
    """The only words of clauses that deny."""
    short = (clause.words for clause in clauses if clause.denied and len(clause.words) == 1)
    return frozenset().union(*short)


def _affirms(clauses: tuple[Clause, ...], word: str) -> bool:
    return any(word in clause.words and not clause.denied for clause in clauses)


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
    saying = [word for word in words if word not in DENIALS | STOP_WORDS | LINKS]
    # "shorter than Ann" may say the same as "taller" of her: orders.py sees to that
    plain = COMPARING.keys() if "than" in words else ()
    meant = [(stem(word), False) if word in plain else meaning(word) for word in saying]
    return Clause(
        frozenset(word for word, _ in meant),
        sum(word in DENIALS for word in words if word != "nor" or "neither" not in words) % 2 == 1,
        frozenset(word for word, turned in meant if turned),
    )
