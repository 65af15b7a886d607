"""Scalars and texts for TensorBoard, by TensorBoard's own writer. No jax, no TensorFlow."""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text import metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from configs.storage import sync

_FLUSH_S = 10


class Board:
    """One event file. What was written before a `flush` that returned is on disk: a run that is
    killed goes on behind its last checkpoint, and would never write it again.

    Raises OSError, from any method but the constructor at the latest one call later, when the disk
    is full or takes nothing. `first_step`: what earlier files have from there on was of a sitting
    that was cut off, and TensorBoard forgets it.
    """

    def __init__(self, folder: Path, first_step: int):
        self._folder = folder
        # TensorBoard reads files in the order of their names, which begin with the second
        while any(folder.glob(f"events.out.tfevents.{int(time.time()):010d}.*")):
            time.sleep(0.02)
        self._writer = EventFileWriter(str(folder), flush_secs=_FLUSH_S)
        self._add(first_step, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """All of a step in one event: it is there whole, or not at all."""
        named = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, summary=Summary(value=named))

    def text(self, step: int, name: str, markdown: str) -> None:
        value = Summary.Value(
            tag=f"{name}/text_summary",
            metadata=metadata.create_summary_metadata(None, None),
            tensor=make_tensor_proto([markdown.encode()]),
        )
        self._add(step, summary=Summary(value=[value]))

    def flush(self) -> None:
        self._writer.flush()
        for path in self._folder.iterdir():  # ours has a name that only the writer knows
            sync(path)

    def close(self) -> None:
        self._writer.close()

    def _add(self, step: int, **content) -> None:
        self._writer.add_event(Event(wall_time=time.time(), step=step, **content))
