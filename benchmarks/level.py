"""Do memory, file descriptors and threads of a run stay level?

    uv run python -m benchmarks.level [--minutes 20] [--every 5] [section.key=value ...]

Trains the demo for so long and looks at the driver and at each actor. The first quarter is warm-up:
programs are compiled and buffers find their size. Of the rest it compares the first and the last
third. Prints one JSON object: by process, MiB of memory of its own (resident and anonymous: what
it has in common with others changes with them), open files and threads, early and late, and what a
straight line through the memory gains in an hour. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from benchmarks.race import environment

ROOT = Path(__file__).parents[1]
ROLES = ("RolloutActor", "JudgeActor", "LearnerHost", "_Queue", "_Holder")
SETTINGS = ("eval.rows=0", "sft.steps=60", "loop.steps=1000000")
Sample = tuple[float, float, int, int]  # seconds, MiB, open files, threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks")
    parser.add_argument("settings", nargs="*", metavar="section.key=value")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        budget = f"loop.time_budget_s={60 * args.minutes}"
        command = [sys.executable, str(ROOT / "launch.py"), "--run", f"{folder}/run"]
        run = subprocess.Popen([*command, *SETTINGS, budget, *args.settings], stdout=sys.stderr)
        samples = watch(run.pid, args.every)
        code = run.wait()
    print(json.dumps(report(samples, args.minutes) | {"exit_code": code}))


def watch(pid: int, every_s: float) -> dict[str, list[Sample]]:
    """Looks at the driver and its actors, by name and number, until the driver is gone."""
    samples: dict[str, list[Sample]] = defaultdict(list)
    began = time.monotonic()
    while psutil.pid_exists(pid):
        with suppress(psutil.Error):
            driver = psutil.Process(pid)
            if driver.status() == psutil.STATUS_ZOMBIE:
                break
            for name, process in [("driver", driver), *actors_of(driver)]:
                with suppress(psutil.Error, OSError):
                    memory = own_mib(process.pid)
                    counts = process.num_fds(), process.num_threads()
                    samples[name].append((time.monotonic() - began, memory, *counts))
        time.sleep(every_s)
    return samples


def report(samples: dict[str, list[Sample]], minutes: float) -> dict:
    return {
        "benchmark": "level",
        "minutes": minutes,
        "processes": {name: _level(np.array(rows)) for name, rows in samples.items() if rows[9:]},
        "environment": environment(),
    }


def own_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def actors_of(driver: psutil.Process) -> list[tuple[str, psutil.Process]]:
    found, counts = [], defaultdict(int)
    for process in sorted(driver.children(recursive=True), key=lambda child: child.pid):
        with suppress(psutil.Error):
            title = " ".join(process.cmdline())
            for role in ROLES:
                if title.startswith(f"ray::{role}"):
                    found.append((f"{role}.{counts[role]}", process))
                    counts[role] += 1
    return found


def _level(rows: np.ndarray) -> dict[str, list[float] | float]:
    warm = rows[len(rows) // 4 :]
    third = len(warm) // 3
    early, late = warm[:third].mean(0), warm[-third:].mean(0)
    slope = np.polyfit(warm[:, 0], warm[:, 1], 1)[0]
    return {
        "memory_mib": [round(float(part[1]), 1) for part in (early, late)],
        "files": [round(float(part[2]), 1) for part in (early, late)],
        "threads": [round(float(part[3]), 1) for part in (early, late)],
        "memory_gains_mib_per_hour": round(float(slope) * 3600, 1),
    }


if __name__ == "__main__":
    main()
