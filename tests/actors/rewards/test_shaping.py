import pytest

from actors.rewards.format import parse, render
from actors.rewards.rubric import Rubric, Weights, load_rubric
from actors.rewards.shaping import reasonable_length, repeats, score
from cluster.messages import Question

PAPER = load_rubric("paper")
SUM = Question("q", "What is 38 + 1?", "1. 38 + 1 = 39", "39", "math", "number")
FREE = Question("q", "What is 38 + 1?", "", "39", "math", "number")
PARTS = (
    *("reasoning_quality", "answer_correctness", "trace_coherence", "step_clarity"),
    *("missing_tags", "repetition", "length_bonus"),
)


def test_the_true_trace_earns_one_and_the_bonus():
    verdict = score(SUM, render("1. 38 + 1 = 39", "39"), PAPER)
    assert tuple(verdict.parts) == PARTS
    assert list(verdict.parts.values()) == pytest.approx([0.4, 0.3, 0.2, 0.1, 0, 0, 0.02])
    assert verdict.reward == pytest.approx(1.02)
    assert verdict.abstained == ""


@pytest.mark.parametrize("text", ["39", "", "<answer>39</answer>", "1. 38 + 1 = 39 39"])
def test_without_tags_no_criterion_counts(text):
    verdict = score(SUM, text, PAPER)
    assert verdict.reward == -0.5
    assert verdict.parts == dict.fromkeys(PARTS, 0.0) | {"missing_tags": -0.5}


def test_a_repeated_step_costs_a_tenth_however_it_is_numbered():
    verdict = score(SUM, render("1. 38 + 1 = 39\n2. 38 + 1 = 39", "39"), PAPER)
    assert verdict.parts["repetition"] == pytest.approx(-0.1)
    assert verdict.reward == pytest.approx(0.9)  # 28 characters are twice 14 and one: no bonus


def test_weights_are_those_of_the_rubric():
    criteria = {"reasoning_quality": 0.0, "answer_correctness": 1.0}
    rubric = Rubric(Weights(criteria, missing_tags=-1, repetition=0, length_bonus=0), {}, "")
    assert score(SUM, render("1. 38 + 1 = 40", "39"), rubric).reward == 1
    assert score(SUM, render("1. 38 + 1 = 39", "40"), rubric).reward == 0
    assert score(SUM, "39", rubric).reward == -1


def test_scores_are_those_before_the_weights():
    verdict = score(SUM, render("1. 38 + 1 = 39\n2. 5 > 7", "39"), PAPER)
    scores = {"reasoning_quality": 0.5, "answer_correctness": 1, "trace_coherence": 0}
    assert verdict.scores == scores | {"step_clarity": 1}
    assert score(SUM, "39", PAPER).scores == {}


@pytest.mark.parametrize("text", ["39", render("1. a\n1. a", "39"), render("1. 38 + 5 = 43", "43")])
def test_parts_sum_to_the_reward(text):
    verdict = score(SUM, text, PAPER)
    assert sum(verdict.parts.values()) == pytest.approx(verdict.reward)


@pytest.mark.parametrize(
    ("question", "reasoning", "reasonable"),
    [
        (SUM, "1. 38 + 1 = 39", True),
        (SUM, "a" * 7, True),
        (SUM, "a" * 6, False),
        (SUM, "a" * 28, True),
        (SUM, "a" * 29, False),
        (SUM, "1. ab\n2. abc", True),
        (SUM, "1. ab\n2. ab\n3. ab", False),
        (SUM, "", False),
        (FREE, "", False),
        (FREE, "a", True),
        (FREE, "a\n" * 12, True),
        (FREE, "a\n" * 13, False),
    ],
)
def test_a_reasonable_length_is_near_that_of_the_reference(question, reasoning, reasonable):
    trace = parse(render(reasoning, "39"))
    assert trace is not None
    assert reasonable_length(question, trace) == reasonable


def test_repeats_ignore_case_and_punctuation():
    def repeated(reasoning: str) -> bool:
        trace = parse(render(reasoning, "39"))
        assert trace is not None
        return repeats(trace)

    assert repeated("1. Sun, then cat\n2. moon\n3. sun then cat.")
    assert not repeated("1. sun then cat\n2. cat then sun")
    assert not repeated("")


def test_what_a_gaming_policy_would_change_is_watched():
    text = render("1. What is 38 + 1\n2. 38 + 1 = 39\n3. 38 + 1 = 39\n4. So the answer is 39", "39")
    watched = score(SUM, text, PAPER).watched
    assert watched == {"steps": 4, "characters": 70, "filler": 0.75}
    assert score(SUM, render("1. 38 + 1 = 39", "39"), PAPER).watched["filler"] == 0
    assert score(SUM, render("", "39"), PAPER).watched["filler"] == 0
    assert score(SUM, "39", PAPER).watched == {}
