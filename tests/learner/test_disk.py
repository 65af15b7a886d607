"""Disks that are full or take nothing at all: small ones in memory, where we may mount them."""

import subprocess
from contextlib import suppress

import jax
import numpy as np
import pytest

from configs.errors import InputError
from configs.run_folder import RunFolder, open_run
from configs.storage import storage_errors
from learner import fingerprint
from learner.checkpoint import Checkpoints
from learner.history import History, read_steps
from learner.ledger import Ledger
from learner.recorder import Recorder
from tests.learner.conftest import make_config
from tests.learner.test_history import report


@pytest.fixture
def disk(tmp_path):
    """One MB."""
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk in memory is not allowed here")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fill(disk):
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def save(checkpoints, step, elements):
    values = np.random.default_rng(step).normal(size=elements).astype(np.float32)
    trees = {"state": {"x": jax.numpy.asarray(values)}}
    record = {"checksum": fingerprint.of_trees(trees)}
    return checkpoints.save(step, trees, record, None, wait=True)


def test_a_checkpoint_that_does_not_fit_says_what_to_do_and_the_one_before_is_kept(disk):
    checkpoints = Checkpoints(disk / "c", 2, 0)
    assert save(checkpoints, 1, 1000) == []
    with pytest.raises(InputError, match="checkpoints cannot be written to .*--run"):
        save(checkpoints, 2, 600_000)  # 2.4 MB
    again = Checkpoints(disk / "c", 2, 0)  # a new start cleans up what is not complete
    assert again.latest_step() == 1
    assert save(again, 2, 1000) == [] and again.latest_step() == 2
    again.close()


def test_a_ledger_on_a_full_disk_keeps_what_it_said(disk):
    history = History(disk / "ledger.sqlite", Ledger(), "here")
    history.done(report(1))
    fill(disk)
    refused = pytest.raises(InputError, match="the run cannot be written .*Free some space")
    with refused, storage_errors(disk, "the run"):
        for step in range(2, 500):
            history.done(report(step))
    history.close()
    (disk / "filler").unlink()
    steps = [row["step"] for row in read_steps(disk / "ledger.sqlite")]
    assert steps[0] == 1 and steps == list(range(1, len(steps) + 1))


def test_tensorboard_on_a_full_disk_does_not_wait_for_ever(disk):
    recorder = Recorder(RunFolder(disk), make_config(), 0, parts=())
    fill(disk)
    refused = pytest.raises(InputError, match="the run cannot be written")
    with refused, storage_errors(disk, "the run"):
        for step in range(1, 5000):
            recorder.step(step, {f"a/{n}": 1.0 for n in range(50)}, {"text": "x" * 5000})
            if step % 20 == 0:
                recorder.flush()


def test_a_folder_that_is_read_only_is_refused(disk):
    checkpoints = Checkpoints(disk / "c", 2, 0)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(InputError, match="checkpoints cannot be written .*Read-only"):
        save(checkpoints, 1, 1000)
    with pytest.raises(InputError, match="cannot be written .*Read-only"):
        open_run(disk / "run", make_config())
