"""The audit holds for a run that was killed and resumed, and finds every kind of tampering."""

import json
import shutil
import sqlite3
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.run_folder import RunFolder, write_json
from learner.audit import audit
from learner.stored import checkpoint_steps
from learner.summary import audit_lines
from tests.learner.conftest import make_permit
from tests.pipeline import Killed, Pipeline, config_of, one_unjudged

CONFIG = config_of(steps=6, max_staleness=1, every_steps=2, grpo={"widest_groups": 3})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Killed in step 4, resumed from the checkpoint of step 2, finished at step 6; one of a step's
    samples never gets a verdict."""
    path = tmp_path_factory.mktemp("run")
    first = Pipeline(CONFIG, path, down=one_unjudged)
    first.ends[3] = Killed()
    with pytest.raises(Killed):
        first.train()
    second = Pipeline(CONFIG, path, actors=2, down=one_unjudged)
    ledger, _ = second.train()
    sha = second.learner.parameters_sha256()
    summary = {"steps": 6, "ledger": ledger.to_dict(), "parameters_sha256": sha}
    write_json(second.folder.summary_file, summary)
    return path


@pytest.fixture
def folder(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def question_at(place):
    return make_permit(place).question


def audited(folder):
    return audit(folder, CONFIG, question_at)


def test_a_run_that_was_killed_and_resumed_holds(folder):
    result = audited(folder)
    assert result["findings"] == [] and result["ok"]
    assert (result["step"], result["trained"], result["dropped"]) == (6, 18, {"narrow rewards": 6})
    assert (result["outstanding"], result["lost"], result["doubled"]) == (0, [], [])
    assert list(audit_lines(result))[-1] == "everything holds"


def sql(folder, statement):
    with closing(sqlite3.connect(folder.ledger_file)) as database, database:
        assert database.execute(statement).rowcount > 0


def parquet(change):
    """Change the rows of steps 3 and 4."""

    def tamper(folder):
        path = folder.rollouts / "000003-000004.parquet"
        table = pq.read_table(path)
        pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), table.schema), path)

    return tamper


def edited(place, **values):
    return parquet(lambda rows: rows[:place] + [rows[place] | values] + rows[place + 1 :])


def flipped(pattern, bit=0):
    """One bit in the middle of the largest file."""

    def tamper(folder):
        files = [path for path in folder.path.glob(pattern) if path.is_file()]
        path = max(files, key=lambda path: path.stat().st_size)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1 << bit
        path.write_bytes(content)

    return tamper


def record(folder):
    path = folder.checkpoints / "grpo" / "4" / "record" / "metadata"
    stored = json.loads(path.read_text())
    stored["ledger"]["trained"] += 1
    path.write_text(json.dumps(stored))


def swapped_checkpoint(folder):
    shutil.rmtree(folder.checkpoints / "grpo" / "6")
    shutil.copytree(folder.checkpoints / "grpo" / "4", folder.checkpoints / "grpo" / "6")


def summary(folder):
    write_json(
        folder.summary_file,
        json.loads(folder.summary_file.read_text()) | {"parameters_sha256": "0" * 64},
    )


def events(change):
    def tamper(folder):
        path = max(folder.tensorboard.iterdir(), key=lambda path: path.stat().st_size)
        change(path)

    return tamper


TAMPERINGS = {
    "a prompt removed from the ledger": (
        lambda f: sql(f, "DELETE FROM permits WHERE place = 9"),
        "prompts lost",
        [9],
    ),
    "a prompt used twice in the ledger": (
        lambda f: sql(
            f,
            "INSERT INTO permits SELECT 77, state, version, attempt, question, step, reason, "
            "actor, judge, content FROM permits WHERE place = 9",
        ),
        "steps whose rollouts are not what was trained",
        [3],
    ),
    "a prompt said to be trained by another step": (
        lambda f: sql(f, "UPDATE permits SET step = 2 WHERE place = 9"),
        "another step than their own",
        [9],
    ),
    "another policy version": (
        lambda f: sql(f, "UPDATE permits SET version = 3 WHERE place = 9"),
        "another policy version",
        [9],
    ),
    "a trained prompt said to be dropped": (
        lambda f: sql(
            f,
            "UPDATE permits SET state = 'dropped', reason = 'narrow rewards' WHERE place = "
            "(SELECT min(place) FROM permits WHERE state = 'trained' AND step = 3)",
        ),
        "steps whose rollouts are not what was trained",
        [3],
    ),
    "another question": (
        lambda f: sql(f, "UPDATE permits SET question = '8' WHERE place = 9"),
        "out of the order of the data",
        [9],
    ),
    "a step removed from the ledger": (
        lambda f: sql(f, "DELETE FROM steps WHERE step = 4"),
        "steps missing",
        [4],
    ),
    "another fingerprint": (
        lambda f: sql(f, "UPDATE steps SET fingerprint = fingerprint + 1 WHERE step = 4"),
        "other parameters",
        [4],
    ),
    "the ledger overwritten": (
        lambda f: f.ledger_file.write_bytes(b"\x00" * 4096),
        "ledger.sqlite cannot be read",
        [],
    ),
    "the ledger removed": (lambda f: f.ledger_file.unlink(), "it is not there", []),
    "a completion removed": (
        parquet(lambda rows: rows[:5] + rows[6:]),
        "rollouts are not what was trained",
        [3],
    ),
    "a step's completions doubled": (
        parquet(lambda rows: rows + rows[-16:]),
        "rollouts are not what was trained",
        [4],
    ),
    "a reward changed": (edited(5, reward=0.75), "rollouts are not what was trained", [3]),
    "an abstention made a reward of 0": (
        edited(6, reward=0.0, abstained=""),
        "rollouts are not what was trained",
        [3],
    ),
    "a token changed": (edited(20, tokens=[7, 7, 7]), "rollouts are not what was trained", [4]),
    "a log-probability changed": (
        parquet(lambda r: [r[0] | {"logprobs": [x + 0.1 for x in r[0]["logprobs"]]}, *r[1:]]),
        "rollouts are not what was trained",
        [3],
    ),
    "a prompt's text changed": (edited(4, prompt="?"), "are not what was trained", [3]),
    "an advantage changed": (edited(20, advantage=9.0), "are not what was trained", [4]),
    "rollouts of a whole file again": (
        lambda f: shutil.copy(
            f.rollouts / "000003-000004.parquet", f.rollouts / "000003-000005.parquet"
        ),
        "prompts used twice",
        list(range(8, 16)),
    ),
    "a rollouts file removed": (
        lambda f: (f.rollouts / "000003-000004.parquet").unlink(),
        "steps without rollouts",
        [3, 4],
    ),
    "a bit of the rollouts flipped": (
        flipped("rollouts/*3-*.parquet"),
        "is not the file that was written",
        [],
    ),
    "a bit of the events flipped": (flipped("tensorboard/*"), "not shown once", None),
    "the events removed": (
        events(lambda path: path.unlink()),
        "steps not shown once as reward/mean",
        [4, 5, 6],
    ),
    "the events cut": (
        events(lambda path: path.write_bytes(path.read_bytes()[:-100])),
        "steps not shown once",
        [6],
    ),
    "a bit of a checkpoint's state flipped": (flipped("checkpoints/grpo/6/state/d/*"), "", [6]),
    "a bit of its earlier policies flipped": (
        flipped("checkpoints/grpo/6/policies/d/*", bit=3),
        "",
        [6],
    ),
    "counts of a checkpoint edited": (record, "other counts than the ledger", [4]),
    "a checkpoint under another's name": (swapped_checkpoint, "other parameters", [6]),
    "the summary edited": (summary, "summary.json with other parameters", [6]),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found(name, folder):
    tamper, what, ids = TAMPERINGS[name]
    tamper(folder)
    result = audited(folder)
    assert not result["ok"]
    matching = [f for f in result["findings"] if what in f["what"]]
    assert matching, result["findings"]
    if ids is not None:
        assert any(finding["ids"] == ids for finding in matching), result["findings"]
    assert "DOES NOT HOLD" in "\n".join(audit_lines(result))
    json.dumps(result)


def test_questions_of_other_data_are_found(folder):
    result = audit(folder, CONFIG, lambda place: question_at(place ^ 1))
    assert any("order of the data" in finding["what"] for finding in result["findings"])


def test_steps_behind_the_newest_checkpoint_are_not_yet_judged(folder):
    for step in checkpoint_steps(folder.checkpoints):
        if step > 4:
            shutil.rmtree(folder.checkpoints / "grpo" / str(step))
    result = audited(folder)
    assert (result["ok"], result["step"], result["trained"]) == (True, 4, 12)
