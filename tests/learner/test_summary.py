"""The summary's figures from a history made by hand."""

import sqlite3
from contextlib import closing

from learner.history import History
from learner.ledger import Ledger
from learner.summary import evaluation_table, ledger_figures, package_versions, spread_out


def test_figures_of_a_history(tmp_path):
    path = tmp_path / "ledger.sqlite"
    History(path, Ledger(), "here").close()
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO steps (step, sitting, reward, samples, tokens, fingerprint, metrics, "
            "seconds, wall_s, finished_at) VALUES (?, 1, ?, 8, 100, 0, '{}', ?, 2.5, 0)",
            [(n + 1, n / 20, '{"wait": 0.5, "update": 1.5}') for n in range(20)],
        )
    figures = ledger_figures(path)
    assert figures["reward_first"] == 0.1  # mean of 0, .05, .1, .15, .2
    assert figures["reward_last"] == 0.925  # mean of the last two
    assert (figures["tokens_per_s"], figures["samples_per_s"]) == (40, 3.2)
    assert figures["step_seconds"] == {"wait": 0.5, "update": 1.5}


def test_the_table_shows_before_and_after():
    def of(accuracy):
        measures = {"accuracy": accuracy, "interval": [0.1, 0.9], "sound": 0.5}
        return {"math": {"greedy": measures | {"format": 1.0, "reward": 0.25}}}

    lines = evaluation_table(of(0.25), of(0.75))
    assert "25% -> 75% [10%-90%]" in lines[1] and "0.25 -> 0.25" in lines[1]
    assert evaluation_table(None, {}) == []


def test_places_are_spread_out():
    assert spread_out(3, 9) == [0, 4, 8]
    assert spread_out(3, 2) == [0, 1]
    assert spread_out(3, 0) == []


def test_versions_are_known():
    assert package_versions()["google-tunix"] == "0.1.7"
