"""What clauses affirm and deny."""

import pytest

from actors.rewards.statements import clauses, contrary, exchanged, opposed, stated

PROMPT = "The red box is empty. If it rains, the door is open. Is the blue box full?"


def test_only_statements_count():
    (clause,) = stated(PROMPT)
    assert clause.words == {"red", "box", "full"} and clause.turned == {"full"}
    assert not clause.denied


@pytest.mark.parametrize("text", ["The red box is full", "The red box isn't empty"])
def test_an_opposite_and_a_denial_turn_a_statement(text):
    assert contrary(clauses(text), stated(PROMPT))


@pytest.mark.parametrize("text", ["The red box is not full", "The blue box is full", "It is red"])
def test_the_same_and_other_things_are_not_contrary(text):
    assert not contrary(clauses(text), stated(PROMPT))


def test_who_has_it_and_who_has_not_may_not_change_places():
    reference = clauses("The damp shed has water, the heated room has none.")
    assert opposed(clauses("water in the heated room and none in the damp shed"), reference)
    assert not opposed(clauses("water in the damp shed and none in the heated room"), reference)


def test_any_more_is_no_comparison():
    assert not opposed(clauses("nothing hunts them any more"), clauses("they are hunted no more"))


def test_who_is_denied_in_passing_may_not_be_exchanged_either():
    reference = clauses("There is such air in the wind, but not in the cellar.")
    assert exchanged(clauses("The cellar offers such air, the wind does not"), reference)
    assert not exchanged(clauses("The wind offers such air, the cellar does not"), reference)


def test_neither_and_nor_are_one_denial():
    reference = clauses("The endings of pear and chair sound the same")
    assert opposed(clauses("Neither pear nor table ends in that sound"), reference)


def test_a_comparison_the_other_way_round_is_no_opposite():
    assert not contrary(clauses("Bob is shorter than Ann"), stated("Ann is taller than Bob."))
