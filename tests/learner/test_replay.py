"""A recorded step done again ends with the recorded parameters, and a changed one does not."""

import shutil
import sqlite3
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import InputError
from configs.run_folder import RunFolder
from learner.replay import replay, replay_lines
from tests.learner.conftest import VOCABULARY
from tests.pipeline import Pipeline, config_of, one_unjudged

CONFIG = config_of(steps=6, max_staleness=1, every_steps=2, grpo={"widest_groups": 3})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Six steps, with the checkpoints of steps 4 and 6."""
    path = tmp_path_factory.mktemp("run")
    Pipeline(CONFIG, path, down=one_unjudged).train()
    shutil.rmtree(path / "checkpoints" / "grpo" / "2", ignore_errors=True)  # kept if it was best
    return RunFolder(path)


@pytest.fixture
def folder(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_a_step_is_the_same_again_from_the_nearest_checkpoint(run):
    result = replay(run, CONFIG, 6, VOCABULARY)
    assert result["ok"] and result["exact"] and result["from_checkpoint"] == 4
    assert list(result["steps"]) == [5, 6]
    for recorded, recomputed in result["steps"][6].values():
        assert recorded == recomputed != 0
    assert list(replay_lines(result))[-1] == "the same"


def test_an_early_step_is_replayed_from_the_cold_start(run):
    result = replay(run, CONFIG, 3, VOCABULARY)
    assert result["ok"] and result["from_checkpoint"] == 0 and list(result["steps"]) == [1, 2, 3]


def test_a_changed_token_does_not_give_the_recorded_parameters(folder):
    path = folder.rollouts / "000005-000006.parquet"
    rows = pq.read_table(path).to_pylist()
    place = next(n for n, row in enumerate(rows) if row["step"] == 6 and row["trained"])
    rows[place]["tokens"][0] ^= 1
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
    result = replay(folder, CONFIG, 6, VOCABULARY)
    assert not result["ok"]
    assert list(replay_lines(result))[-1] == "NOT THE SAME from step 6 on"


def test_a_learner_of_another_shape_is_compared_with_a_tolerance(folder):
    with closing(sqlite3.connect(folder.ledger_file)) as database, database:
        database.execute("UPDATE sittings SET learner = '2 processes'")
        database.execute("UPDATE steps SET metrics = json_set(metrics, '$.fingerprint', 1.0)")
    result = replay(folder, CONFIG, 5, VOCABULARY)
    assert result["ok"] and not result["exact"]
    assert "recorded on 2 processes" in "\n".join(replay_lines(result))
    with closing(sqlite3.connect(folder.ledger_file)) as database, database:
        database.execute("UPDATE steps SET metrics = json_set(metrics, '$.grad_norm', 9.0)")
    assert not replay(folder, CONFIG, 5, VOCABULARY)["ok"]


def test_what_is_not_there_is_named(folder):
    with pytest.raises(InputError, match="--step 7: the ledger has steps 1 to 6"):
        replay(folder, CONFIG, 7, VOCABULARY)
    (folder.rollouts / "000005-000006.parquet").unlink()
    with pytest.raises(InputError, match="has no groups of step 5"):
        replay(folder, CONFIG, 6, VOCABULARY)
    folder.ledger_file.unlink()
    with pytest.raises(InputError, match="ledger.sqlite is missing"):
        replay(folder, CONFIG, 6, VOCABULARY)
