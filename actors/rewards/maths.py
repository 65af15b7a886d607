"""Are two mathematical texts equal? math-verify, in a process of its own with a deadline.

math-verify bounds its time by signals, which only a main thread can have, and a text such as
9^9^9^9 holds the interpreter for good. So one reusable process does the work; when it uses too much
time it is ended, the text is wrong, and the next one gets a new process. Works from any thread.
"""

import atexit
import json
import os
import re
import selectors
import subprocess
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from actors.rewards.sandbox import Unavailable

ROOT = Path(__file__).parents[2]
CPU_S = 2.0  # of one comparison; a common one takes a millisecond, the first ones 0.1 s
STALLED_S = 60.0  # without a result and without using CPU: the machine's fault, not the text's
START_S = 120.0
LONGEST = 300  # characters of a text

WRAPPED = re.compile(
    r"\$\$(.*)\$\$|\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\]|\\boxed\{(.*)\}|\\text\{(.*)\}", re.DOTALL
)
ASSIGNED = re.compile(r"[a-zA-Z]\s*=\s*(?=[^=])")
WORD = re.compile(r"\\?[a-zA-Z]{2,}")
FUNCTIONS = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "arcsin",
        "arccos",
        "arctan",
        "log",
        "ln",
        "exp",
        "sqrt",
        "pi",
    ]
)
OPERATION = re.compile(r"(?<=[\d)}])\s*(\+|-|\*|\^|x|×|÷|\\cdot|\\times|\\div)\s*(?=[-\d({\\])")


def equal(answer: str, reference: str) -> bool:
    """Whether the answer is the reference, mathematically: 0.5 is \\frac{1}{2}.

    The answer must be one expression: a sentence, a list of guesses or an equation is wrong, and so
    is a sum that is left to the reader where the reference is its value. Raises Unavailable.
    """
    given, wanted = _expression(answer), _expression(reference)
    if not given or not wanted or max(len(given), len(wanted)) > LONGEST:
        return False
    if given == wanted:
        return True
    if any(word[0] != "\\" and word.lower() not in FUNCTIONS for word in WORD.findall(given)):
        return False
    if given.count("=") > wanted.count("=") or re.search(r"[;?!\n]", given):
        return False
    if not re.search(r"[a-zA-Z]", wanted) and _operations(given) - _operations(wanted):
        return False
    return _ask(wanted, given)


def _expression(text: str) -> str:
    """Without what only wraps it: dollar signs, \\boxed{}, `x = `, a full stop."""
    text = text.strip().removesuffix(".").strip()
    while match := WRAPPED.fullmatch(text):
        text = next(group for group in match.groups() if group is not None).strip()
    match = ASSIGNED.match(text)
    return text[match.end() :].strip() if match and text.count("=") == 1 else text


def _operations(text: str) -> set[str]:
    return set(OPERATION.findall(text))


@lru_cache(maxsize=4096)
def _ask(reference: str, answer: str) -> bool:
    """Cached, because siblings often give the same answer."""
    return WORKER.ask(reference, answer)


class Worker:
    """The process, started when it is first needed; one comparison at a time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process: Any = None  # a Popen whose pipes are there

    def ask(self, reference: str, answer: str) -> bool:
        """False also for a text that cannot be compared within CPU_S; raises Unavailable."""
        line = json.dumps([reference, answer]).encode() + b"\n"
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
                    return False
        return False  # it ends a fresh worker: too much for its memory

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> Any:
        process: Any = subprocess.Popen(
            [sys.executable, "-m", "actors.rewards.math_worker"],
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
            raise Unavailable(f"the math verifier did not start within {START_S:g} s")
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
                raise Unavailable(f"the math verifier stalled for {STALLED_S:g} s")
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


WORKER = Worker()
atexit.register(WORKER.close)
