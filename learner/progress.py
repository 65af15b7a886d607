"""How a long phase shows itself: a progress line on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

_PLAIN_INTERVAL_S = 5.0


class Progress:
    """Shows `what` from step `start` to `total` with a few figures. Use as a context manager."""

    def __init__(self, what: str, total: int, start: int = 0, out: TextIO | None = None):
        self._what, self._total, self._start = what, total, start
        self._out = out or sys.stderr
        self._began = self._shown = time.monotonic()
        self._bar: RichProgress | None = None
        if self._out.isatty():
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(file=self._out),
            )
            self._task = self._bar.add_task(what, total=total, completed=start, figures="")

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, step: int, **figures: float | str) -> None:
        """Steps done, and what to show beside them."""
        text = "  ".join(f"{name} {_short(value)}" for name, value in figures.items())
        if self._bar:
            self._bar.update(self._task, completed=step, figures=text)
            return
        now = time.monotonic()
        edge = step == self._start + 1 or step >= self._total
        if not edge and now - self._shown < _PLAIN_INTERVAL_S:
            return
        self._shown = now
        pace = (now - self._began) / max(1, step - self._start)
        left = f"{pace * (self._total - step):.0f} s left"
        print(f"{self._what} {step}/{self._total}  {text}  {left}", file=self._out, flush=True)


def _short(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}"
