"""A process of its own for checkers that may hang, with a deadline: JSON in, JSON out, a line each.

Some checkers bound their time by signals, which only a main thread can have, and some texts hold
the interpreter for good (9^9^9^9). So one reusable process does the work; when it uses too much
time it is ended, the text is wrong, and the next one gets a new process. Works from any thread.
"""

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from actors.rewards.sandbox import Unavailable

ROOT = Path(__file__).parents[2]
CPU_S = 2.0  # of one question; a common one takes milliseconds
STALLED_S = 60.0  # without a result and without using CPU: the machine's fault, not the text's
START_S = 120.0


class Worker:
    """The process of a module that serves; started when first needed; one question at a time."""

    def __init__(self, module: str):
        self._module = module
        self._lock = threading.Lock()
        self._process: Any = None  # a Popen whose pipes are there
        atexit.register(self.close)

    def ask(self, *question: str) -> Any:
        """Its answer; None for a text that takes more than CPU_S or all memory.

        Raises Unavailable.
        """
        line = json.dumps(question).encode() + b"\n"
        with self._lock:
            for _ in range(2):  # a worker that ended by itself between two calls is no verdict
                process = self._process or self._start()
                try:
                    os.write(process.stdin.fileno(), line)
                    said = self._wait(process)
                except OSError:
                    said = b""
                if said:
                    return json.loads(said)
                self.close()
                if said is None:
                    return None
        return None  # it ends a fresh worker

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> Any:
        process: Any = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={"PATH": os.defpath},
            bufsize=0,
        )
        self._process = process
        if not _readable(process.stdout, START_S) or process.stdout.readline() != b"ready\n":
            self.close()
            raise Unavailable(f"{self._module} did not start within {START_S:g} s")
        return process

    def _wait(self, process: Any) -> bytes | None:
        """Its line; b"" if it ended, None if it used too much time; raises Unavailable."""
        watched = psutil.Process(process.pid)
        used, started = _cpu_s(watched), time.monotonic()
        while not _readable(process.stdout, 0.2):
            if _cpu_s(watched) - used > CPU_S:
                return None
            if time.monotonic() - started > STALLED_S:
                self.close()
                raise Unavailable(f"{self._module} stalled for {STALLED_S:g} s")
        return process.stdout.readline()


def _readable(stream: Any, timeout_s: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # ended: its pipe says so
        return 0.0
    return times.user + times.system
