"""The command as a user meets it: what bad input gets to hear, and whole small runs."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import launch
from learner.history import read_steps

ROOT = Path(__file__).parents[1]
SMOKE = ["--config", str(ROOT / "configs" / "smoke.toml")]
GOOD = {"prompt": "What is 1 + 2?", "reasoning": "1. 1 + 2 = 3", "answer": "3"}


def refused(capsys, *arguments):
    """The message of a command that must end with exit code 2."""
    assert launch.main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and "Traceback" not in err + out
    return err


@pytest.fixture
def run(tmp_path):
    return str(tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "empty"),
        ('{"prompt": "a"', "row 1"),
        (json.dumps({"prompt": "a", "answer": "b"}), "reasoning"),
        (json.dumps(GOOD) + "\n" + json.dumps(GOOD | {"answer": None}), "row 2"),
        (json.dumps(GOOD | {"prompt": "word " * 99}), "rollout.max_prompt_tokens = 32"),
    ],
    ids=["missing", "empty", "no JSON", "missing column", "null answer", "long prompt"],
)
def test_bad_data_is_refused_before_training(content, message, tmp_path, run, capsys):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    error = refused(capsys, *SMOKE, "--run", run, f"data.train={path}")
    assert message in error and "rows.jsonl" in error
    assert not Path(run).exists(), "a refused run must leave nothing behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["loop.stepz=3"], "did you mean loop.steps?"),
        (["loop.steps=-1"], "loop.steps = -1"),
        (["--hosts", "0"], "--hosts = 0"),
        (["--hosts", "900"], "900 local hosts need about"),
        (["--config", "none.toml"], "none.toml: No such file"),
        (["model.tokenizer=none.model"], "none.model: No such file"),
        (["judge.rubric=papper"], "judge.rubric = 'papper': unknown; did you mean paper?"),
        (["judge.rubric=none.toml"], "rubric none.toml: No such file"),
        (["tarin"], "unknown command 'tarin'; commands are train, sft"),
        (["eval"], "eval needs --run"),
        (["eval", "--run", "nowhere"], "no run folder"),
        (["sft", "sft.steps=0"], "no cold start to run"),
        (["audit", "nowhere"], "no run folder"),
        (["replay", "nowhere", "--step", "1"], "no run folder"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, run, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    if "--run" not in arguments and arguments[0] not in ("eval", "audit", "replay"):
        arguments = [*arguments, "--run", run]
    assert message in refused(capsys, *arguments)


def test_a_run_of_another_configuration_is_refused(run, capsys):
    from configs.load import load
    from configs.run_folder import open_run

    open_run(Path(run), load(ROOT / "configs" / "smoke.toml"))
    assert "run.seed: 0 -> 1" in refused(capsys, *SMOKE, "--run", run, "run.seed=1")


def test_a_run_of_another_rubric_is_refused_and_nothing_changes(run, capsys):
    from configs.load import load
    from configs.run_folder import open_run, write_text

    folder = open_run(Path(run), load(ROOT / "configs" / "smoke.toml"))
    write_text(folder.rubric_file, (ROOT / "actors/rewards/rubrics/multilingual.toml").read_text())
    before = folder.config_file.read_text()
    assert "is another rubric" in refused(capsys, *SMOKE, "--run", run)
    assert folder.config_file.read_text() == before


def test_the_data_command_writes_both_files(tmp_path, capsys):
    folder = tmp_path / "data"
    settings = ["data.synthetic_rows=40", "data.synthetic_heldout_rows=8"]
    assert launch.main(["data", str(folder), *settings]) == 0
    assert pq.read_table(folder / "train.parquet").num_rows == 40
    assert "heldout.parquet" in capsys.readouterr().out
    assert "holds Parquet files already" in refused(capsys, "data", str(folder), *settings)


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as caught:
        launch.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("train", "sft", "eval", "data", "section.key=value"))


def command(run, *arguments):
    return [sys.executable, str(ROOT / "launch.py"), *SMOKE, "--run", str(run), *arguments]


SHORT = [
    *("loop.steps=40", "loop.max_staleness=1", "eval.rows=8"),
    *("checkpoint.every_steps=5", "checkpoint.keep_last=9"),
    "loop.time_budget_s=400",  # on a machine with other work, too
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole small run on one host."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    done = subprocess.run(command(folder, *SHORT), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder, done


def parameters(folder, reference=False):
    """Those after 5 steps, or those that GRPO started from."""
    place = folder / "checkpoints" / ("reference" if reference else "grpo/5/state")
    checkpointer = ocp.PyTreeCheckpointer()
    # read as numpy: the processes that wrote it are not here
    names = checkpointer.metadata(place).item_metadata.tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), names)
    restored = checkpointer.restore(place, restore_args=as_numpy)
    return restored if reference else restored["params"]


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_run_leaves_everything_behind(finished):
    folder, done = finished
    assert "three traces:" in done.stdout and "grpo 40/40" in done.stderr
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == 40 and summary["ledger"]["consumed"] == 160
    assert summary["eval_before"]["all"]["greedy"]["rows"] == 8
    assert len(summary["parameters_sha256"]) == 64
    rollouts = pa.concat_tables(pq.read_table(p) for p in sorted(folder.glob("rollouts/*.parquet")))
    assert rollouts.num_rows == 40 * 4 * 4
    assert set(rollouts["policy_version"].to_pylist()) == set(range(39))
    assert list((folder / "tensorboard").glob("events*"))
    assert len(read_steps(folder / "ledger.sqlite")) == 40
    lines = [json.loads(line) for p in folder.glob("logs/*.jsonl") for line in p.open()]
    assert {line["role"] for line in lines} == {"driver", "learner", "rollout", "judge"}
    done_at = [line["step"] for line in lines if line["message"] == "step done"]
    assert done_at == list(range(1, 41)) and {line["run"] for line in lines} == {folder.name}
    loaded = [line["step"] for line in lines if line["message"] == "policy loaded"]
    assert set(loaded) == {*range(39), 40}, "what was sampled with, and evaluated"
    audited(folder)
    replay = [sys.executable, str(ROOT / "launch.py"), "replay", str(folder), "--step", "7"]
    again = subprocess.run([*replay, "--json"], capture_output=True, text=True, cwd=ROOT)
    result = json.loads(again.stdout)
    assert (again.returncode, result["exact"], result["from_checkpoint"]) == (0, True, 5)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_four_hosts_train_the_same_policy_as_one(finished, tmp_path):
    done = subprocess.run(
        command(tmp_path / "four", *SHORT, "--hosts", "4"), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "four" / "summary.json").read_text())
    assert [name.split()[1] for name in summary["placement"]["learner"]] == ["0", "1"]
    assert "host 2 " in summary["placement"]["rollout"][0]
    one, four = parameters(finished[0]), parameters(tmp_path / "four")
    start = parameters(finished[0], reference=True)
    moved = max(np.abs(one[name] - start[name]).max() for name in one)
    assert moved > 3e-4, "nothing was trained: the comparison would show nothing"
    for name, value in one.items():
        np.testing.assert_allclose(four[name], value, atol=1e-5, err_msg=name)


def audited(folder):
    """The audit of a finished run of 40 steps, as another program sees it."""
    command = [sys.executable, str(ROOT / "launch.py"), "audit", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    result = json.loads(done.stdout)
    assert (done.returncode, result["findings"], result["step"]) == (0, [], 40), done.stderr
    assert result["trained"] + sum(result["dropped"].values()) == 160


def steps_of(ledger):
    """Those in a ledger, which a run may be about to make."""
    try:
        return [step["step"] for step in read_steps(ledger)]
    except sqlite3.OperationalError:
        return []


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_terminated_run_goes_on_where_it_was(finished, tmp_path):
    """Killed after a step and started again, it ends with the very parameters of a whole run."""
    folder = tmp_path / "parts"
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    first = subprocess.Popen(
        command(folder, *SHORT), stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    ledger = folder / "ledger.sqlite"
    while first.poll() is None and not (ledger.exists() and steps_of(ledger)):
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    output, _ = first.communicate(timeout=60)
    assert time.monotonic() - asked < 30
    assert first.returncode == os.EX_TEMPFAIL, output
    assert f"launch.py --run {folder}" in output
    second = subprocess.run(command(folder, *SHORT), capture_output=True, text=True, cwd=ROOT)
    assert second.returncode == 0, second.stderr
    assert steps_of(ledger) == list(range(1, 41))
    audited(folder)
    shas = [
        json.loads((place / "summary.json").read_text())["parameters_sha256"]
        for place in (finished[0], folder)
    ]
    assert shas[0] == shas[1]
    assert sorted(path.name for path in (folder / "epochs").iterdir()) == ["1", "2"]
