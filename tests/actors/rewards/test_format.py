import pytest

from actors.rewards.format import parse, render


def test_what_is_rendered_is_parsed():
    trace = parse(render("1. a\n2. b", "42"))
    assert trace is not None
    assert (trace.reasoning, trace.answer) == ("1. a\n2. b", "42")
    assert [(step.number, step.text) for step in trace.steps] == [(1, "a"), (2, "b")]


def test_whitespace_around_and_between_the_tags_is_allowed():
    trace = parse(" <reasoning>\n a \n</reasoning>\n\n<answer> b </answer>\n")
    assert trace is not None and (trace.reasoning, trace.answer) == ("a", "b")


def test_empty_reasoning_is_a_trace_without_steps():
    trace = parse("<reasoning></reasoning><answer>b</answer>")
    assert trace is not None and trace.steps == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "<answer>42</answer>",
        "<reasoning>a</reasoning>42",
        "<reasoning>a</reasoning><answer>42",
        "<reasoning>a<answer>42</answer></reasoning>",
        "<answer>42</answer><reasoning>a</reasoning>",
        "so <reasoning>a</reasoning><answer>42</answer>",
        "<reasoning>a</reasoning><answer>42</answer>.",
        "<reasoning>a</reasoning> so <answer>42</answer>",
        "<reasoning>a</reasoning><answer>42</answer><answer>43</answer>",
        "<reasoning>a</reasoning><reasoning>b</reasoning><answer>42</answer>",
        "<Reasoning>a</Reasoning><Answer>42</Answer>",
    ],
)
def test_anything_else_has_no_trace(text):
    assert parse(text) is None
