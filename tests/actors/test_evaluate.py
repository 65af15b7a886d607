"""pass@k, maj@k and the paired test by hand; benchmarks as their files come."""

import dataclasses
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.data.tables import load_table, question
from actors.eval_report import compare, mcnemar, write_report
from actors.evaluate import majority_right, measures, pass_at, sample_measures
from actors.rewards.format import render
from cluster.messages import Verdict
from configs.errors import InputError
from tests.learner.conftest import make_group


def make_samples(index, answers, right_answer, abstained=()):
    group = make_group(index, [0.0] * len(answers), lengths=(3,) * len(answers))
    scores = [float(answer == right_answer) for answer in answers]
    verdicts = tuple(
        Verdict.abstain("down")
        if place in abstained
        else Verdict(score, {}, scores={"answer_correctness": score})
        for place, score in enumerate(scores)
    )
    texts = tuple(render("1. so", answer) if answer else "no tags" for answer in answers)
    rollout = dataclasses.replace(group.rollout, texts=texts)
    return dataclasses.replace(group, rollout=rollout, verdicts=verdicts)


def test_pass_at_k_by_hand():
    assert pass_at(1, 4, 1) == 0.25
    assert pass_at(2, 4, 1) == 0.5  # 1 - C(3, 2) / C(4, 2)
    assert pass_at(4, 4, 0) == 0.0
    assert pass_at(4, 3, 1) == 1.0  # one abstained


def test_majority_counts_answers_not_samples():
    texts = [render("a", answer) for answer in ("7", "8", " 7 ", "Seven")] + ["7"]
    assert majority_right(texts, [True, False, True, False, False])
    assert not majority_right(["7", "7"], [True, True])  # no format, no answer


def test_samples_of_several_questions():
    groups = [
        make_samples(0, ["7", "7", "8", "8"], "8"),  # a tie: the first counts, which is wrong
        make_samples(1, ["3", "3", "3", ""], "3"),
        make_samples(2, ["5", "6", "6", "6"], "6", abstained=(1, 2, 3)),
    ]
    found = sample_measures(groups)
    assert found == {
        "pass@1": pytest.approx((2 / 4 + 3 / 4 + 0) / 3),
        "pass@4": pytest.approx(2 / 3),
        "maj@4": pytest.approx(1 / 3),
    }
    assert sample_measures([make_samples(0, ["7"], "7")]) == {}
    verdicts = [verdict for group in groups for verdict in group.verdicts]
    assert measures(verdicts)["accuracy"] == pytest.approx(5 / 9)


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(3, 1) == pytest.approx(2 * (1 + 4) / 16)


def test_two_evaluations_are_compared_by_question(tmp_path):
    results = {"all": {"greedy": measures([Verdict(1.0, {}, scores={"answer_correctness": 1.0})])}}
    for name, answers in (("before", "7788"), ("after", "8888")):
        groups = [make_samples(n, [answer], "8") for n, answer in enumerate(answers)]
        write_report(tmp_path / f"eval-{name}", name, results, groups)
    found = compare(tmp_path / "eval-before-rows.json", tmp_path / "eval-after-rows.json")
    assert (found["before"], found["after"], found["gained"], found["lost"]) == (0.5, 1.0, 2, 0)
    assert found["p"] == pytest.approx(0.5)
    page = (tmp_path / "eval-after.md").read_text()
    assert "| all | greedy | 1.000" in page
    assert "<answer>8</answer>" in page
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(InputError, match="no question in common"):
        compare(tmp_path / "eval-after-rows.json", tmp_path / "other.json")
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="holds no eval"):
        compare(tmp_path / "runs", tmp_path)


GSM8K = {"question": "Tom has 40 + 32 coins.", "answer": "He has <<40+32=72>>72.\n#### 1,072"}
MATH = {"problem": "Simplify.", "solution": "So.", "answer": "\\frac{1}{2}", "subject": "Algebra"}
MMLU = {"question": "Which?", "choices": ["iron", "gold"], "answer": 1, "subject": "chemistry"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (GSM8K, ("Tom has 40 + 32 coins.", "He has 72.", "1072", "math", "number")),
        (MATH, ("Simplify.", "So.", "\\frac{1}{2}", "Algebra", "math")),
        (
            MMLU,
            ("Which?\nA. iron\nB. gold\nAnswer with the letter.", "", "B", "chemistry", "choice"),
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_benchmarks_are_read_as_they_come(row, expected, suffix, tmp_path):
    path = tmp_path / f"test{suffix}"
    if suffix == ".jsonl":
        path.write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist([row, row]), path)
    table = load_table(path)
    asked = question(table, 1)
    found = (asked.prompt, asked.reasoning, asked.answer, asked.domain, asked.verifier)
    assert found == expected
    assert asked.id == "test-2"


def test_a_row_that_is_not_as_the_first_is_named(tmp_path):
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps(GSM8K) + "\n" + json.dumps(GSM8K | {"answer": "72"}) + "\n")
    with pytest.raises(InputError, match="row 2 is not as its first one .*no ####"):
        load_table(path)
