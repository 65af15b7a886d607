"""What the control plane costs, by the number of rollout workers: nothing is generated or learned.

    uv run python -m benchmarks.control_plane [--groups 100000] [--workers 1 8 32 128] [--tokens 18]

A whole run each: job, loop, ledger, recorder, queues, weight store and pools are the real ones;
only generation, judging and the update do nothing (`benchmarks/idle.py`). Every worker is a process
of its own. Prints one JSON line; by the number of workers, behind a first tenth of the steps:
groups per second; CPU microseconds per group of the driver, of all queues and of the weight store;
memory of their own, MiB, after a fifth of the steps and at the end. The peer is one worker.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import psutil

from actors.bench import load_judging
from actors.data.prepare import prepare
from benchmarks.idle import IdleJudge, IdleRollout
from benchmarks.level import actors_of, own_mib
from benchmarks.race import environment, say
from cluster.connect import Connection, connect
from cluster.job import Job
from cluster.placement import plan
from cluster.run import train_run
from cluster.stopper import Stopper
from cluster.workers import WorkerPool, start_workers
from configs.load import load
from configs.run_folder import open_run
from configs.schema import RunConfig
from learner.batch import Batch
from learner.pieces import Offer

SMOKE = Path(__file__).parents[1] / "configs" / "smoke.toml"
GROUPS_PER_STEP = 128
SETTINGS = (
    *(f"loop.groups_per_step={GROUPS_PER_STEP}", "loop.time_budget_s=100000", "sft.steps=0"),
    *("eval.rows=0", "judge.canary_steps=0", "checkpoint.every_steps=10"),
)
_ANSWER = 6  # rollout.max_answer_tokens of configs/smoke.toml
CONTROL = ("driver", "_Queue", "_Holder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, default=100_000, help="of each run")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--tokens", type=int, default=18, help="of each of 4 completions")
    args = parser.parse_args()
    steps = 50 * max(1, round(args.groups / GROUPS_PER_STEP / 50))
    found = {}
    for workers in args.workers:
        size = f"loop.steps={steps}", f"rollout.actors={workers}"
        tokens = f"rollout.max_reasoning_tokens={args.tokens - _ANSWER}"
        config = load(SMOKE, [*SETTINGS, *size, tokens])
        found[workers] = measure(config)
        say(f"{workers} workers: {found[workers]}")
    fewest, most = found[min(found)], found[max(found)]
    costs = ("driver", "queues", "weight_store")
    print(
        json.dumps(
            {
                "benchmark": "control_plane",
                "ours": {str(workers): one for workers, one in found.items()},
                "peers": {"fewest workers": fewest},
                "ratios": {
                    f"{part}_us": round(
                        most["us_per_group"][part] / fewest["us_per_group"][part], 2
                    )
                    for part in costs
                },
                "environment": environment(),
            }
        )
    )


def measure(config: RunConfig) -> dict[str, Any]:
    """A run to its end."""
    planned = plan(1, config)
    with tempfile.TemporaryDirectory() as path, connect(planned) as connection:
        with redirect_stdout(sys.stderr):
            folder = open_run(Path(path) / "run", config)
            judging = load_judging(config.judge, folder.rubric_file)
            corpus = prepare(folder, config, judging)
            stopper = Stopper(time.monotonic() + config.loop.time_budget_s)
            job = IdleJob(config, folder, corpus, planned, connection, stopper.check)
            with job:
                train_run(job, stopper)
        return job.idle.account(config.loop.steps)


class IdleJob(Job):
    """A run with actors that have nothing to do."""

    def _start_pool(
        self, role: str, connection: Callable[[], Connection], places: Sequence[int]
    ) -> WorkerPool:
        if role == "rollout":
            tokens = self.config.rollout.max_new_tokens
            parts = (tokens, self.permits, self.weights, self.rollouts)
            return start_workers(role, IdleRollout, connection, places, parts, {})
        parts = self.rollouts, self.scored
        return start_workers(role, IdleJudge, connection, places, parts, {})

    def _learner(self) -> "IdleLearner":  # type: ignore[override]
        self.idle = IdleLearner()
        return self.idle


class IdleLearner:
    """Learns nothing; notes what every step took of each process."""

    def __init__(self):
        self._notes: list[dict[str, Any]] = []
        self._watched: list[tuple[str, psutil.Process]] = []

    def create_state(self) -> dict[str, Any]:
        figures = dict.fromkeys(("step", "parameters", "trained", "devices"), 0)
        return figures | {
            "phase": "grpo", "ledger": {}, "platform": "idle", "damaged": [], "learner": "none",
        }  # fmt: skip

    def train_step(self, batch: Batch) -> dict[str, float]:
        return {"fingerprint": 1.0, "grad_norm": 0.0}

    def export(self, version: int) -> list[list[Any]]:
        if version:
            self._note()
        import ray  # not before `cluster`, which sets how Ray authenticates

        return [[ray.put(Offer(0, {}, (), ()))]]  # of no arrays

    def save(
        self, phase: str, step: int, ledger: dict, metrics: dict | None, wait: bool
    ) -> list[str]:
        return []

    def parameters_sha256(self) -> str:
        return ""

    def check(self) -> None:
        return

    def close(self) -> None:
        return

    def kill(self) -> None:
        return

    def _note(self) -> None:
        if not self._watched:
            driver = psutil.Process()
            every = [("driver", driver), *actors_of(driver)]
            self._watched = [(n.split(".")[0], p) for n, p in every if n.startswith(CONTROL)]
        note: dict[str, Any] = {"at": time.perf_counter(), "cpu": {}, "mib": {}}
        for name, process in self._watched:
            times = process.cpu_times()
            note["cpu"][name] = note["cpu"].get(name, 0.0) + times.user + times.system
            note["mib"][name] = note["mib"].get(name, 0.0) + own_mib(process.pid)
        self._notes.append(note)

    def account(self, steps: int) -> dict[str, Any]:
        """All behind the first tenth of the steps; memory from a fifth on, before a checkpoint."""
        assert len(self._notes) == steps
        first, fifth, last = (self._notes[n - 1] for n in (steps // 10, steps // 5, steps))
        groups = (steps - steps // 10) * GROUPS_PER_STEP
        names = dict(zip(("driver", "queues", "weight_store"), CONTROL, strict=True))
        return {
            "groups": steps * GROUPS_PER_STEP,
            "groups_per_s": round(groups / (last["at"] - first["at"]), 1),
            "us_per_group": {
                part: round(1e6 * (last["cpu"][name] - first["cpu"][name]) / groups, 1)
                for part, name in names.items()
            },
            "mib": {
                part: [round(note["mib"][name], 1) for note in (fifth, last)]
                for part, name in names.items()
            },
        }


if __name__ == "__main__":
    main()
