"""What the ledger costs the driver: milliseconds per group, and memory, over many steps.

    uv run python -m benchmarks.ledger [--steps 3000]

Groups of the demo's shape (16 prompts x 8 completions of up to 16 tokens), a sync to disk every 100
steps as at its checkpoints. Prints one JSON line.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from cluster.messages import Permit, Question, RolloutGroup, ScoredGroup, Verdict
from configs.load import load
from configs.schema import RunConfig
from learner.batch import select
from learner.history import History
from learner.ledger import Ledger
from learner.loop import StepReport

DEMO = Path(__file__).parents[1] / "configs" / "demo.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    steps = parser.parse_args().steps
    config = load(DEMO)
    groups = config.loop.groups_per_step
    spent, memory = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        history = History(path, Ledger(), "here")
        for step in range(1, steps + 1):
            done = _report(step, config)
            started = time.perf_counter()
            history.asked(range(groups * (step - 1), groups * step), step - 1)
            history.done(done)
            if step % config.checkpoint.every_steps == 0:
                history.sync()
            spent.append(1000 * (time.perf_counter() - started) / groups)
            memory.append(psutil.Process().memory_info().rss / 2**20)
        history.close()
        size = path.stat().st_size
    result = {
        "groups": groups * steps,
        "ms_per_group": {
            "median": round(float(np.median(spent)), 4),
            "p99": round(float(np.quantile(spent, 0.99)), 4),
            "max": round(max(spent), 3),
        },
        "rss_mib": {
            "after 10 %": round(memory[steps // 10], 1),
            "at the end": round(memory[-1], 1),
        },
        "bytes_per_permit": round(size / (groups * steps)),
    }
    print(json.dumps(result))


def _report(step: int, config: RunConfig) -> StepReport:
    chosen = select(
        [_group(step, n, config) for n in range(config.loop.groups_per_step)], config, 1
    )
    return StepReport(step, chosen, {"fingerprint": 1.0}, {"wait": 0.1}, Ledger())


def _group(step: int, number: int, config: RunConfig) -> ScoredGroup:
    rng = np.random.default_rng(number)
    place = (step - 1) * config.loop.groups_per_step + number
    siblings, length = config.rollout.group_size, config.rollout.max_new_tokens
    question = Question(f"q-{place}", "What is 1 + 2?", "", "3", "math", "number")
    permit = Permit("train", place, question, np.arange(9, dtype=np.int32), siblings, 1.0, step - 1)
    rollout = RolloutGroup(
        permit,
        step - 1,
        tokens=tuple(rng.integers(4, 400, length).astype(np.int32) for _ in range(siblings)),
        logprobs=tuple(rng.normal(size=length).astype(np.float32) for _ in range(siblings)),
        texts=("",) * siblings,
        truncated=np.zeros(siblings, bool),
        actor=0,
        finished_at=0.0,
    )
    verdicts = tuple(Verdict(float(reward), {}) for reward in rng.random(siblings))
    return ScoredGroup(rollout, verdicts, judge=0, judge_s=0.0, finished_at=0.0)


if __name__ == "__main__":
    main()
