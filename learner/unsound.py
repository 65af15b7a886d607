"""Updates that are not finite: skipped, their batches kept; several in a row end the run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs.errors import RunError
from learner.batch import Batch


class Skipped:
    """Counts skipped steps in a row, and dumps their batches as `folder/step-<number>.npz`."""

    def __init__(self, folder: Path, limit: int):
        self._folder, self._limit = folder, limit
        self._in_a_row = 0

    def step(
        self, step: int, batch: Batch, names: Sequence[str], sound: np.ndarray, dumps: bool
    ) -> bool:
        """Note a step; whether it was skipped. `sound`: of each gradient, whether it is finite.

        Raises RunError at the `limit`th in a row, with the first tensor that is not finite.
        """
        if sound.all():
            self._in_a_row = 0
            return False
        self._in_a_row += 1
        dump = self._folder / f"step-{step:06d}.npz"
        if dumps:
            write_batch(dump, batch)
        if self._in_a_row >= self._limit:
            raise RunError(
                f"steps up to {step}: {self._in_a_row} updates in a row were not finite and "
                f"skipped (learner.max_skipped). The first such tensor is "
                f"{_culprit(batch, names, sound)}; the batch is in {dump}. A lower "
                "learner.learning_rate, or a look at where its groups come from, may help; an "
                "earlier checkpoint is kept"
            )
        return True


def _culprit(batch: Batch, names: Sequence[str], sound: np.ndarray) -> str:
    for name, values in batch._asdict().items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            return f"{name} of the batch, first at {place}"
    return f"the gradient of {names[int(np.argmin(sound))]}"


def write_batch(path: Path, batch: Batch) -> None:
    """Keep it for whoever wants to know what was wrong with it; `numpy.load` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **batch._asdict())
    unfinished.replace(path)
