"""The inside of a worker process: answers one line of JSON after the other until its input ends."""

import json
import sys
from collections.abc import Callable
from typing import Any

from actors.rewards.confine import confine, supported

CPU_S = 3600  # of its whole life; it is started again then
MEMORY_BYTES = 2 * 2**30


def serve(answer: Callable[..., Any]) -> None:
    """Confines the process where that can be done: checkers may evaluate what they parse."""
    if supported():
        confine(CPU_S, MEMORY_BYTES)
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            said = answer(*json.loads(line))
        except Exception:  # noqa: BLE001  # whatever a text does to a checker, it is not right
            said = False
        print(json.dumps(said), flush=True)
