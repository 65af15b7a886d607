"""Stems, and words that are read as the denial of their opposites."""

import pytest

from actors.rewards.words import meaning, stem


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *(("eggs", "egg"), ("glass", "glass"), ("endings", "end"), ("freezes", "freez")),
        *(("freezing", "freez"), ("stopped", "stop"), ("boxes", "box"), ("is", "is")),
        *(("flies", "fly"), ("sing", "sing"), ("fall", "fall"), ("falling", "fall")),
    ],
)
def test_endings_are_taken_off(word, expected):
    assert stem(word) == expected


def test_opposites_share_a_word_and_one_of_them_is_turned():
    assert meaning("cold") == meaning("colder") == ("hot", True)
    assert meaning("hotter") == meaning("hot") == ("hot", False)
    assert meaning("slowly") == ("fast", True) and meaning("quickly") == ("fast", False)
    assert meaning("dirtier") == ("clean", True) and meaning("shrinking") == ("expand", True)
    assert meaning("irregular") == ("regular", True) and meaning("coldest") == ("coldest", False)
