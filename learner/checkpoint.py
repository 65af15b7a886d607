"""Orbax checkpoints: all that a step needs to go on, together; the last few and the best kept.

Every process of the learner calls every method equally often. Saving is asynchronous: the arrays
are copied at once, the files are written behind the next steps and appear by rename.
"""

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

Loaded = TypeVar("Loaded")
_STORAGE_SIGNS = ("No space left", "RESOURCE_EXHAUSTED", "Read-only", "ermission denied", "quota")


class Checkpoints:
    """The checkpoints `folder/<step>/` of one phase of a run."""

    def __init__(self, folder: Path, keep_last: int, keep_best: int):
        self.folder = folder.absolute()
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["reward"],
            n=keep_best,
            keep_checkpoints_without_metrics=False,
        )
        keep = policies.AnyPreservationPolicy([policies.LatestN(keep_last), best])
        with _storage_errors(self.folder):
            self._manager = ocp.CheckpointManager(
                self.folder, options=ocp.CheckpointManagerOptions(preservation_policy=keep)
            )

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
        place = self.folder.with_name("damaged") / f"{self.folder.name}-{step}"
        if jax.process_index() == 0:
            with _storage_errors(place):
                shutil.rmtree(place, ignore_errors=True)
                place.parent.mkdir(exist_ok=True)
                (self.folder / str(step)).rename(place)
        multihost_utils.sync_global_devices(f"{place} is moved")
        self._manager.reload()
        return place

    def save(self, step: int, trees: Mapping[str, Any], record: dict, metrics: dict | None) -> None:
        """Start writing a step: trees of arrays by name, and a record as JSON.

        Raises InputError when it, or one before, cannot be stored.
        """
        with _storage_errors(self.folder):
            if self._manager.latest_step() == step:
                return
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    record=ocp.args.JsonSave(record),
                    **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()},
                ),
                metrics=metrics,
            )

    def wait(self) -> None:
        """Until everything is on disk. Raises InputError when it could not be stored."""
        with _storage_errors(self.folder):
            self._manager.wait_until_finished()

    def restore(self, step: int, abstract: Mapping[str, Any]) -> tuple[dict[str, Any], dict]:
        """Trees and record of a step, the trees placed as `abstract` says.

        Raises InputError naming the folder when it is damaged or of another model.
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
        return {name: restored[name] for name in abstract}, restored["record"]

    def close(self) -> None:
        with _storage_errors(self.folder):
            self._manager.close()


def save_tree(folder: Path, tree: Any) -> None:
    """One tree, for good (the reference policy): not counted among the checkpoints."""
    with _storage_errors(folder), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute(), tree)
        checkpointer.wait_until_finished()


def restore_tree(folder: Path, abstract: Any) -> Any:
    with _unreadable(folder), ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder.absolute(), abstract)


@contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    """Turn what a full or read-only disk raises, here or in Orbax's threads, into an InputError."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        text = str(error)
        reason = next((sign for sign in _STORAGE_SIGNS if sign in text), "")
        if not reason:
            raise
        raise InputError(
            f"checkpoints cannot be written to {folder}: {reason}. Free some space or give another "
            "folder with --run; the last complete checkpoint is kept"
        ) from error


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
