"""Reads a checkpoint back once it is on disk, beside the steps that follow, and says what is wrong.

In one process and one thread, whatever wrote it: as arrays of numpy, past the devices.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jax

from learner import fingerprint
from learner.stored import read_trees, restore_arguments

_LOOKS_EVERY_S = 0.05


class ReadBack:
    """One checkpoint at a time. Its thread keeps no process alive: one whose checkpoint never
    appears, since writing it failed, would wait for ever."""

    def __init__(self):
        self._closed = threading.Event()
        self._arguments: dict[jax.tree_util.PyTreeDef, dict] = {}  # by structure
        self._thread: threading.Thread | None = None
        self._result: Future[str] = Future()
        self._result.set_result("")

    def start(self, place: Path, trees: Mapping[str, Any], checksum: float) -> None:
        """`place`: where the checkpoint is to appear; `checksum`: of the trees it was made of."""
        self._result = result = Future()
        structure = jax.tree.structure(trees)
        self._thread = threading.Thread(
            target=lambda: result.set_result(self._read(place, structure, checksum)),
            name="read back",
            daemon=True,
        )
        self._thread.start()

    def wrong(self) -> str:
        """What is wrong with it, in words, once it is read; "" when it is what was written."""
        return self._result.result()

    def close(self) -> None:
        self._closed.set()
        if self._thread:
            self._thread.join()

    def _read(self, place: Path, structure: jax.tree_util.PyTreeDef, checksum: float) -> str:
        while not place.exists():  # it appears by rename, when it is complete
            if self._closed.is_set():
                return "it never appeared"
            time.sleep(_LOOKS_EVERY_S)
        try:
            with jax.default_device(jax.local_devices(backend="cpu")[0]):
                if structure not in self._arguments:
                    self._arguments[structure] = restore_arguments(place)
                found = fingerprint.of_trees(read_trees(place, self._arguments[structure]))
        except Exception as error:  # noqa: BLE001 (Orbax and its stores raise all kinds)
            return f"{type(error).__name__}: {str(error).strip()[:200]}"
        return "" if found == checksum else "its arrays have another checksum"
