"""Orbax checkpoints: all that a step needs to go on, together; the last few and the best kept.

Every process of the learner calls every method equally often. Saving is asynchronous: the arrays
are copied at once, the files are written behind the next steps and appear by rename.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from configs.errors import InputError
from configs.storage import storage_errors
from learner.epoch import ALONE, Epoch
from learner.readback import ReadBack

logger = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")
_WHAT = "checkpoints"


class Checkpoints:
    """The checkpoints `folder/<step>/` of one phase of a run; only those of `epoch` are written,
    and only those that count are read.
    """

    def __init__(self, folder: Path, keep_last: int, keep_best: int, epoch: Epoch = ALONE):
        self.folder, self._epoch = folder.absolute(), epoch
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["reward"],
            n=keep_best,
            keep_checkpoints_without_metrics=False,
        )
        keep = policies.AnyPreservationPolicy([policies.LatestN(keep_last), best])
        with storage_errors(self.folder, _WHAT):
            self._manager = ocp.CheckpointManager(
                self.folder, options=ocp.CheckpointManagerOptions(preservation_policy=keep)
            )
        self._readback = ReadBack()
        self._unread: int | None = None  # the step that was written last, until it is read back

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def load_sound(self, step: int, load: Callable[[int], Loaded]) -> tuple[int, Loaded, list[str]]:
        """Load `step`, or the newest before it that can be: step, what was loaded, and what was
        wrong with those that were set aside in `damaged/` beside the folder.

        Raises the InputError of the last one when none can.
        """
        damaged = []
        while True:
            try:
                return step, load(step), damaged
            except InputError as damage:
                earlier = [other for other in self._manager.all_steps() if other < step]
                if not earlier:
                    raise
                damaged.append(f"{damage}; it is in {self._set_aside(step)} now")
                step = max(earlier)

    def _set_aside(self, step: int) -> Path:
        place = self._place_of_damaged(step)
        if jax.process_index() == 0:
            with storage_errors(place, _WHAT):
                _move(self.folder / str(step), place)
        multihost_utils.sync_global_devices(f"{place} is moved")
        self._manager.reload()
        return place

    def _place_of_damaged(self, step: int) -> Path:
        return self.folder.with_name("damaged") / f"{self.folder.name}-{step}"

    def save(
        self, step: int, trees: Mapping[str, Any], record: dict, metrics: dict | None, wait: bool
    ) -> list[str]:
        """Start writing a step: trees of arrays by name, and a record as JSON with their
        "checksum"; `wait`: until it is on disk and was read back (by a learner of one process).

        What was wrong with the ones that were read back meanwhile, in words: they are set aside.
        Raises InputError when it, or one before, cannot be stored; Fenced when another learner was
        started since.
        """
        self._epoch.check(f"checkpoint {self.folder / str(step)}")
        record = {**record, "epoch": self._epoch.number}
        damaged = self._verified()
        self._write(step, trees, record, metrics)
        if wait and (lost := self._verified()):
            damaged += lost
            self._write(step, trees, record, metrics)
            if self._verified():
                raise InputError(
                    f"{damaged[-1]}, and so was a second one: the disk does not keep what is "
                    "written to it. Give another folder with --run, with a copy of this one in it"
                )
        return damaged

    def check(self) -> None:
        """Raises InputError when what is being written cannot be stored."""
        if not self._manager.is_saving_in_progress():  # then this waits for nothing
            with storage_errors(self.folder, _WHAT):
                self._manager.wait_until_finished()

    def _write(
        self, step: int, trees: Mapping[str, Any], record: dict, metrics: dict | None
    ) -> None:
        with storage_errors(self.folder, _WHAT):
            if self._manager.latest_step() == step:
                return
            self._move_late(step)
            logger.info("checkpoint begun", extra={"checkpoint": str(self.folder / str(step))})
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    record=ocp.args.JsonSave(record),
                    **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()},
                ),
                metrics=metrics,
            )
        if jax.process_count() == 1:  # what several processes wrote is checked when it is restored
            self._unread = step
            self._readback.start(self.folder / str(step), trees, record["checksum"])

    def _move_late(self, step: int) -> None:
        """Out of the way: what an earlier learner wrote when this one had begun already."""
        late = self.folder / str(step)
        if jax.process_index() == 0 and late.exists() and step not in self._manager.all_steps():
            _move(late, self._place_of_damaged(step))

    def _verified(self) -> list[str]:
        """Waits until the last one is on disk and read back."""
        with storage_errors(self.folder, _WHAT):
            self._manager.wait_until_finished()
        if self._unread is None:
            return []
        step, self._unread = self._unread, None
        wrong = self._readback.wrong()
        if not wrong:
            return []
        return [
            f"checkpoint {self.folder / str(step)} was not what had been written when it was read "
            f"back ({wrong}); it is in {self._set_aside(step)} now"
        ]

    def restore(self, step: int, abstract: Mapping[str, Any]) -> tuple[dict[str, Any], dict]:
        """Trees and record of a step, the trees placed as `abstract` says.

        Raises InputError naming the folder when it is damaged or of another model, or came too
        late to count.
        """
        place = self.folder / str(step)
        with _unreadable(place):
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    record=ocp.args.JsonRestore(),
                    **{name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()},
                ),
            )
        record = restored["record"]
        if why := self._epoch.disowned(record.get("epoch", 0), self.folder.name, step):
            raise InputError(f"checkpoint {place} does not count: {why}")
        return {name: restored[name] for name in abstract}, record

    def close(self) -> None:
        try:
            with storage_errors(self.folder, _WHAT):
                self._manager.close()
        finally:
            self._readback.close()


def _move(place: Path, to: Path) -> None:
    shutil.rmtree(to, ignore_errors=True)
    to.parent.mkdir(exist_ok=True)
    place.rename(to)


def save_tree(folder: Path, tree: Any) -> None:
    """One tree, for good (the reference policy): not counted among the checkpoints."""
    with storage_errors(folder, _WHAT), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute(), tree)
        checkpointer.wait_until_finished()


def restore_tree(folder: Path, abstract: Any) -> Any:
    with _unreadable(folder), ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder.absolute(), abstract)


@contextmanager
def _unreadable(place: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Orbax and its stores raise all kinds, a bare Exception too
        first_line = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise InputError(
            f"checkpoint {place} cannot be restored ({type(error).__name__}: {first_line}). It is "
            "cut off, damaged or of another model: move that folder away to go on from an earlier "
            "checkpoint, or give another folder with --run"
        ) from error
