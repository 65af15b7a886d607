"""Logs of a run: `logs/` of its folder, a file for each process, one JSON object a line.

A line says run, role, host, actor and step beside level, logger, time and message. Each process
writes its own file, so that what it said last is there however it ended. Where a host does not see
the run folder, its lines are in Ray's own logs on that host alone.
"""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from pythonjsonlogger.json import JsonFormatter

_OURS = ("actors", "cluster", "learner")
_BYTES = 20 * 2**20  # of one file; the one before it is kept
_handlers: list[logging.Handler] = []  # of this process

logger = logging.getLogger(__name__)


def start_log(folder: Path, role: str, actor: int, step: Callable[[], int | None]) -> None:
    """What this process logs goes into `folder/logs/<role>-<actor>-<host>.jsonl` from here on, and
    warnings to stderr, too. `folder`: of the run; `step`: the one that the process is at.
    """
    root, host = logging.getLogger(), socket.gethostname()
    for handler in _handlers:
        root.removeHandler(handler)
        handler.close()
    for handler in [other for other in root.handlers if type(other) is logging.StreamHandler]:
        root.removeHandler(handler)  # of a library that set logging up: it would print all of ours
    _handlers[:] = [logging.StreamHandler()]
    place = folder / "logs" / f"{role}-{actor}-{host}.jsonl"
    if folder.is_dir():
        with suppress(OSError):  # a full disk is told by what cannot do without it
            place.parent.mkdir(exist_ok=True)
            _handlers.append(RotatingFileHandler(place, maxBytes=_BYTES, backupCount=1))
            _handlers[0].setLevel(logging.WARNING)
    _handlers[-1].setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"run": folder.name, "role": role, "actor": actor, "host": host},
        )
    )
    _handlers[-1].addFilter(_Step(step))
    for handler in _handlers:
        root.addHandler(handler)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)


class _Step(logging.Filter):
    """Gives each line the step of its moment."""

    def __init__(self, step: Callable[[], int | None]):
        super().__init__()
        self._step = step

    def filter(self, record: logging.LogRecord) -> bool:
        record.step = self._step()
        return True


def logged(actor_class: Any, role: str, folder: Path) -> type:
    """The class, whose first argument is its number, with a log of its own.

    Its `version` is the step of its lines: of the policy that it has at hand.
    """

    class Logged(actor_class):
        def __init__(self, number: int, *args: Any):
            start_log(folder, role, number, lambda: getattr(self, "version", None))
            logger.info("started")
            super().__init__(number, *args)

        def run(self) -> None:
            try:
                super().run()
            except Exception:
                logger.exception("ended by an error")
                raise

    Logged.__name__ = actor_class.__name__
    return Logged
