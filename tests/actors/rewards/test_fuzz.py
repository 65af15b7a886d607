"""Ten thousand texts that nobody would write, and a few that are very long: no verdict may fail."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.rewards.confine import supported
from actors.rewards.format import TAGS, parse, render
from actors.rewards.rubric import load_rubric
from actors.rewards.shaping import score
from actors.rewards.verifiers import verify
from cluster.messages import Question

RUBRICS = {name: load_rubric(name) for name in ("paper", "multilingual")}
LOWEST, HIGHEST = -0.6, 1.02
BOUND_S = 2.0  # of one judgement, also of a megabyte; processor time, whatever else runs
PIECES = (
    *TAGS,
    *("<reasoning", "</answer", "<<answer>>", "< answer >", "<REASONING>", "&lt;answer&gt;"),
    *("1. ", "2) ", "Step 3: ", "38", "1", "39", "-1", "+", "=", "x", "/", "<", ">", "÷", "0"),
    *("1,234.5", ".5", "9^9", "1e999", "nan", "inf", "km", "°C", "m^2", "miles per hour"),
    *("\n", "\n\n", " ", "\t", "\r", "\x00", "\x1b[0m", "(", ")", "'", '"', "\\", "{", "}", "$"),
    *("Tom", "eggs", "the answer is", "and", ";", ",", "\\frac{1}{2}", "\\boxed{", "```python\n"),
    *("é", "\u0301", "\u202e", "\u200b", "٣", "½", "²", "你好", "\U0001f469\u200d\U0001f467"),
    *("```", "\ufeff", "ß", "İ", "\U0010ffff"),
)
fragments = st.one_of(st.sampled_from(PIECES), st.text(max_size=4))
texts = st.lists(fragments, max_size=10).map("".join)
completions = st.one_of(
    texts,
    st.builds(render, texts, texts),
    st.builds(lambda a, b, c: a + render(b, "39") + c, texts, texts, texts),
)
questions = st.builds(
    Question,
    id=st.just("q"),
    prompt=texts,
    reasoning=st.one_of(st.just(""), texts),
    answer=texts,
    domain=st.sampled_from(("math", "general")),
    verifier=st.sampled_from(("auto", "choice", "exact", "number:0.1", "quantity", "list", "set")),
)


def examples(count: int):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,  # the same texts in every run
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def judged(question: Question, text: str, rubric: str = "paper"):
    started = time.process_time()
    verdict = score(question, text, RUBRICS[rubric])
    assert time.process_time() - started < BOUND_S
    assert LOWEST - 1e-9 <= verdict.reward <= HIGHEST + 1e-9
    assert abs(sum(verdict.parts.values()) - verdict.reward) < 1e-9
    assert all(0 <= value <= 1 for value in verdict.scores.values())
    return verdict


@examples(3500)
@given(questions, completions)
def test_the_rubric_judges_any_text(question, text):
    judged(question, text)


@examples(1500)
@given(questions, completions)
def test_the_multilingual_rubric_judges_any_text(question, text):
    judged(question, text, "multilingual")


@examples(3500)
@given(
    st.sampled_from(("auto", "choice", "exact", "number", "quantity:0.5", "list", "set")),
    texts,
    texts,
)
def test_verifiers_decide_about_any_text(verifier, answer, reference):
    started = time.process_time()
    assert verify(verifier, answer, reference) in (True, False)
    assert time.process_time() - started < BOUND_S


@examples(400)
@given(texts, st.sampled_from(("39", "\\frac{1}{2}", "x^2+1", "\\{1,2\\}", "2^{10}")))
def test_the_math_verifier_decides_about_any_text(answer, reference):
    assert verify("math", answer, reference) in (True, False)


@pytest.mark.skipif(not supported(), reason="needs Linux on x86-64 or arm64")
@examples(30)
@given(texts)
def test_the_code_verifier_decides_about_any_text(answer):
    assert verify("code", answer, "assert False") is False


@examples(600)
@given(questions, texts, texts, st.sampled_from(TAGS))
def test_adding_a_missing_tag_never_lowers_the_format_part(question, reasoning, answer, tag):
    whole = render(reasoning.replace("<", ""), answer.replace("<", ""))
    without = judged(question, whole.replace(tag, "", 1))
    assert judged(question, whole).parts["missing_tags"] >= without.parts["missing_tags"]


@examples(600)
@given(questions, st.lists(texts, min_size=1, max_size=5), st.integers(0, 4), texts)
def test_repeating_a_step_never_raises_clarity_and_always_costs(question, lines, place, answer):
    lines = [" ".join(line.split()) or "a" for line in lines]
    steps = [f"{number}. {line}" for number, line in enumerate(lines, 1)]
    again = [*steps, f"{len(steps) + 1}. {lines[place % len(lines)]}"]
    texts_ = [render("\n".join(trace), answer) for trace in (steps, again)]
    if None in map(parse, texts_):
        return
    once, twice = (judged(question, text) for text in texts_)
    assert twice.scores["step_clarity"] <= once.scores["step_clarity"]
    assert twice.parts["repetition"] == RUBRICS["paper"].default.repetition


MEGABYTE = 2**20
LONG = {
    "letters": "a" * MEGABYTE,
    "digits": "9" * MEGABYTE,
    "lines": "\n" * MEGABYTE,
    "steps": "1\n" * (MEGABYTE // 2),
    "equations": ("1 x " * 120 + "= 1 =\n") * (MEGABYTE // 488),
    "a sum": "1 a a a + " * (MEGABYTE // 10) + "=",
    "tags": "<reasoning>" * (MEGABYTE // 11),
    "brackets": "<" * MEGABYTE,
    "LaTeX": "\\frac{" * (MEGABYTE // 6),
    "commas": "1," * (MEGABYTE // 2),
    "Chinese": "你好，" * (MEGABYTE // 3),
    "accents": "e\u0301" * (MEGABYTE // 2),
}
ASKED = Question("q", "What is 38 + 1?", "1. 38 + 1 = 39", "39", "math", "number")


@pytest.mark.parametrize("filler", LONG)
def test_a_megabyte_is_judged_in_bounded_time(filler):
    text = LONG[filler]
    for completion in (text, render(text, "39"), render("1. 38 + 1 = 39", text)):
        for rubric in RUBRICS:
            judged(ASKED, completion, rubric)
    for verifier in ("auto", "choice", "exact", "number", "quantity", "list", "set", "math"):
        for answer, reference in ((text, "39"), (text, text), ("39", text)):
            started = time.process_time()
            assert verify(verifier, answer, reference) in (True, False)
            assert time.process_time() - started < BOUND_S
    if supported():
        assert verify("code", text, "assert False") is False
