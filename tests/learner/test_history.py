"""The file that knows what became of every prompt."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest

from learner.batch import select
from learner.history import History, content, read_steps
from learner.ledger import Ledger
from learner.loop import StepReport
from tests.learner.conftest import make_config, make_group

CONFIG = make_config(loop={"groups_per_step": 3, "steps": 5}, grpo={"widest_groups": 2})


def report(step, ledger=None):
    """A step that trains its first and third prompt."""
    rewards = ([0.0, 1.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.4], [0.1, 0.9, 0.1, 0.9])
    groups = [make_group(3 * step - 3 + n, r, version=step - 1) for n, r in enumerate(rewards)]
    metrics = {"fingerprint": float(1000 + step), "loss": 0.5}
    seconds = {"wait": 0.5, "update": 0.25}
    return StepReport(step, select(groups, CONFIG, step), metrics, seconds, ledger or Ledger())


def rows(path, query, *values):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query, values).fetchall()


@pytest.fixture
def path(tmp_path):
    """Two steps done, a third one asked."""
    history = History(tmp_path / "ledger.sqlite", Ledger(), "here")
    for step in (1, 2):
        history.asked(range(3 * step - 3, 3 * step), version=step - 1)
        history.done(report(step))
    history.asked(range(6, 9), version=2)
    history.close()
    return tmp_path / "ledger.sqlite"


def test_it_says_what_became_of_each_prompt(path):
    assert rows(path, "SELECT place, state, version, attempt, step, reason FROM permits") == [
        (0, "trained", 0, 1, 1, None),
        (1, "dropped", 0, 1, 1, "narrow rewards"),
        (2, "trained", 0, 1, 1, None),
        (3, "trained", 1, 1, 2, None),
        (4, "dropped", 1, 1, 2, "narrow rewards"),
        (5, "trained", 1, 1, 2, None),
        (6, "asked", 2, 1, None, None),
        (7, "asked", 2, 1, None, None),
        (8, "asked", 2, 1, None, None),
    ]
    group = report(1).chosen.groups[0]
    digest = content(
        group.rollout.tokens, group.rollout.logprobs, [0.0, 1.0, 0.0, 1.0], ["", "", "", ""]
    )
    found = rows(path, "SELECT question, actor, judge, content FROM permits WHERE place = 0")
    assert found == [("0", 0, 0, digest)]


def test_it_says_what_each_step_did(path):
    first, second = read_steps(path)
    np.testing.assert_allclose(first["reward"], (2 + 1.9 + 2) / 12, rtol=1e-6)
    assert (second["step"], second["fingerprint"], second["samples"]) == (2, 1002, 12)
    assert second["seconds"] == {"wait": 0.5, "update": 0.25} and second["metrics"]["loss"] == 0.5
    assert second["tokens"] == 3 * (3 + 5 + 1 + 10) and second["wall_s"] > 0


def test_a_resumed_run_gives_back_what_its_checkpoint_does_not_know(path, capsys):
    history = History(path, Ledger(step=1, cursor=6, consumed=3), "here")
    assert [step["step"] for step in read_steps(path)] == [1]
    states = "SELECT state, attempt, step, content FROM permits WHERE place >= 3"
    assert set(rows(path, states)) == {("given back", 1, None, None)}
    history.asked(range(3, 6), version=1)
    history.done(report(2))
    history.close()
    assert [row[:3] for row in rows(path, states)][:3] == [
        ("trained", 2, 2), ("dropped", 2, 2), ("trained", 2, 2)
    ]  # fmt: skip
    sittings = rows(path, "SELECT sitting, resumed_step, given_back FROM sittings")
    assert sittings == [(1, 0, 0), (2, 1, 3)]
    assert capsys.readouterr().err == ""


def test_a_ledger_that_is_behind_its_checkpoint_is_noticed(path, capsys):
    History(path, Ledger(step=3, cursor=9, consumed=9), "here").close()
    assert "knows 6 of the 9 prompts" in capsys.readouterr().err


def test_the_digest_changes_with_everything_that_is_trained_on():
    tokens, logprobs = [np.int32([4, 5]), np.int32([6])], [np.float32([-1, -2]), np.float32([-3])]
    variants = [
        (tokens, logprobs, [0.5, 1.0], ["", ""]),
        ([np.int32([4, 6]), np.int32([6])], logprobs, [0.5, 1.0], ["", ""]),
        ([np.int32([4]), np.int32([5, 6])], logprobs, [0.5, 1.0], ["", ""]),
        (tokens, [np.float32([-1, -2.5]), np.float32([-3])], [0.5, 1.0], ["", ""]),
        (tokens, logprobs, [1.0, 0.5], ["", ""]),
        (tokens, logprobs, [0.5, 1.0], ["", "judge was down"]),
    ]
    assert len({content(*variant) for variant in variants}) == len(variants)
    lists = ([4, 5], [6]), ([-1.0, -2.0], [-3.0]), (0.5, 1.0), ("", "")  # as Parquet gives them
    assert content(*lists) == content(*variants[0])


ENDLESS = """
import sys
from pathlib import Path
from tests.learner.test_history import History, Ledger, report
history = History(Path(sys.argv[1]), Ledger(), "here")
for step in range(1, 10**6):
    history.asked(range(3 * step - 3, 3 * step), step - 1)
    history.done(report(step))
    if step % 7 == 0:
        history.sync()
"""


def test_a_killed_process_leaves_whole_steps(tmp_path):
    path = tmp_path / "ledger.sqlite"
    writer = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], cwd=os.getcwd())
    while not path.exists() or not (tmp_path / "ledger.sqlite-wal").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    steps = [step["step"] for step in read_steps(path)]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) > 5
    used = rows(path, "SELECT step, count(*) FROM permits WHERE step NOT NULL GROUP BY step")
    assert used == [(step, 3) for step in steps]
