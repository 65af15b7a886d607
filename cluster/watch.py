"""Does a process still answer? One that died says so itself; one that hangs must be asked."""

import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

GROUP = "watch"  # threads of a watched actor that answer while another one works
_EVERY_S = 5.0


def watched(actor_class: type) -> type:
    """The class with a method `doing`, which says where its other threads are."""

    def doing(self) -> str:
        me, frames = threading.get_ident(), sys._current_frames()
        stacks = [traceback.extract_stack(frame) for ident, frame in frames.items() if ident != me]
        ours = [[f for f in stack if f.name != "doing" and _is_ours(f)] for stack in stacks]
        deepest = max(ours, key=len, default=[])
        return " > ".join(f"{f.name} ({f.filename}:{f.lineno})" for f in deepest[-3:]) or "idle"

    return type(actor_class.__name__, (actor_class,), {"doing": doing})


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

    def __init__(self, actors: Sequence[Any], limit_s: float, start_s: float):
        self._limit_s, self._start_s = limit_s, start_s
        self._actors = list(actors)
        self._calls = [self._call(actor) for actor in actors]

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
            elif now - call.at > _EVERY_S:
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
