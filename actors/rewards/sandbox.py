"""Running Python that nobody has read: a solution against its unit tests, in a process of its own.

The process is started in a new session with an empty environment and an empty folder, confines
itself (see confine.py) before the first line of the solution, and is killed with its group at the
wall limit or when it prints too much. It has the standard library and no other packages. What it
may still do: read files that its user may read, though nothing that it prints is kept but the last
line of an error. What is not kept apart: solution and tests share an interpreter, so a solution
that is written to deceive its tests (an `__eq__` that is always true) can.
"""

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CPU_S, WALL_S = 4, 15.0
MEMORY_BYTES = 512 * 2**20
MOST_OUTPUT = 64 * 2**10
LONGEST_SOLUTION = 100_000  # characters
SCRIPT = Path(__file__).with_name("sandboxed.py")


class Unavailable(Exception):
    """The checker itself did not work: no verdict on the answer, and never a wrong."""


@dataclass(frozen=True, slots=True)
class Outcome:
    passed: bool
    reason: str  # "passed", the error's last line, or the limit that ended it


@lru_cache(maxsize=1024)
def run_tests(solution: str, tests: str) -> Outcome:
    """Whether the tests pass; siblings that write the same code are run once.

    Raises Unavailable where the sandbox cannot be built.
    """
    if len(solution) > LONGEST_SOLUTION:
        return Outcome(False, f"longer than {LONGEST_SOLUTION} characters")
    token = secrets.token_hex(16)
    task = {"solution": solution, "tests": tests, "token": token}
    task |= {"cpu_s": CPU_S, "memory_bytes": MEMORY_BYTES}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as stdin:
        stdin.write(json.dumps(task).encode())
        stdin.seek(0)
        said, output, ended = _run(folder, stdin)
    if not said.startswith(f"{token} confined".encode()):
        raise Unavailable(f"sandbox: {ended or _last_line(output)}")
    if said == f"{token} confined{token} passed".encode():
        return Outcome(True, "passed")
    return Outcome(False, ended or _last_line(output))


def _run(folder: str, stdin) -> tuple[bytes, bytes, str]:
    """What came through the result pipe, what was printed, and which limit ended it or ""."""
    result, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            # isolated, without site-packages: nothing but the standard library is in reach
            [sys.executable, "-I", "-S", "-X", "utf8", str(SCRIPT), str(write_end)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={},
            pass_fds=(write_end,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(result)
        raise Unavailable(f"sandbox: no process could be started ({error})") from error
    finally:
        os.close(write_end)
    try:
        output, ended = _watch(process)
        os.set_blocking(result, False)
        said = _read(result, 4096)
    finally:
        _kill(process)
        os.close(result)
    if not ended and process.returncode < 0:
        ended = _signal_name(-process.returncode)
    return said, output, ended


def _watch(process: subprocess.Popen) -> tuple[bytes, str]:
    """The first MOST_OUTPUT bytes of its output, until it ends or has to be ended."""
    assert process.stdout is not None
    output, deadline = b"", time.monotonic() + WALL_S
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            chunk = _read(process.stdout.fileno(), 65536)
            output += chunk
            if len(output) > MOST_OUTPUT:
                return output[:MOST_OUTPUT], f"printed more than {MOST_OUTPUT} bytes"
            if not chunk:  # closed: it has ended, or is about to
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    break
                return output, ""
    return output, f"took longer than {WALL_S:g} s"


def _read(descriptor: int, size: int) -> bytes:
    try:
        return os.read(descriptor, size)
    except BlockingIOError:
        return b""


def _kill(process: subprocess.Popen) -> None:
    """The whole group, whether or not its leader is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _signal_name(number: int) -> str:
    if number in (signal.SIGXCPU, signal.SIGKILL):
        return f"used more than {CPU_S} s of CPU"
    return f"ended by {signal.Signals(number).name}"


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "ended before its tests did"
