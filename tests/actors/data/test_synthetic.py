import random
import re

import pyarrow.parquet as pq
import pytest

from actors.data.demonstrations import numbered, slip
from actors.data.questions import (
    DAYS,
    DOMAINS,
    KINDS,
    SYMBOLS,
    SyntheticQuestion,
)
from actors.data.synthetic import draw, write_synthetic
from actors.rewards.format import parse, render
from actors.rewards.rubric import load_rubric
from actors.rewards.shaping import score
from cluster.messages import Question

ROWS, HELDOUT_ROWS = 4000, 200


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    paths = write_synthetic(folder, ROWS, HELDOUT_ROWS, seed=0, clean=0.27, slips=0.33)
    return [pq.read_table(path).to_pylist() for path in paths]


def value_key(row: dict) -> object:
    """What a question is about, read from its text alone, whatever its template."""
    kind, prompt = row["kind"], row["prompt"]
    numbers = tuple(map(int, re.findall(r"\d+", prompt)))
    if kind in ("add", "sub", "word", "net"):
        return row["reasoning"].split()[2], numbers
    if kind in ("weigh", "cmp"):
        return "compared", tuple(sorted(numbers))
    if kind in ("pick", "count"):
        return "words", tuple(prompt.split(": ")[1].rstrip("?").split())
    if kind == "odd":
        return "parity", numbers
    if kind == "order":
        return "order", tuple(row["reasoning"].removeprefix("1. ").split(" > "))
    return "fact", prompt


def test_files_have_the_asked_rows_with_unique_ids(data):
    train, heldout = data
    assert (len(train), len(heldout)) == (ROWS, HELDOUT_ROWS)
    assert len({row["id"] for row in train + heldout}) == ROWS + HELDOUT_ROWS


def test_no_heldout_value_occurs_in_training_under_any_template(data):
    train, heldout = ({value_key(row) for row in side} for side in data)
    assert not train & heldout
    kinds_held = {row["kind"] for row in data[1]}
    assert kinds_held == set(KINDS)


def test_no_prompt_occurs_on_both_sides(data):
    train, heldout = ({row["prompt"] for row in side} for side in data)
    assert not train & heldout


def test_a_phrasing_of_a_fact_is_on_one_side_and_each_fact_on_both():
    rng = random.Random(0)
    drawn = [KINDS[k].make(v, rng) for k in ("symbol", "day") for v in KINDS[k].variants * 300]
    sides = {True: set(), False: set()}
    facts = {True: set(), False: set()}
    for question in drawn:
        words = set(re.findall(r"\w+", question.prompt))
        fact = frozenset(words & {*SYMBOLS, *DAYS, "after", "before"})
        sides[question.held_out].add(question.prompt)
        facts[question.held_out].add(fact)
    assert not sides[True] & sides[False]
    assert (len(sides[True]), len(sides[False])) == (10 + 14, 40 + 42)
    assert facts[True] == facts[False] and len(facts[True]) == 10 + 14


def test_one_key_in_five_is_held_out():
    rng = random.Random(0)
    keys = {q.key: q.held_out for q in (KINDS["cmp"].make("larger", rng) for _ in range(20_000))}
    assert 0.17 < sum(keys.values()) / len(keys) < 0.23


def test_kinds_that_share_an_operation_share_their_keys():
    rng = random.Random(0)

    def keys(*names: str) -> list[set[str]]:
        made = ((k, KINDS[k].variants * 2000) for k in names)
        return [{KINDS[k].make(v, rng).key for v in variants} for k, variants in made]

    add, sub, word, net = keys("add", "sub", "word", "net")
    assert word == net == add | sub


def test_prompts_repeat_only_where_nothing_new_is_left(data):
    for row_kind in ("word", "weigh", "cmp", "pick"):
        prompts = [row["prompt"] for row in data[0] if row["kind"] == row_kind]
        assert len(set(prompts)) == len(prompts)
    symbols = [row["prompt"] for row in data[0] if row["kind"] == "symbol"]
    assert len(set(symbols)) == 40 < len(symbols)
    assert len({row["prompt"] for row in data[0]}) > 3000


def test_domains_are_drawn_by_their_shares_and_dealt_evenly_to_the_heldout_rows(data):
    for domain, twelfths in zip(DOMAINS, (4, 3, 3, 2), strict=True):
        share = sum(row["domain"] == domain for row in data[0]) / ROWS
        assert abs(share - twelfths / 12) < 0.03
        assert sum(row["domain"] == domain for row in data[1]) == HELDOUT_ROWS / 4


def test_kinds_of_a_domain_follow_their_weights():
    kinds = [q.kind for q in draw(random.Random(0), False, 2000) if KINDS[q.kind].domain == "math"]
    assert abs(kinds.count("word") / len(kinds) - 3 / 5) < 0.08


def test_demonstrations_have_the_asked_qualities(data):
    qualities = [row["demonstration_quality"] for row in data[0]]
    assert abs(qualities.count("clean") / ROWS - 0.27) < 0.03
    assert abs(qualities.count("slip") / ROWS - 0.33) < 0.03
    for row in data[0]:
        tagged = parse(row["demonstration"]) is not None
        assert tagged == (row["demonstration_quality"] != "untagged")
    assert {row["demonstration_quality"] for row in data[1]} == {"clean"}


def test_clean_traces_earn_everything_and_slips_at_most_half(data):
    rubric = load_rubric("paper")
    fields = ("id", "prompt", "reasoning", "answer", "domain", "verifier")
    for row in data[0] + data[1]:
        question = Question(**{name: row[name] for name in fields})
        reward = score(question, row["demonstration"], rubric).reward
        if row["demonstration_quality"] == "clean":
            assert reward == pytest.approx(1 + 0.02)
        elif row["demonstration_quality"] == "slip":
            assert reward <= 0.5 + 0.02 + 1e-9
        else:
            assert reward == -0.5


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (("add", ("38 + 1 = 39",), "39"), "1. 38 + 1 = 40|40"),
        (("order", ("Tom > Ann > Sam",), "Ann"), "1. Tom > Ann > Sam|Sam"),
        (("cmp", ("85 > 22",), "22"), "1. 85 > 22|85"),
        (("pick", ("sun then cat then map",), "map"), "1. sun then cat then map|sun"),
        (("day", ("Sunday then Monday",), "Monday"), "1. Sunday then Monday|Sunday"),
        (("odd", ("37 ends in 7",), "odd"), "1. 37 ends in 7|even"),
        (("count", ("sun", "cat"), "2"), "1. sun\n2. cat|3"),
        (("symbol", ("iron is Fe",), "Fe"), "1. iron is Ir|Ir"),
        (("symbol", ("neon is Ne",), "Ne"), "1. neon is Nn|Nn"),
    ],
)
def test_slips_are_those_worked_out_by_hand(question, expected):
    kind, steps, answer = question
    made = SyntheticQuestion(kind, "?", steps, answer, "key", False)
    wrong_steps, wrong_answer = slip(made)
    assert f"{numbered(wrong_steps)}|{wrong_answer}" == expected
    assert render(numbered(wrong_steps), wrong_answer) != render(numbered(steps), answer)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    def written(name: str, seed: int) -> list[bytes]:
        paths = write_synthetic(tmp_path / name, 300, 40, seed, clean=0.27, slips=0.33)
        return [path.read_bytes() for path in paths]

    first = written("a", 7)
    assert written("b", 7) == first
    assert all(a != b for a, b in zip(written("c", 8), first, strict=True))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "heldout.parquet",
        "train.parquet",
    ]
