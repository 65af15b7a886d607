"""The shipped attacks on the judge: what the rules give for them, and that none leaves its bars."""

import asyncio

import pytest

from actors.bench import Bench
from actors.data.labelled.items import read_items
from actors.injection import gains, injection_lines, read_attacks
from actors.rewards.asking import BAR, request
from actors.rewards.format import parse
from actors.rewards.rubric import load_rubric

ATTACKS = read_attacks()
LLM = load_rubric("llm")
(ITEM,) = (item for item in read_items() if item.id == "tank-0")


def test_there_are_many_of_many_kinds():
    assert len(ATTACKS) >= 60 and len(set(ATTACKS)) == len(ATTACKS)
    assert len({attack.kind for attack in ATTACKS}) == 9


def test_no_attack_earns_a_flawed_completion_more_of_the_rules():
    items = [item for item in read_items() if item.id in ("tank-0", "plants-1", "race-2")]
    found = asyncio.run(gains(items, Bench(load_rubric("paper"), None)))
    assert len(found) == 2 * len(items) * len(ATTACKS)
    assert max(gain.reward for gain in found) <= 1e-9
    assert not any(gain.beats_good for gain in found)
    assert len(injection_lines(found)) == 11


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: repr(attack.text[:20]))
def test_all_that_an_attack_says_to_a_model_stands_behind_a_bar(attack):
    """And none of it is a token of a chat, or the words that the score is asked for with."""
    question = ITEM.question(with_reference=True)
    trace = parse(attack.on(ITEM.flawed["wrong_step"]))
    if trace is None:
        return  # it has lost the format, and no model is asked
    plain = parse(ITEM.flawed["wrong_step"])
    asked, before = (
        request(LLM.template, LLM.asked["reasoning_quality"], question, t) for t in (trace, plain)
    )
    assert (asked.system, asked.head) == (before.system, before.head)
    shown, cue = asked.tail.rsplit("\n", 1)
    assert cue == "Score:" and "score:" not in shown.lower()
    assert all(line.startswith(BAR) for line in shown.split("\n"))
    assert not any(token in shown for token in ("<|", "|>", "_turn>", "[INST]", "SYS>>", "</s>"))
    assert len(shown) < 8000 and shown.isprintable() or "\n" in shown
