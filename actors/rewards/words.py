"""What a word of English prose is taken for: its stem, and which words are each other's opposites.

    colder -> hot, turned       hotter -> hot       freezes, freezing -> freez

An opposite is read as the other word of its pair, denied; comparatives and adverbs of both count as
they do, superlatives for themselves. No more than this list is known of what words mean.
"""

from collections.abc import Iterator

PAIRS = (
    *("empty full", "cold hot", "low high", "short long", "dry wet", "less more", "slow fast"),
    *("closed open", "fall rise", "shrink expand", "contract expand", "repel attract"),
    *("sink float", "decrease increase", "lose gain", "false true", "different same"),
    *("soft hard", "thin thick", "weak strong", "small large", "little much", "few many"),
    *("dead alive", "outside inside", "begin end", "poor rich", "absent present"),
    *("rough smooth", "odd even", "dark bright", "cool warm", "down up", "downwards upwards"),
    *("wrong right", "invisible visible", "impossible possible", "unequal equal", "uneven even"),
    *("old new", "late early", "near far", "narrow wide", "shallow deep", "dirty clean"),
    *("ugly beautiful", "sell buy", "give take", "ascending descending", "asleep awake"),
    *("negative positive", "minimum maximum", "bottom top", "expensive cheap", "loud silent"),
    *("incorrect correct", "unable able", "incomplete complete", "unlikely likely"),
    *("unknown known", "unhappy happy", "unlike like", "unsafe safe", "unclear clear"),
    *("heavy light", "bitter sweet", "sharp blunt", "tight loose", "irregular regular"),
)
ALIKE = {"quick": "fast", "quickly": "fast", "quicker": "fast", "big": "large", "bigger": "large"}
IRREGULAR = {"fallen": "fall", "fell": "fall", "rose": "rise", "risen": "rise", "sank": "sink"}
IRREGULAR |= {"lost": "lose", "began": "begin", "gave": "give", "took": "take", "taken": "take"}
IRREGULAR |= {"sold": "sell", "bought": "buy"}
VOWELS = frozenset("aeiou")
SHORTEST = 3  # letters of a stem


def stem(word: str) -> str:
    """Without the ending of a plural, of a third person, of "ing" and "ed", and a last e."""
    if len(word) > SHORTEST and word.endswith("s") and not word.endswith("ss"):
        word = f"{word[:-3]}y" if word.endswith("ies") else word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= SHORTEST and not VOWELS.isdisjoint(rest):
            word = rest[:-1] if rest[-1] == rest[-2] and rest[-1] not in "ls" else rest
    return word[:-1] if len(word) > SHORTEST and word.endswith("e") else word


def meaning(word: str) -> tuple[str, bool]:
    """The stem that the word is read as, and whether it is its opposite."""
    return MEANT.get(word) or (stem(word), False)


def _forms(word: str) -> Iterator[str]:
    """The word, its comparatives and its adverb, and what a verb becomes."""
    yield from (word, f"{word}ly", f"{word}s", f"{word}ed", f"{word}ing")
    base = word.removesuffix("e")
    if word.endswith("y"):
        base = f"{word[:-1]}i"
    elif len(word) > 2 and word[-1] not in "aeiouwxy" and word[-2] in VOWELS:
        yield from (f"{word}{word[-1]}{ending}" for ending in ("er", "ing", "ed"))
    yield from (f"{base}{ending}" for ending in ("er", "ed", "es", "ly"))
    yield f"{word.removesuffix('e')}ing"


def _meant() -> dict[str, tuple[str, bool]]:
    """Of a word that is in several pairs, the first one counts."""
    found: dict[str, tuple[str, bool]] = {}
    for pair in PAIRS:
        first, second = pair.split()
        first_is, second_is = found.get(first), found.get(second, (stem(second), False))
        for form in _forms(second):
            found.setdefault(form, second_is)
        for form in _forms(first):
            found.setdefault(form, first_is or (second_is[0], not second_is[1]))
    for other, word in (ALIKE | IRREGULAR).items():
        found.setdefault(other, found[word])
    return found


MEANT = _meant()
