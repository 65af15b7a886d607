"""Who comes before whom, read out of prose."""

import pytest

from actors.rewards.orders import closed, contradicts, given_order, names_of, order_of

PROMPT = "Ann beat Bob in a race. Cem came in after Bob. Who was second?"
NAMES = names_of(PROMPT)


def test_what_follows_from_the_question_is_known_and_what_it_asks_is_not():
    known = {("sooner", "ann", "bob"), ("sooner", "bob", "cem"), ("sooner", "ann", "cem")}
    assert given_order(PROMPT) == known
    assert given_order("Was Ann born before Bob?") == frozenset()
    assert {"ann", "bob", "cem"} == NAMES


@pytest.mark.parametrize(
    "text",
    ["Cem was slower than Bob", "which puts Bob ahead of Cem", "Behind Bob came Cem"]
    + ["Ann, Bob and Cem", "from last to first Cem, Bob, Ann", "Cem is not faster than Ann"]
    + ["Ann first, Bob second and Cem third", "the oldest to the youngest are Ann, Bob, Cem"],
)
def test_the_same_in_other_words_is_no_contradiction(text):
    assert not contradicts(text, NAMES, given_order(PROMPT))


@pytest.mark.parametrize(
    "text",
    ["Cem was faster than Bob", "which puts Cem ahead of Bob", "Ahead of Bob came Cem"]
    + ["the order is Bob, Ann, Cem", "Bob first, Ann second", "from the youngest: Ann, Bob, Cem"]
    + ["In the alphabet l stands before g"],
)
def test_the_opposite_is_one(text):
    assert contradicts(text, NAMES, given_order(PROMPT))


def test_having_somebody_on_a_side_is_the_converse():
    left = order_of("Ann has Bob on the left", NAMES)
    assert left == order_of("Bob sits left of Ann", NAMES) == {("left", "bob", "ann")}


def test_orders_that_contradict_each_other_say_nothing():
    assert closed([("left", "a", "b"), ("left", "b", "c"), ("left", "c", "a")]) == frozenset()
