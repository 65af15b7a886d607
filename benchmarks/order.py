"""What does it cost that every run is the same run? `loop.order`, exact against arrival.

    uv run python -m benchmarks.order [--steps 120] [--share 0.2] [section.key=value ...]

Trains the demo with two rollout actors, in each order twice: with actors alike, and with one that
may work only a `share` of the time (it is stopped and continued by signals, as on a host that is
shared with others). Prints one JSON object: wall seconds per step (mean, and of that waiting for
groups), behind a first quarter of the steps in which programs are compiled, and the groups that
were asked for again. The peer is the exact order: ratios above 1 mean that arrival is faster.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

from benchmarks.race import ROOT, environment, say
from learner.history import open_database, read_steps

SETTINGS = ("eval.rows=0", "sft.steps=20", "rollout.actors=2", "checkpoint.every_steps=1000")
ROUND_S = 0.5  # of stopping and continuing


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", metavar="section.key=value")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--share", type=float, default=0.2, help="of the slow actor's time")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    settings = [*SETTINGS, f"loop.steps={args.steps}", *args.settings]
    found = {order: {} for order in ("exact", "arrival")}
    with tempfile.TemporaryDirectory() as folder:
        for actors, share in (("alike", 1.0), ("one slow", args.share)):
            for order, accounts in found.items():
                place = Path(folder) / f"{order} {actors}"
                accounts[actors] = train(place, [*settings, f"loop.order={order}"], share)
                say(f"{order}, {actors}: {accounts[actors]}")
    ratios = {
        actors: round(peer["step_s"] / found["arrival"][actors]["step_s"], 3)
        for actors, peer in found["exact"].items()
    }
    result = {"benchmark": "order", "ours": found["arrival"], "peers": {"exact": found["exact"]}}
    print(json.dumps(result | {"ratios": {"exact": ratios}, "environment": environment()}))
    return 0


def train(folder: Path, settings: Sequence[str], share: float) -> dict[str, float]:
    """A run to its end, its second rollout actor slowed down; raises CalledProcessError."""
    command = [sys.executable, str(ROOT / "launch.py"), "--run", str(folder), *settings]
    run = subprocess.Popen(command, stdout=sys.stderr)
    with slowed(run.pid, share):
        code = run.wait()
    if code:
        raise subprocess.CalledProcessError(code, command)
    ledger = folder / "ledger.sqlite"
    steps = read_steps(ledger)
    measured = steps[len(steps) // 4 :]
    with closing(open_database(ledger, create=False)) as database:
        (again,) = database.execute("SELECT sum(attempt - 1) FROM permits").fetchone()
    return {
        "step_s": round(float(np.mean([step["wall_s"] for step in measured])), 3),
        "waiting_s": round(float(np.mean([step["seconds"]["wait"] for step in measured])), 3),
        "asked_again": again,
    }


@contextmanager
def slowed(driver: int, share: float):
    """The run's second rollout actor works that share of the time, as long as this lasts."""
    over = threading.Event()

    def hold_up() -> None:
        while share < 1 and not over.is_set():
            with suppress(psutil.Error):
                actors = sorted(rollout_actors(driver), key=lambda process: process.pid)
                if len(actors) > 1:
                    actors[1].send_signal(signal.SIGSTOP)
                    time.sleep(ROUND_S * (1 - share))
                    actors[1].send_signal(signal.SIGCONT)
            time.sleep(ROUND_S * share)

    thread = threading.Thread(target=hold_up)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def rollout_actors(driver: int) -> list[psutil.Process]:
    children = psutil.Process(driver).children(recursive=True)
    return [one for one in children if " ".join(one.cmdline()).startswith("ray::RolloutActor")]


if __name__ == "__main__":
    sys.exit(main())
