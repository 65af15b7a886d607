"""Criteria worked out by hand, and texts that try to earn more than they deserve."""

import time

import pytest

from actors.rewards.criteria import (
    answer_correctness,
    reasoning_quality,
    step_clarity,
    trace_coherence,
)
from actors.rewards.format import parse, render
from actors.rewards.reading import Case
from actors.rewards.rubric import load_rubric
from actors.rewards.shaping import score
from cluster.messages import Question
from configs.errors import InputError

PAPER = load_rubric("paper")


def ask(prompt: str, reasoning: str, answer: str, verifier: str = "auto") -> Question:
    return Question("q", prompt, reasoning, answer, "general", verifier)


SUM = ask("What is 38 + 1?", "1. 38 + 1 = 39", "39")
NET = ask("Water at 58 C is cooled by 3. Now?", "1. 58 - 3 = 55", "55")
TWO = ask(
    "Max has 35 eggs, gets 1 and loses 5. How many eggs?", "1. 35 + 1 = 36\n2. 36 - 5 = 31", "31"
)
LOWER = ask("Which is lower, 22 or 85?", "1. 85 > 22", "22")
ORDER = ask(
    "Tom is taller than Ann. Ann is taller than Sam. Who is shortest?", "1. Tom > Ann > Sam", "Sam"
)
ODD = ask("Odd or even: 37?", "1. 37 ends in 7", "odd")
COUNT = ask("How many words: sun cat?", "1. sun\n2. cat", "2")
DAY = ask("Which day is before Monday?", "1. Sunday then Monday", "Sunday")
PROSE = ask(
    "Why does ice float on water?",
    "Water expands when it freezes.\nSo ice has a lower density than water.\nLight things float",
    "lower density",
)
SPEED = ask(
    "If a train travels 120 miles in 2 hours, what is its average speed?",
    "I divide total distance by total time.\nDistance = 120 miles\nTime = 2 hours\n"
    "Average speed = 120 miles ÷ 2 hours = 60 miles per hour",
    "60 miles per hour",
)
PLANTS = ask(
    "Explain how photosynthesis works.",
    "Photosynthesis turns light into energy.\nStep 1: Plants absorb sunlight\n"
    "Step 2: They take in carbon dioxide\nStep 3: This produces glucose",
    "It turns light into energy.",
)
TRAIN = ask("A train goes 120 miles in 2 hours. Its speed?", "", "60 mph", "number")
ALL = [SUM, NET, TWO, LOWER, ORDER, ODD, COUNT, DAY, PROSE, SPEED, PLANTS]


def parts(question: Question, reasoning: str, answer: str) -> list[float]:
    """[reasoning quality, correctness, coherence, clarity], each from 0 to 1."""
    trace = parse(render(reasoning, answer))
    assert trace is not None
    criteria = (reasoning_quality, answer_correctness, trace_coherence, step_clarity)
    case = Case(question, trace)
    return [criterion(case) for criterion in criteria]


@pytest.mark.parametrize("question", ALL, ids=lambda question: question.prompt)
def test_the_reference_itself_earns_every_criterion(question):
    assert parts(question, question.reasoning, question.answer) == [1, 1, 1, 1]


CASES = [  # question, reasoning, answer, [quality, correctness, coherence, clarity]
    (SUM, "1. 38 + 1 = 40", "40", [0, 0, 1, 1]),  # a neat slip
    (SUM, "1. 38 + 1 = 39", "40", [1, 0, 0, 1]),  # answer against the trace
    (SUM, "1. 38 + 1 = 40", "39", [0, 1, 0, 1]),
    (SUM, "1. 38 - 1 = 37", "37", [0, 0, 1, 1]),  # true, but not what was asked
    (SUM, "1. 38 > 1", "39", [0, 1, 0, 1]),  # true, but no step towards the answer
    (SUM, "1. 38 + 5 = 43", "43", [0.5, 0, 0.5, 1]),  # one fact of two used; 5 from nowhere
    (SUM, "1. 35 + 4 = 39", "39", [0, 1, 0.5, 1]),  # right by numbers that were not given
    (SUM, "38 + 1 = 39", "39", [1, 1, 1, 0]),  # not numbered
    (SUM, "2. 38 + 1 = 39", "39", [1, 1, 1, 0]),
    (SUM, "1. The answer is 39", "39", [0, 1, 0, 1]),
    (SUM, "", "39", [0, 1, 0, 0]),
    (SUM, "1. So 38 + 1 = 39", "39", [1, 1, 1, 1]),
    (SUM, "1. bananas love purple 38 + 1 = 39", "39", [0.5, 1, 1, 1]),
    (NET, "1. 58 - 3 = 55", "55 C", [1, 1, 1, 1]),
    (NET, "1. 7 * -9 + 5 = -58", "-58", [0, 0, 0.5, 1]),
    (TWO, "1. 36 - 5 = 31\n2. 35 + 1 = 36", "31", [0.5, 1, 0, 1]),  # shuffled: 31 not the last
    (
        TWO,
        "1. 36 - 5 = 31\n2. 35 + 1 = 36",
        "36",
        [0.5, 0, 0.75, 1],
    ),  # 31 is of no use
    (TWO, "1. 34 + 1 = 35\n2. 35 - 5 = 30", "30", [0.5, 0, 0.75, 1]),  # so is 34
    (TWO, "1. 35 + 1 - 5 = 31", "31", [1, 1, 1, 1]),
    (TWO, "1. 35 + 1 - 5 + 4 - 4 = 31", "31", [0, 1, 0.5, 1]),  # 4 is from nowhere
    (TWO, "1. 35 + 1 = 36\n2. 35 - 5 = 30\n3. 36 - 5 = 31", "31", [2 / 3, 1, 1, 1]),  # idle 30
    (TWO, "1. 2 + 2 = 4\n2. 35 + 1 = 36\n3. 36 - 5 = 31", "31", [2 / 3, 1, 5 / 6, 1]),
    (TWO, "1. Max has 35 eggs\n2. 35 + 1 = 36\n3. 36 - 5 = 31", "31", [1, 1, 1, 1]),  # a copy
    (TWO, "1. 35 + 1 = 36\n2. 36 - 5 = 31\n3. So the answer is 31", "31", [1, 1, 1, 1]),
    (TWO, "1. Max has 35 eggs\n2. So the answer is 31", "31", [0, 1, 0, 1]),
    (LOWER, "1. 85 > 22", "85", [1, 0, 0, 1]),  # the other side, picked neatly
    (LOWER, "1. 22 > 85", "85", [0, 0, 1, 1]),
    (LOWER, "1. 85 - 22 = 63", "22", [0, 1, 0, 1]),
    (LOWER, "1. 85 > 10", "22", [0.5, 1, 0, 1]),
    (ORDER, "1. Tom > Ann > Sam", "Tom", [1, 0, 0, 1]),
    (ORDER, "1. Tom > Ann > Sam", "Ann", [1, 0, 0, 1]),
    (ORDER, "1. Sam > Ann > Tom", "Tom", [0, 0, 1, 1]),
    (ORDER, "1. Tom Ann Sam", "Sam", [0, 1, 0, 1]),
    (ODD, "1. 37 ends in 7", "even", [1, 0, 0, 1]),
    (ODD, "1. 36 ends in 6", "odd", [0, 1, 0, 1]),
    (COUNT, "1. sun\n2. cat", "3", [1, 0, 0, 1]),
    (COUNT, "1. sun", "1", [0.5, 0, 1, 1]),
    (COUNT, "1. sun\n2. sun\n3. cat", "3", [2 / 3, 0, 1, 1]),
    (COUNT, "1. cat\n2. sun", "2", [0.5, 1, 1, 1]),  # order counts in a reference of text
    (SPEED, "1. 120 / 2 = 60", "60 mph", [1, 1, 1, 1]),  # shorter, and all that is needed
    (SPEED, "1. 120 x 2 = 240", "240 mph", [0, 0, 1, 1]),
    (DAY, "1. Sunday then Monday", "Monday", [1, 0, 0, 1]),
    (DAY, "1. Monday then Tuesday", "Monday", [0, 0, 1, 1]),
]


@pytest.mark.parametrize(("question", "reasoning", "answer", "expected"), CASES)
def test_criteria_are_those_worked_out_by_hand(question, reasoning, answer, expected):
    assert parts(question, reasoning, answer) == pytest.approx(expected)


@pytest.mark.parametrize("question", ALL, ids=lambda question: question.prompt)
def test_filler_that_copies_the_question_stays_far_below_the_true_trace(question):
    for filler in (
        question.prompt,
        f"1. {question.prompt}",
        f"1. {question.prompt}\n2. The answer is {question.answer}",
        f"1. {question.prompt} {question.answer}",
    ):
        reward = score(question, render(filler, question.answer), PAPER).reward
        # Two steps for the answer 2 are a coherent count; else nothing but the answer is earned.
        assert reward <= 0.42 + 1e-9


@pytest.mark.parametrize("question", [TWO, PROSE], ids=["equations", "prose"])
def test_shuffled_steps_are_seen(question):
    lines = [
        line.removeprefix(f"{n}. ") for n, line in enumerate(question.reasoning.split("\n"), 1)
    ]
    turned = "\n".join(f"{n}. {line}" for n, line in enumerate(reversed(lines), 1))
    true = score(question, render(question.reasoning, question.answer), PAPER).reward
    assert score(question, render(turned, question.answer), PAPER).reward <= true - 0.2 + 1e-9


@pytest.mark.parametrize("question", [SUM, NET, TWO, LOWER], ids=lambda question: question.prompt)
def test_changed_numbers_are_seen(question):
    true = score(question, render(question.reasoning, question.answer), PAPER).reward
    head, _, number = question.reasoning.rpartition(" ")
    changed = f"{head} {int(number) + 1}"
    assert score(question, render(changed, question.answer), PAPER).reward <= true - 0.2 + 1e-9


def test_facts_that_the_reference_repeats_are_no_reasoning_alone():
    question = ask(
        "The gate opens with the black or the silver key. The silver key does not open it. "
        "Which key opens it?",
        "Either the black or the silver key opens the gate.\nThe silver key does not open it.\n"
        "So the black key opens the gate.",
        "black",
    )
    copied = "1. The silver key does not open it.\n2. So it is black."
    assert parts(question, copied, "black")[0] == 0
    assert parts(question, f"{copied}\n3. The black key opens the gate.", "black")[0] > 0


def test_without_a_reference_the_question_and_the_equations_speak():
    step = "1. speed = 120 miles / 2 hours = 60 miles"
    assert parts(TRAIN, step, "60 mph") == [1, 1, 1, 1]
    assert parts(TRAIN, step.replace("60", "70"), "70 mph") == [0, 0, 1, 1]
    assert parts(TRAIN, "1. 120 miles in 2 hours", "60 mph") == [0, 1, 0, 1]  # a copy
    assert parts(TRAIN, "1. It went 55 that hour", "55 mph")[0] == 0  # 55 from nowhere


POND = ask(
    "Why do fish survive in winter?",
    "Cold water sinks below the warm water\nThe sinking water carries oxygen to the bottom",
    "oxygen",
)
POND_CASES = [  # first step, second step, [quality, correctness, coherence, clarity]
    # five of six words in common, more than the 0.7 that are asked for
    (
        "Cold water sinks far below the warm water",
        "The sinking water carries oxygen to the deep bottom",
        [1, 1, 1, 1],
    ),
    # the same words in another order: the step holds 0.7, and so much is covered and grounded
    (
        "Warm water sinks below the cold water",
        "The sinking water carries oxygen to the bottom",
        [0.85 * 0.85, 1, 0.5 + 0.5 * 0.85, 1],
    ),
    # a denial of what the reference affirms: the step holds 0.3
    (
        "Cold water never sinks below the warm water",
        "The sinking water carries oxygen to the bottom",
        [0.65 * 0.65, 1, 0.5 + 0.5 * 0.65, 1],
    ),
]


@pytest.mark.parametrize(("first", "second", "expected"), POND_CASES)
def test_prose_is_compared_by_words_order_and_denials(first, second, expected):
    assert parts(POND, f"{first}\n{second}", "oxygen") == pytest.approx(expected)


def test_long_and_many_steps_are_not_clear():
    assert parts(SUM, "1. 38 + 1 = 39" + " so it is" * 8, "39")[3] == 0
    steps = "\n".join(f"{n}. 38 + 1 = 39" for n in range(1, 6))
    assert parts(SUM, steps, "39")[3] == 0


def test_an_unknown_verifier_is_an_error_and_no_zero():
    with pytest.raises(InputError, match="'magic' is unknown"):
        parts(ask("a 1?", "", "1", "magic"), "1. 1", "1")


def test_a_judgement_is_fast_whatever_the_text():
    texts = [render("1. 38 + 1 = 39", "39")] * 200
    start = time.perf_counter()
    for text in texts:
        score(SUM, text, PAPER)
    assert (time.perf_counter() - start) / len(texts) < 1e-3  # 0.04 ms on a quiet core
    for filler in ("1 a a a + " * 49 + "= ", "1 x " * 120 + "= 1 =", "9" * 498 + "=", "= 1 " * 124):
        start = time.perf_counter()
        score(SUM, render("\n".join([filler] * 10), "1"), PAPER)
        assert time.perf_counter() - start < 1
