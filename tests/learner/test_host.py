"""One learner process: cold start, GRPO steps, checkpoints; resumed it goes on bit for bit."""

import gc
import json
import os
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from configs.errors import InputError, RunError
from learner import fingerprint
from learner.batch import Demonstrations, build_batch, select
from learner.checkpoint import Checkpoints
from learner.host import LearnerHost
from learner.readback import ReadBack
from learner.stored import read_checkpoint
from tests.learner.conftest import VOCABULARY, make_config, make_group
from tests.pipeline import LocalWeights

CONFIG = make_config(
    sft={"steps": 4, "warmup_steps": 0, "batch_size": 8, "optimizer": "adamw"},
    checkpoint={"keep_last": 2, "keep_best": 1},
    learner={"sentinel_every": 2, "sentinel_band": 99.0},  # the groups here were sampled by nobody
)


def batch(step):
    rng = np.random.default_rng(step)
    groups = [make_group(n, rng.normal(size=4).tolist(), seed=step) for n in range(2)]
    return build_batch(select(groups, CONFIG, step), CONFIG)


def demonstrations():
    tokens = np.random.default_rng(0).integers(4, VOCABULARY, (8, 18)).astype(np.int32)
    weights = np.full((8, 10), 1 / 80, np.float32)
    return Demonstrations(tokens, np.full(8, 8, np.int32), tokens[:, 8:], weights)


def host(folder, config=CONFIG):
    learner = LearnerHost(0, 1, config, folder, VOCABULARY)
    return learner, learner.create_state()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a cold start and four GRPO steps, checkpointed after 0, 2, 3 and 4."""
    folder = tmp_path_factory.mktemp("checkpoints")
    learner, begun = host(folder)
    assert (begun["phase"], begun["step"]) == ("sft", 0)
    learner.sft_steps([demonstrations()] * 2)
    learner.save("sft", 2, {}, None, wait=True)
    learner.sft_steps([demonstrations()] * 2)
    learner.begin_grpo()
    hashes = {0: learner.parameters_sha256()}
    for step, reward in ((1, 0.1), (2, 0.9), (3, 0.2), (4, 0.3)):
        learner.train_step(batch(step))
        hashes[step] = learner.parameters_sha256()
        if step > 1:
            learner.save("grpo", step, {"step": step}, {"reward": reward}, wait=True)
    learner.close()
    return folder, hashes


def test_a_resumed_run_is_the_same_run(run, tmp_path):
    folder, hashes = run
    shutil.copytree(folder, tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "grpo" / "4")
    learner, begun = host(tmp_path / "c")
    assert begun["phase"] == "grpo" and begun["step"] == 3 and begun["ledger"] == {"step": 3}
    assert learner.parameters_sha256() == hashes[3]
    learner.train_step(batch(4))
    assert learner.parameters_sha256() == hashes[4]
    learner.close()


def test_other_lengths_compile_nothing(run):
    learner, _ = host(run[0])
    learner.train_step(batch(4))  # step 5, with a first comparison; step 6 has one too
    for lengths in ((1, 1, 1, 1), (10, 10, 10, 10), (10, 2, 7, 4)):
        groups = [make_group(n, [0.1, 0.2, 0.3, 0.4], lengths) for n in range(2)]
        metrics = learner.train_step(build_batch(select(groups, CONFIG, 5), CONFIG))
        assert metrics["compiled"] == 0
        assert 0 < metrics["fill"] <= 1
    learner.close()


def test_the_last_and_the_best_are_kept(run):
    kept = sorted(int(path.name) for path in (run[0] / "grpo").iterdir() if path.name.isdigit())
    assert kept == [2, 3, 4]  # the last two, and step 2 with the highest reward


def test_an_interrupted_cold_start_goes_on(run, tmp_path):
    folder, hashes = run
    shutil.copytree(folder / "sft", tmp_path / "c" / "sft")
    learner, begun = host(tmp_path / "c")
    assert (begun["phase"], begun["step"]) == ("sft", 2)
    learner.sft_steps([demonstrations()] * 2)
    assert learner.parameters_sha256() == hashes[0]
    learner.close()


def test_a_finished_cold_start_serves_as_weights(run, tmp_path):
    folder, hashes = run
    (tmp_path / "first").mkdir()
    shutil.copytree(folder, tmp_path / "first" / "checkpoints")
    config = make_config(model={"weights": str(tmp_path / "first")})
    learner, begun = host(tmp_path / "second", config)
    assert (begun["phase"], begun["step"]) == ("sft", 0)
    assert learner.parameters_sha256() == hashes[0]
    learner.close()


def test_the_exported_policy_is_the_trained_one(run):
    learner, _ = host(run[0])
    weights = LocalWeights()
    weights.publish(4, learner.export(4))
    exported = weights.fetch(4, 0.0, 0)
    assert exported.keys() == learner.state.params.keys()
    for name, value in exported.items():
        np.testing.assert_array_equal(value, learner.state.params[name])
    learner.close()


def cut(checkpoint, share=0.5):
    for file in (checkpoint / "state").rglob("*"):
        if file.is_file() and file.stat().st_size > 1000:
            os.truncate(file, int(share * file.stat().st_size))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(run, tmp_path, share):
    folder, hashes = run
    shutil.copytree(folder, tmp_path / "c")
    cut(tmp_path / "c" / "grpo" / "4", share)
    learner, begun = host(tmp_path / "c")
    assert (begun["step"], begun["ledger"]) == (3, {"step": 3})
    assert learner.parameters_sha256() == hashes[3]
    (damage,) = begun["damaged"]
    assert "grpo/4 cannot be restored" in damage and "damaged/grpo-4" in damage
    assert (tmp_path / "c" / "damaged" / "grpo-4" / "state").is_dir()
    learner.train_step(batch(4))
    learner.save("grpo", 4, {"step": 4}, {"reward": 0.3}, wait=True)
    learner.close()
    assert host(tmp_path / "c")[1]["step"] == 4


def test_damaged_checkpoints_are_named_when_none_is_left(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "c")
    for step in (2, 3, 4):
        cut(tmp_path / "c" / "grpo" / str(step))
    with pytest.raises(InputError, match=r"grpo/2 cannot be restored .* earlier checkpoint"):
        host(tmp_path / "c")


def test_an_update_that_is_not_finite_is_skipped_and_three_in_a_row_end_the_run(tmp_path):
    learner, _ = host(tmp_path / "c")
    learner.begin_grpo()
    learner.train_step(batch(1))
    before = learner.parameters_sha256()
    bad = batch(2)
    bad.sampled_logprobs[3, 1] = np.nan
    metrics = learner.train_step(bad)
    assert metrics["skipped"] == 1 and learner.version == 2
    assert learner.parameters_sha256() == before
    assert np.isnan(np.load(tmp_path / "skipped" / "step-000002.npz")["sampled_logprobs"][3, 1])
    assert learner.train_step(batch(3))["skipped"] == 0
    assert learner.parameters_sha256() != before
    for _ in range(2):
        learner.train_step(bad)
    where = r"sampled_logprobs of the batch, first at \(3, 1\); .*step-000006.npz"
    with pytest.raises(RunError, match=where):
        learner.train_step(bad)
    learner.close()


def test_a_full_disk_is_an_input_error(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "c", 1, 0)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", full)
    with pytest.raises(InputError, match="cannot be written .* No space left.* --run"):
        checkpoints.save(1, {"x": jax.numpy.zeros(3)}, {}, None, wait=False)


def altering(monkeypatch, times):
    """A disk that does not keep what is written to it, the first few times."""
    left, read = list(range(times)), ReadBack._read

    def alter(self, place, *made_of):
        while not place.exists():
            time.sleep(0.01)
        if left:
            left.pop()
            cut(place)
        return read(self, place, *made_of)

    monkeypatch.setattr(ReadBack, "_read", alter)


def test_reading_back_keeps_nothing(tmp_path):
    """A run saves thousands of times. (Some lists stay: what tensorstore counts of each save.)"""
    trees = {"state": {str(n): jax.numpy.zeros(8) for n in range(20)}}
    record = {"checksum": fingerprint.of_trees(trees)}
    checkpoints, kept = Checkpoints(tmp_path / "grpo", keep_last=2, keep_best=1), []
    for step in range(12):
        assert checkpoints.save(step, trees, record, {"reward": 0.0}, wait=True) == []
        gc.collect()
        kept.append(sum(type(x) is dict for x in gc.get_objects()))
    checkpoints.close()
    assert kept[-1] - kept[3] < 8 * 20  # it was 8 x 20 x 4


def small_save(checkpoints, step, wait):
    trees = {"state": {"x": jax.numpy.arange(4096.0) + step}}
    return checkpoints.save(step, trees, {"checksum": fingerprint.of_trees(trees)}, None, wait)


def test_a_checkpoint_is_read_back_and_written_again_when_it_is_not_what_it_was(
    tmp_path, monkeypatch
):
    checkpoints = Checkpoints(tmp_path / "c", 9, 0)
    assert small_save(checkpoints, 1, wait=True) == []
    altering(monkeypatch, 1)
    assert small_save(checkpoints, 2, wait=False) == []
    (damage,) = small_save(checkpoints, 3, wait=False)
    assert "c/2 was not what had been written" in damage and "damaged/c-2" in damage
    assert small_save(checkpoints, 4, wait=True) == []
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["1", "3", "4"]
    altering(monkeypatch, 1)
    (damage,) = small_save(checkpoints, 5, wait=True)
    assert "c/5 was not" in damage and checkpoints.latest_step() == 5
    altering(monkeypatch, 2)
    with pytest.raises(InputError, match="c/6 was not .* so was a second one"):
        small_save(checkpoints, 6, wait=True)
    checkpoints.close()


def test_an_error_behind_the_step_is_raised_at_the_next_one(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / "c", 9, 0)
    small_save(checkpoints, 1, wait=True)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.rename", full)
    monkeypatch.setattr("pathlib.Path.rename", full)
    small_save(checkpoints, 2, wait=False)
    with pytest.raises(InputError, match="No space left"):
        for _ in range(600):
            checkpoints.check()
            time.sleep(0.05)
    assert checkpoints.latest_step() in (1, 2) and (tmp_path / "c" / "1").is_dir()
    checkpoints._readback.close()


READER = """
import sys, json, jax, numpy as np, orbax.checkpoint as ocp
from pathlib import Path
sys.path = [p for p in sys.path if p and "site-packages" in p or "/lib/python" in p]
try:
    import learner
    raise SystemExit("the project can be imported")
except ModuleNotFoundError:
    pass
step = Path(sys.argv[1])
reader = ocp.PyTreeCheckpointer()
tree = reader.metadata(step / "state").item_metadata.tree
as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
params = reader.restore(step / "state", restore_args=as_numpy)["params"]
record = json.loads((step / "record" / "metadata").read_text())
print(json.dumps([sorted(params), float(sum(np.abs(x).sum() for x in params.values())), record]))
"""


def test_plain_orbax_reads_a_checkpoint_where_this_project_is_not(run, tmp_path):
    """The layout of docs/reliability.md, in a process that cannot import us."""
    step = run[0] / "grpo" / "4"
    done = subprocess.run(
        [sys.executable, "-I", "-c", READER, str(step)],
        capture_output=True, text=True, cwd=tmp_path, env={"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names, total, record = json.loads(done.stdout)
    stored = read_checkpoint(run[0], 4)
    assert names == sorted(stored.params) and record["ledger"] == {"step": 4}
    assert total == pytest.approx(sum(np.abs(x).sum() for x in stored.params.values()), rel=1e-5)


def test_weights_that_are_none_are_refused(tmp_path):
    config = make_config(model={"weights": str(tmp_path)})
    with pytest.raises(InputError, match="neither published weights nor a run"):
        host(tmp_path / "c", config)


def test_rows_that_devices_cannot_share_are_refused(tmp_path):
    config = make_config(sft={"steps": 1, "batch_size": 3})
    with pytest.raises(InputError, match="gives 3 rows, which 4 devices"):
        host(tmp_path / "c", config)
