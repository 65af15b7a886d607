"""Does a process still answer? One that died says so itself; one that hangs must be asked."""

import sys
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from cluster.notice import heed

GROUP = "watch"  # threads of a watched actor that answer while another one works
_OFTEN = 4  # times that an actor is asked within the time that it may owe an answer


def watched(actor_class: type) -> type:
    """The class with a method `doing`, which says where its other threads are, and `leave`, which
    asks it to end its `run()` when that is done with what it has: see `leaving` of the class. It
    heeds the notice that its host is taken away."""

    def __init__(self, *args: Any):
        heed()
        actor_class.__init__(self, *args)

    def doing(self) -> str:
        me, frames = threading.get_ident(), sys._current_frames()
        stacks = [traceback.extract_stack(frame) for ident, frame in frames.items() if ident != me]
        ours = [[f for f in stack if f.name != "doing" and _is_ours(f)] for stack in stacks]
        deepest = max(ours, key=len, default=[])
        return " > ".join(f"{f.name} ({f.filename}:{f.lineno})" for f in deepest[-3:]) or "idle"

    def leave(self) -> None:
        self.leaving = True

    methods = {"__init__": __init__, "doing": doing, "leave": leave}
    return type(actor_class.__name__, (actor_class,), methods)


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return not any(part in frame.filename for part in ("site-packages", "/lib/python"))


@dataclass
class _Call:
    ref: Any
    at: float
    said: str = ""  # by the last call that was answered


class Watch:
    """Asks actors every few seconds what they are doing, and never waits for an answer.

    `limit_s`: how long a process may owe an answer; `start_s`: how long it may owe its first.
    """

    def __init__(self, limit_s: float, start_s: float):
        self._limit_s, self._start_s = limit_s, start_s
        self._actors: list[Any] = []
        self._calls: list[_Call] = []

    def add(self, actor: Any) -> None:
        self._actors.append(actor)
        self._calls.append(self._call(actor))

    def replace(self, number: int, actor: Any) -> None:
        self._actors[number], self._calls[number] = actor, self._call(actor)

    def silent(self) -> list[int]:
        """The numbers of those that owe an answer for too long."""
        now = time.monotonic()
        refs = [call.ref for call in self._calls]
        answered, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        late = []
        for number, call in enumerate(self._calls):
            if call.ref not in answered:
                if now - call.at > (self._limit_s if call.said else self._start_s):
                    late.append(number)
            elif now - call.at > self._limit_s / _OFTEN:
                try:
                    call.said = ray.get(call.ref)
                except RayError:
                    continue  # it died, which its other calls tell
                call.ref, call.at = self._call(self._actors[number]).ref, now
        return late

    def doing(self, number: int) -> str:
        """What it said last."""
        return self._calls[number].said or "it has not answered yet"

    @staticmethod
    def _call(actor: Any) -> _Call:
        return _Call(actor.doing.options(concurrency_group=GROUP).remote(), time.monotonic())
