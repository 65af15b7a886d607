"""What a launch has started is ended when the launch is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from cluster.keeper import kept_folder, sweep

LAUNCH = """
import os, subprocess, sys, time
from cluster.keeper import MARK, kept_folder
with kept_folder(os.getpid()) as folder:
    os.environ[MARK] = str(folder)
    child = subprocess.Popen([sys.executable, "-c", "import signal, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"], start_new_session=True)
    print(child.pid, folder, flush=True)
    time.sleep(600)
"""


def test_after_a_kill_of_the_whole_group_nothing_is_left():
    launch = subprocess.Popen(
        [sys.executable, "-c", LAUNCH],
        stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert launch.stdout
    pid, folder = launch.stdout.readline().split()
    os.killpg(launch.pid, signal.SIGKILL)
    killed = time.monotonic()
    launch.wait()
    launch.stdout.close()
    while psutil.pid_exists(int(pid)) or Path(folder).exists():
        assert time.monotonic() - killed < 30
        time.sleep(0.1)


def test_a_folder_goes_with_its_launch_and_those_of_others_stay(tmp_path):
    with kept_folder(os.getpid()) as folder:
        os.utime(folder / ".held", (0, 0))
        sweep(folder.parent)
        assert folder.exists(), "it is held"
    assert not folder.exists()
    for name in ("sw-1-a", "sw-2-b", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".held").touch()
    os.utime(tmp_path / "sw-1-a" / ".held", (0, 0))
    sweep(tmp_path)  # the second one is new: it may be about to be locked
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "sw-2-b"]
