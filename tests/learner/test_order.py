"""Groups in the order of their arrival: none lost, none twice, none too old."""

import sqlite3
from contextlib import closing, contextmanager

import pytest

from learner.audit import audit
from learner.batch import select
from learner.collect import WorkLost
from learner.ledger import Ledger
from tests.learner.conftest import make_config, make_group, make_permit
from tests.learner.test_collect import KEYS, REWARDS, Script, make_collector
from tests.pipeline import Killed, Pipeline, config_of

CONFIG = config_of(steps=6, max_staleness=2, every_steps=2, order="arrival")


def groups_of(*places, version=0):
    return [make_group(place, REWARDS, version=version) for place in places]


def test_the_first_that_come_are_taken_in_the_order_of_their_prompts():
    queue = Script(groups_of(3), groups_of(1), groups_of(1, 3, 0))
    collector = make_collector(queue)
    assert [g.key for g in collector.take_first(KEYS, 2, 0)] == [KEYS[1], KEYS[3]]
    queue.answers.append(groups_of(2))
    left = [KEYS[0], KEYS[2]]
    assert [g.key for g in collector.take_first(left, 2, 0)] == left
    assert collector.early == 0, "what came again must not be kept"


def test_what_is_too_old_is_not_taken():
    queue = Script(groups_of(0, 1), groups_of(2, version=1), groups_of(0, version=2))
    collector = make_collector(queue)
    assert [g.key for g in collector.take_first(KEYS, 2, 1)] == [KEYS[0], KEYS[2]]
    queue.answers.append(groups_of(1, 3, version=2))
    collector.take_first([KEYS[1], KEYS[3]], 1, 1)
    assert collector.forget_older("train", 3) == [KEYS[3]] and collector.early == 0


def test_the_ledger_knows_what_was_used_before_an_earlier_one():
    config = make_config(loop={"groups_per_step": 2, "max_staleness": 1, "steps": 9})
    ledger, _ = Ledger().ask_ahead(config)
    ledger = ledger.after(select(groups_of(1, 3), config, 1))
    assert (ledger.first_open, ledger.ahead, ledger.outstanding) == (0, (1, 3), [0, 2])
    ledger, asked = ledger.ask_ahead(config)
    assert asked == range(4, 6)
    assert Ledger(**ledger.to_dict() | {"ahead": [1, 3]}) == ledger  # as JSON has it
    ledger = ledger.after(select(groups_of(0, 5), config, 2))
    assert (ledger.first_open, ledger.ahead, list(ledger.outstanding)) == (2, (3, 5), [2, 4])
    ledger = ledger.after(select(groups_of(2, 4), config, 3))
    assert (ledger.first_open, ledger.ahead, list(ledger.outstanding)) == (6, (), [])


@contextmanager
def tampered(ledger_file, change):
    """A ledger with a change of it in SQL, as long as this lasts."""
    original = ledger_file.read_bytes()
    try:
        with closing(sqlite3.connect(ledger_file)) as database, database:
            assert database.execute(change).rowcount > 0
        yield
    finally:
        ledger_file.write_bytes(original)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Killed in step 4, then finished; a worker is lost with what it had every few turns."""
    path = tmp_path_factory.mktemp("arrival")
    killed = Pipeline(CONFIG, path, actors=3)
    killed.ends[3] = Killed()
    with pytest.raises(Killed):
        killed.train()
    finished = Pipeline(CONFIG, path, actors=2)
    turns = iter(range(10**6))

    def lose():
        if next(turns) % 9 == 8:
            finished.permits.get(99, 0.0)
            raise WorkLost("an actor died with all that was asked")

    finished.before_turn = lose
    ledger, _ = finished.train()
    assert (ledger.consumed, ledger.ahead) == (24, ())
    return finished


def audited(run):
    return audit(run.folder, CONFIG, lambda place: make_permit(place).question)


def test_a_run_in_the_order_of_arrival_holds(run):
    result = audited(run)
    assert result["findings"] == [] and result["trained"] == 24
    for report in run.reports:
        groups = report.chosen.groups
        assert [g.key for g in groups] == sorted(g.key for g in groups)
        assert all(0 <= report.step - 1 - g.rollout.policy_version <= 2 for g in groups)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE permits SET version = 0 WHERE place = 20", "too old, or too new"),
        ("UPDATE permits SET version = 9 WHERE place = 20", "too old, or too new"),
        ("DELETE FROM permits WHERE place = 7", "prompts lost"),
        ("UPDATE permits SET step = 5 WHERE place = 1", "more or fewer prompts"),
    ],
)
def test_tampering_with_it_is_found(run, change, what):
    with tampered(run.folder.ledger_file, change):
        found = audited(run)["findings"]
    assert any(what in finding["what"] for finding in found), found
