"""Two learners of one run: the one that was replaced is refused wherever it could do harm."""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import jax.numpy as jnp
import pytest

from cluster.weights import _Holder
from configs.errors import InputError
from learner.checkpoint import Checkpoints
from learner.epoch import Epoch, Fenced
from learner.history import History
from learner.ledger import Ledger
from tests.learner.test_history import report

REPLACED = r"learner of epoch 1 is refused: that of epoch 2, started on \S+ at \d\d:\d\d:\d\d, has"


@pytest.fixture
def two(tmp_path):
    """A learner, and the one that was started when it seemed to be lost."""
    return Epoch.claim(tmp_path / "epochs"), Epoch.claim(tmp_path / "epochs")


def checkpoints(tmp_path, epoch):
    return Checkpoints(tmp_path / "checkpoints" / "grpo", 3, 0, epoch)


def save(writer, step, value):
    tree = {"w": jnp.full(3, float(value))}
    record = {"ledger": {"step": step}, "checksum": 0}
    writer._readback.start = lambda *_: None  # what is read back has a test of its own
    writer._readback.wrong = lambda: ""
    assert writer.save(step, {"state": tree}, record, {"reward": 0.0}, wait=True) == []


def load(reader, step):
    trees, record = reader.restore(step, {"state": {"w": jnp.zeros(3)}})
    return float(trees["state"]["w"][0]), record["epoch"]


def test_epochs_are_counted_and_no_two_learners_share_one(tmp_path, two):
    assert [epoch.number for epoch in two] == [1, 2]
    with ThreadPoolExecutor(8) as threads:
        more = list(threads.map(lambda _: Epoch.claim(tmp_path / "epochs").number, range(8)))
    assert sorted(more) == list(range(3, 11))
    Epoch().check("anything")  # of one that nobody replaces


def test_a_replaced_learner_writes_no_checkpoint(tmp_path, two):
    old, new = (checkpoints(tmp_path, epoch) for epoch in two)
    with pytest.raises(Fenced, match=f"checkpoint .*/grpo/3 by the {REPLACED}"):
        save(old, 3, 1.0)
    assert not list((tmp_path / "checkpoints" / "grpo").iterdir())
    save(new, 3, 2.0)
    assert load(new, 3) == (2.0, 2)


def test_a_checkpoint_that_comes_late_does_not_count(tmp_path):
    """One that was under way when the cable was cut, and is completed after it is healed."""
    folder = tmp_path / "epochs"
    first = Epoch.claim(folder)
    first.begin("sft", 0, rank=0)
    old = checkpoints(tmp_path, first)
    save(old, 2, 1.0)
    second = Epoch.claim(folder)
    new = checkpoints(tmp_path, second)
    second.begin("grpo", 2, rank=0)
    old._epoch = Epoch()  # the check is behind it already
    old._write(4, {"state": {"w": jnp.ones(3)}}, {"epoch": 1, "checksum": 0}, None)
    old.close()
    save(new, 4, 7.0)  # is written nevertheless
    assert load(new, 4) == (7.0, 2)
    assert (tmp_path / "checkpoints" / "damaged" / "grpo-4").is_dir()

    late = checkpoints(tmp_path, Epoch())
    late._write(6, {"state": {"w": jnp.ones(3)}}, {"epoch": 1, "checksum": 0}, None)
    late.close()
    third = checkpoints(tmp_path, Epoch.claim(folder))
    with pytest.raises(InputError, match="epoch 1 after that of epoch 2 had gone on from step 2"):
        load(third, 6)
    step, found, damaged = third.load_sound(6, lambda step: load(third, step))
    assert (step, found) == (4, (7.0, 2)) and len(damaged) == 1
    assert load(third, 2) == (1.0, 1), "what the first had written before counts"


def test_a_replaced_learner_acknowledges_no_group(tmp_path):
    path = tmp_path / "ledger.sqlite"
    old = History(path, Ledger(), "here")
    old.asked(range(3), version=0)
    new = History(path, Ledger(), "here")
    new.asked(range(3), version=0)
    for change in (
        lambda: old.done(report(1)),
        lambda: old.asked(range(3, 6), version=1),
        lambda: old.set_aside(1, "it kills"),
        lambda: old.filed(path, 1),
    ):
        with pytest.raises(Fenced, match="nothing more from sitting 1 of this run: sitting 2 has"):
            change()
    with closing(sqlite3.connect(path)) as database:
        states = "SELECT DISTINCT state, step, attempt FROM permits"
        assert database.execute(states).fetchall() == [("asked", None, 2)]
        assert not database.execute("SELECT * FROM steps").fetchall()
    new.done(report(1))
    for history in (old, new):
        history.close()


def test_a_replaced_learner_publishes_no_weights():
    async def publishes():
        store = _Holder(keep=2)
        await store.renew(1)
        await store.publish(4, ["old"], epoch=1)
        await store.renew(2)
        assert await store.find(4, 0.0) == (None, []), "what it published is forgotten"
        with pytest.raises(Fenced, match="policy version 5 by the learner of epoch 1 is refused"):
            await store.publish(5, ["old"], epoch=1)
        await store.publish(4, ["new"], epoch=2)
        assert await store.find(4, 0.0) == (["new"], [4])

    asyncio.run(publishes())
