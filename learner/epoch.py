"""Which learner may write into a run: the one that was started last.

A host that is cut off does not know that its work has been given to others; when its cable is back,
or its disk, it may go on where it was. So each learner that is started, whole, has a number, and
what an earlier one brings is refused: weights by the store, steps by the ledger, checkpoints when
they are written and, where one appears late, when they are read.
"""

import json
import os
import socket
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from configs.errors import RunError
from configs.run_folder import write_json


class Fenced(RunError):
    """Raised to a learner, or its driver, after another one was started for the same run."""


@dataclass(frozen=True)
class Epoch:
    """The right of one learner to write. Without a folder (`ALONE`): of one that nobody replaces.

    `folder` holds one file for each learner there was: who started it, and where it went on.
    """

    folder: Path | None = None
    number: int = 0

    @classmethod
    def claim(cls, folder: Path) -> "Epoch":
        """A new one: from now on all earlier ones are refused. Of two at once both get their own.

        Where hosts share the folder, another host sees it once its view of the share is refreshed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for number in count(max(_claims(folder), default=0) + 1):
            try:
                with (folder / str(number)).open("x") as file:
                    file.write(json.dumps(_self()))
                return cls(folder, number)
            except FileExistsError:  # another process was quicker
                continue
        raise AssertionError("unreachable")

    def check(self, what: str) -> None:
        """Raises Fenced when there is a later one; `what` is to be refused then."""
        claims = _claims(self.folder) if self.folder else {}
        newest = max(claims, default=self.number)
        if newest > self.number:
            raise refusal(what, self.number, newest, claims[newest])

    def begin(self, phase: str, step: int, rank: int) -> None:
        """Note what this learner goes on from; the first of its processes does."""
        if self.folder and rank == 0:
            write_json(self.folder / str(self.number), {**_self(), "phase": phase, "step": step})

    def disowned(self, number: int, phase: str, step: int) -> str:
        """Why a checkpoint that an epoch wrote does not count; "" when it does.

        It does not when a later learner went on from an earlier checkpoint: then this one came
        after the run had gone another way.
        """
        claims = _claims(self.folder) if self.folder else {}
        for later in sorted(n for n in claims if number < n < self.number):
            claim = claims[later]
            if "step" in claim and _place(claim["phase"], claim["step"]) < _place(phase, step):
                return (
                    f"it was written by the learner of epoch {number} after that of epoch {later} "
                    f"had gone on from step {claim['step']}"
                )
        return ""


ALONE = Epoch()


def refusal(what: str, number: int, newest: int, by: dict[str, Any] | None = None) -> Fenced:
    """The error, in words."""
    on = f", started on {by['host']} at {_clock(by['at'])}," if by else ""
    return Fenced(
        f"{what} by the learner of epoch {number} is refused: that of epoch {newest}{on} has taken "
        "over this run; this one must end"
    )


def _place(phase: str, step: int) -> tuple[bool, int]:
    """In the order of a run: the cold start comes first."""
    return phase == "grpo", step


def _claims(folder: Path) -> dict[int, dict[str, Any]]:
    """What each epoch's file says; a file may still be about to be written."""
    found = {}
    for name in os.listdir(folder) if folder.is_dir() else ():
        if name.isdecimal():
            text = (folder / name).read_text()
            found[int(name)] = json.loads(text) if text else {"host": "?", "at": time.time()}
    return found


def _self() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "at": time.time()}


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
