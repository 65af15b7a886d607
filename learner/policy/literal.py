"""Text that must stay text: a special token's name in it is no special token."""

import re
from collections.abc import Sequence


def apart(text: str, specials: Sequence[str]) -> list[str]:
    """The text in pieces, cut behind the first character of each name of a special token.

    Encoded one by one the pieces give no special token; a text without such a name is one piece.
    """
    if not any(name in text for name in specials):
        return [text]
    longest_first = sorted((name for name in specials if len(name) > 1), key=len, reverse=True)
    names = re.compile("|".join(map(re.escape, longest_first)))
    pieces, start, place = [], 0, 0
    while found := names.search(text, place):
        place = found.start() + 1  # another name may begin inside of this one
        pieces.append(text[start:place])
        start = place
    return [*pieces, text[start:]]
