"""Programs that want out. Each must end in bounded time, with its verdict, and touch nothing."""

import os
import socket
import time
from pathlib import Path

import psutil
import pytest

from actors.rewards import sandbox
from actors.rewards.confine import supported
from actors.rewards.sandbox import run_tests

pytestmark = pytest.mark.skipif(not supported(), reason="needs Linux on x86-64 or arm64")
SOLUTION = "def add(a, b):\n    return a + b\n"
TESTS = "assert add(1, 2) == 3\nassert add('a', 'b') == 'ab'\n"


def test_code_that_passes_its_tests_passes():
    assert run_tests(SOLUTION, TESTS) == sandbox.Outcome(True, "passed")


@pytest.mark.parametrize(
    ("solution", "reason"),
    [
        ("def add(a, b):\n    return a - b", "AssertionError"),
        ("def add(a, b)", "SyntaxError: expected ':'"),
        ("", "NameError: name 'add' is not defined"),
        ("import sys; sys.exit(0)", "ended before its tests did"),
        ("import os; os._exit(0)", "ended before its tests did"),
        ("raise SystemExit", "ended before its tests did"),
        ("import os, sys\nos.write(int(sys.argv[1]), b'passed')", "NameError"),
        ("def add(a, b):\n    return add(a, b)", "RecursionError"),
        ("\0", "source code string cannot contain null bytes"),
        ("import numpy", "ModuleNotFoundError"),
    ],
)
def test_code_that_does_not_pass_says_why(solution, reason):
    outcome = run_tests(solution, TESTS)
    assert not outcome.passed and reason in outcome.reason


def test_the_standard_library_is_there():
    solution = (
        "import collections, dataclasses, datetime, fractions, functools, itertools, json, math\n"
        "import random, re, statistics, string, time\n"
        "Point = collections.namedtuple('Point', 'x y')\n"
        "@dataclasses.dataclass\nclass A:\n    x: int\n"
        "time.sleep(0.01)\nrandom.seed(1)\n" + SOLUTION
    )
    assert run_tests(solution, TESTS).passed


def refused(statement: str, error: str = "PermissionError") -> None:
    """The statement raises, and the program can tell."""
    solution = f"try:\n    {statement}\nexcept {error}:\n    caught = True"
    assert run_tests(solution, "assert caught").passed


def test_no_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused(f"import socket; socket.create_connection(('127.0.0.1', {port}))")
    refused("import socket; socket.socket(socket.AF_UNIX)")


def test_no_process_no_thread_and_so_no_fork_bomb(monkeypatch):
    monkeypatch.setattr(sandbox, "CPU_S", 1)
    refused("import os; os.fork()")
    refused("import os; os.execv('/bin/true', ['true'])")
    refused("import subprocess; subprocess.run(['true'])")
    refused("import threading; threading.Thread(target=print).start()", "RuntimeError")
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    before = len(psutil.pids())
    assert run_tests(bomb, TESTS).reason == "used more than 1 s of CPU"
    assert len(psutil.pids()) < before + 50


def test_no_file_is_written_changed_or_deleted(tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    refused(f"open({str(kept)!r}, 'w')")
    refused(f"open({str(kept)!r}, 'a')")
    refused(f"open({str(tmp_path / 'new')!r}, 'x')")
    for call in ("remove({0})", "rename({0}, 'b')", "chmod({0}, 0)", "truncate({0}, 0)"):
        refused(f"import os; os.{call.format(repr(str(kept)))}")
    refused(f"import os; os.mkdir({str(tmp_path / 'new')!r})")
    assert kept.read_text() == "mine" and list(tmp_path.iterdir()) == [kept]


def test_no_signal_to_another_process_and_no_way_back():
    refused(f"import os, signal; os.kill({os.getpid()}, signal.SIGTERM)")
    refused("import resource; resource.setrlimit(resource.RLIMIT_CPU, (99, 99))")
    refused("import os; os.setsid()")
    refused("import fcntl; fcntl.fcntl(0, fcntl.F_SETOWN, 1)")


def test_no_secret_of_the_environment_is_seen(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    assert run_tests("import os\nseen = dict(os.environ)", "assert 'JUDGE_KEY' not in seen").passed


def test_a_memory_bomb_ends():
    outcome = run_tests("a = [0]\nwhile True:\n    a = a * 2", TESTS)
    assert outcome.reason == "MemoryError"
    assert run_tests("a = 'x' * 10**11", TESTS).reason == "MemoryError"


def test_an_endless_loop_ends(monkeypatch):
    monkeypatch.setattr(sandbox, "CPU_S", 1)
    started = time.monotonic()
    assert run_tests("while True:\n    pass", TESTS).reason == "used more than 1 s of CPU"
    assert time.monotonic() - started < 60


def test_endless_waiting_ends(monkeypatch):
    monkeypatch.setattr(sandbox, "WALL_S", 1.0)
    waiting = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()\n"
    assert run_tests("import time\ntime.sleep(99)", TESTS).reason == "took longer than 1 s"
    assert not run_tests(waiting, TESTS).passed
    closes = "import os, time\nos.close(1)\nos.close(2)\ntime.sleep(99)"
    assert run_tests(closes, TESTS).reason == "took longer than 1 s"


def test_endless_printing_ends():
    reason = "printed more than 65536 bytes"
    assert run_tests("print('x' * 100 * 2**20)", TESTS).reason == reason
    assert run_tests("while True:\n    print('x')", TESTS).reason == reason


def test_nothing_is_left_behind():
    def sandboxes():
        return [
            process.pid
            for process in psutil.process_iter(["cmdline", "ppid"])
            if str(Path(sandbox.SCRIPT)) in (process.info["cmdline"] or [])
            and process.info["ppid"] in (os.getpid(), 1)  # others run tests of their own
        ]

    descriptors = len(os.listdir("/proc/self/fd"))
    run_tests("print('left behind')", "pass")
    assert sandboxes() == [] and len(os.listdir("/proc/self/fd")) == descriptors


def test_where_it_cannot_be_built_there_is_no_verdict(monkeypatch, tmp_path):
    broken = tmp_path / "sandboxed.py"
    (tmp_path / "confine.py").write_text(
        "def confine(cpu_s, memory_bytes):\n    raise OSError('not here')"
    )
    broken.write_text(sandbox.SCRIPT.read_text())
    monkeypatch.setattr(sandbox, "SCRIPT", broken)
    with pytest.raises(sandbox.Unavailable, match="not here"):
        run_tests(SOLUTION + "# elsewhere", TESTS)
