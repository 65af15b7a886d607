"""What the default rubric reaches on the labelled completions; docs/judge.md has the figures."""

import asyncio

import pytest

from actors.bench import Bench
from actors.data.labelled.items import read_items
from actors.judge_report import accuracy, judge_pairs, report_lines
from actors.rewards.rubric import load_rubric

PAIRS, _ = asyncio.run(judge_pairs(read_items(), Bench(load_rubric("paper"), None)))


def pairs(split: str, with_reference: bool, kind: str | None = None):
    return [
        pair
        for pair in PAIRS
        if (pair.split, pair.with_reference) == (split, with_reference)
        and pair.kind == (kind or pair.kind)
    ]


KINDS = tuple(dict.fromkeys(pair.kind for pair in PAIRS))
SHORT = {"missing_step": 0.88}  # of what is wanted of the others: docs/judge.md says why
SHORT_ALONE = {"wrong_step": 0.68}


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_reference_flaws_are_seen(kind):
    assert accuracy(pairs("tune", True, kind))[0] >= 0.95
    assert accuracy(pairs("test", True, kind))[0] >= SHORT.get(kind, 0.9)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_reference_most_flaws_are_seen(kind):
    assert accuracy(pairs("tune", False, kind))[0] >= 0.8
    assert accuracy(pairs("test", False, kind))[0] >= SHORT_ALONE.get(kind, 0.75)


def test_over_all_kinds_on_templates_that_the_rules_were_not_written_against():
    assert accuracy(pairs("test", True))[0] >= 0.98
    assert accuracy(pairs("test", False))[0] >= 0.89
    assert accuracy(pairs("test", True, "malformed")) == (1.0, 951)


def test_the_report_has_a_line_for_every_kind_domain_and_criterion():
    lines = report_lines(PAIRS)
    for name in (*KINDS, "in math", "in general", "step_clarity", "trace_coherence"):
        assert any(name in line for line in lines)
    assert "1.000 [0.96-1.00]" in next(line for line in lines if "wrong_answer" in line)
