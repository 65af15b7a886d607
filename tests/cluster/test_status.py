"""A run folder that a run has written, as `launch.py status` tells of it."""

import time
from contextlib import closing

import pytest

import launch
from cluster.status import incident_lines, step_lines
from configs.run_folder import open_run
from configs.schema import RunConfig
from learner.history import History, note_incident
from learner.ledger import Ledger


def step(number, reward=0.5, finished_at=0.0):
    return {
        "step": number, "reward": reward, "tokens": 100, "wall_s": 2.0, "finished_at": finished_at,
        "seconds": {"rollouts": 0.5, "learner": 1.5},
    }  # fmt: skip


def test_rates_are_those_of_the_last_steps():
    steps = [step(n, reward=n / 100, finished_at=float(n)) for n in range(1, 41)]
    assert step_lines(steps, 100, now=45.0, running=True) == [
        "step        40 of 100, the last 5.0 s ago, 0.50 steps/s, about 120 s left",
        "reward      0.305 (mean of the last 20 steps)",
        "tokens      50 per s sampled",
        "time        learner 75%, rollouts 25%",
    ]
    assert step_lines([], 100, 0.0, True) == ["step        0 of 100"]
    assert "left" not in step_lines(steps, 100, 45.0, running=False)[0]
    assert "reward      none" in step_lines([step(1, reward=None)], 9, 0.0, False)[1]


def test_the_last_incidents_are_told():
    lines = incident_lines(
        [{"at": float(n), "outcome": "replaced", "what": f"w{n}"} for n in range(9)]
    )
    assert lines[0] == "incidents   9" and len(lines) == 6 and lines[-1].endswith("w8: replaced")


def test_a_run_from_its_folder(tmp_path, capsys):
    folder = open_run(tmp_path / "run", RunConfig(), alone=True)
    assert launch.main(["status", str(folder.path)]) == 0
    out = capsys.readouterr().out
    assert "not running" not in out and "held by process" in out and "none yet" in out
    with closing(History(folder.ledger_file, Ledger(), "1 process(es)")) as history:
        history.asked(range(6), 0)
    note_incident(folder.ledger_file, "replaced", "rollout actor 0 died")
    assert launch.main(["status", str(folder.path)]) == 0
    out = capsys.readouterr().out
    assert "prompts     asked 6" in out and "learner: 1 process(es)" in out
    assert "rollout actor 0 died: replaced" in out and time.strftime("%H:") in out


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert launch.main(["status", str(tmp_path)]) == 2
    assert "no run folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        launch.main(["status"])
