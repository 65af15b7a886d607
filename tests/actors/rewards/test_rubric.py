"""Rubrics as files: what the shipped ones say, what a wrong one gets to hear."""

import re

import pytest

from actors.rewards.format import render
from actors.rewards.rubric import SHIPPED, load_rubric
from actors.rewards.shaping import score
from cluster.messages import Question
from configs.errors import InputError

SUM = Question("q", "What is 38 + 1?", "1. 38 + 1 = 39", "39", "math", "number")
PAPER = (SHIPPED / "paper.toml").read_text()
LLM = (SHIPPED / "llm.toml").read_text()


def write(tmp_path, text: str) -> str:
    path = tmp_path / "own.toml"
    path.write_text(text)
    return str(path)


def test_the_default_is_the_paper():
    rubric = load_rubric("paper")
    assert rubric.default.criteria == {
        "reasoning_quality": 0.4,
        "answer_correctness": 0.3,
        "trace_coherence": 0.2,
        "step_clarity": 0.1,
    }
    assert (rubric.default.missing_tags, rubric.default.repetition) == (-0.5, -0.1)
    assert rubric.default.length_bonus == 0.02
    assert rubric.weights("math") is rubric.default


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_rubric_loads_and_rewards_the_true_trace_most(path):
    rubric = load_rubric(path.stem)
    best, worst = dict.fromkeys(rubric.asked, 1.0), dict.fromkeys(rubric.asked, 0.0)
    assert score(SUM, render("1. 38 + 1 = 39", "39"), rubric, best).reward == pytest.approx(1.02)
    assert score(SUM, render("1. 38 + 1 = 40", "39"), rubric, worst).reward < 1
    assert score(SUM, "39", rubric).reward == -0.5


def test_a_domain_may_weigh_otherwise(tmp_path):
    text = PAPER + (
        "[domains.math.weights]\nreasoning_quality = 0.1\nanswer_correctness = 0.6\n"
        "[domains.math.shaping]\nlength_bonus = 0.0\n"
    )
    rubric = load_rubric(write(tmp_path, text))
    verdict = score(SUM, render("1. 38 + 1 = 40", "39"), rubric)
    assert verdict.reward == pytest.approx(0.6 + 0.1)  # correct, clear; neither sound nor coherent
    assert rubric.weights("science") is rubric.default
    assert rubric.default.criteria["answer_correctness"] == 0.3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "weight = 0.4",
            "weight = 0.5",
            "criteria: the weights sum to 1.1, they must sum to 1 (re",
        ),
        (
            "weight = 0.4",
            "weight = 1.4",
            "criteria.reasoning_quality.weight = 1.4: Input should be",
        ),
        (
            "weight = 0.4",
            'weight = "a"',
            "criteria.reasoning_quality.weight = 'a': Input should be",
        ),
        ("weight = 0.4", "wieght = 0.4", "did you mean criteria.reasoning_quality.weight?"),
        ("weight = 0.4", "", "criteria.reasoning_quality.weight: is missing"),
        ("[shaping]", "[shapping]", "shapping: unknown"),
        ("repetition", "repetiton", "did you mean shaping.repetition?"),
        ("repetition = -0.1", "repetition = 0.1", "shaping.repetition = 0.1: Input should be less"),
        (
            'scorer = "verifier"',
            'scorer = "llm"',
            "[criteria.answer_correctness] the scorer 'llm' needs a question and a scale of 2",
        ),
        (
            'scorer = "verifier"',
            'scorer = "llama"',
            "criteria.answer_correctness.scorer = 'llama': Inp",
        ),
        (
            'scorer = "verifier"',
            'scorer = "verifier"\nquestion = "Is it right?"',
            "question and scale are of the scorer 'llm', not 'verifier'",
        ),
        ("criteria.step_clarity", "criteria.clarity", "did you mean step_clarity?"),
        ("criteria.answer_correctness", "criteria.answer", "a verifier scores answer_correctness"),
        (
            "[shaping]",
            "[domains.math.weights]\nstep_clarity = 0.5\n[shaping]",
            "weights sum to 1.4",
        ),
        (
            "[shaping]",
            "[domains.math.weights]\nclarity = 0.1\n[shaping]",
            "did you mean step_clari",
        ),
        ("[shaping]", "[domains.math]\nweight = 1\n[shaping]", "did you mean domains.math.weights"),
        ("[shaping]", "[shaping", "not TOML"),
    ],
)
def test_a_wrong_rubric_says_what_and_where(old, new, message, tmp_path):
    assert old in PAPER
    path = write(tmp_path, PAPER.replace(old, new, 1))
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_rubric(path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{question}\n", "{qestion}\n", "{qestion}: unknown; did you mean question?"),
        ("{completion}\n", "", "the template must contain {completion} once"),
        ("{scale}\n\n", "{scale}{scale}", "the template must contain {scale} once"),
        ("Score:", "", "must end in {completion} and one line"),
        ("Score:", "{answer}", "must end in {completion} and one line"),
        ("Score:", "Now\nScore:", "must end in {completion} and one line"),
        ("[llm]", "[lm]", "did you mean llm"),
        ("scale = [", 'scale = ["a", "b", "c", "d", "e",', "at most 9 items"),
    ],
)
def test_a_wrong_template_says_what_and_where(old, new, message, tmp_path):
    assert old in LLM
    path = write(tmp_path, LLM.replace(old, new, 1))
    with pytest.raises(InputError, match=re.escape(message)):
        load_rubric(path)


def test_a_rubric_that_is_not_there_says_what_is(tmp_path):
    with pytest.raises(
        InputError, match="did you mean paper.*shipped are llm, multilingual, paper"
    ):
        load_rubric("papper")
    with pytest.raises(InputError, match=r"none.toml: No such file.*judge.rubric"):
        load_rubric(str(tmp_path / "none.toml"))


def test_a_run_goes_on_with_the_rubric_it_was_begun_with(tmp_path):
    kept = tmp_path / "rubric.toml"
    kept.write_text("# kept\n" + PAPER)
    assert load_rubric("paper", kept) == load_rubric("paper")  # comments do not matter
    with pytest.raises(InputError, match=f"another rubric.*judge.rubric={kept}"):
        load_rubric("multilingual", kept)


def test_without_the_correctness_of_the_answer_there_is_no_rubric(tmp_path):
    start = PAPER.index("[criteria.answer")
    end = PAPER.index("[criteria.trace")
    with pytest.raises(InputError, match="answer_correctness is missing; its weight may be 0"):
        load_rubric(write(tmp_path, PAPER[:start] + PAPER[end:]))
