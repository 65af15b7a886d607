"""Contestant: this system as a user runs it: `launch.py train` with Ray pools, queues and judge.

Run by `benchmarks/grpo.py`. Step times are the wall clock between the ends of steps, so everything
that a run does is in them: sampling, judging, the update, publishing weights, TensorBoard. Rollouts
overlap the update (`loop.max_staleness = 1`, the default); with `--staleness 0` they do not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.peers.work import WORK, Step, account, read_prompts, reserve_stdout
from learner import history

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    args = parse()
    print_account = reserve_stdout()
    with tempfile.TemporaryDirectory(prefix="ours-") as scratch:
        folder = Path(scratch) / "run"
        rows = Path(scratch) / "rows.jsonl"
        write_rows(args.inputs, rows)
        memory = train(args, rows, folder)
        steps = read_steps(folder)
        summary = json.loads((folder / "summary.json").read_text())
    result = account(
        steps,
        args.warmup,
        parameters=summary["parameters"],
        versions={name: version(name) for name in ("google-tunix", "jax", "ray")},
        max_staleness=args.staleness,
    )
    # generation runs beside the update and the reference inside it: neither has a time of its own
    for part in ("generate_s", "reference_s"):
        del result[part]
    print_account(result | {"peak_rss_mb": round(memory / 2**20, 1)})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=Path, required=True, help="folder made by the race")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3, help="first steps left out")
    parser.add_argument("--lengths", choices=["even", "ragged"], default="even")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--staleness", type=int, default=1, help="loop.max_staleness")
    return parser.parse_args()


def write_rows(inputs: Path, path: Path) -> None:
    """The race's prompts as a data file."""
    rows = [
        {"prompt": row["prompt"], "reasoning": "", "answer": row["answer"]}
        for row in read_prompts(inputs)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def settings(args: argparse.Namespace, rows: Path) -> list[str]:
    """The race's work in the words of our configuration."""
    pieces = json.loads((args.inputs / "pieces.json").read_text())
    stops = [pieces[number][0] for number in WORK.stop_ids(args.lengths)[1:]]
    values = {
        "run.seed": args.seed,
        "data.train": str(rows),
        "data.heldout": str(rows),
        "data.template": "{prompt}",
        "model.layers": WORK.layers,
        "model.embed_dim": WORK.embed_dim,
        "model.hidden_dim": WORK.hidden_dim,
        "model.heads": WORK.heads,
        "model.kv_heads": WORK.kv_heads,
        "model.head_dim": WORK.head_dim,
        "model.sliding_window": WORK.sliding_window,
        "model.tokenizer": str(args.inputs / "tokenizer.model"),
        "sft.steps": 0,
        "eval.rows": 0,
        "rollout.group_size": WORK.siblings,
        "rollout.temperature": WORK.temperature,
        "rollout.max_prompt_tokens": WORK.max_prompt_tokens,
        "rollout.max_reasoning_tokens": WORK.max_new_tokens - 32,
        "rollout.max_answer_tokens": 32,
        "rollout.stop_tokens": stops,
        "rollout.ignore_eos": args.lengths == "even",
        "rollout.slots": WORK.samples,
        "rollout.chunk": 16,
        "loop.steps": args.steps,
        "loop.groups_per_step": WORK.prompts,
        "loop.max_staleness": args.staleness,
        "grpo.widest_groups": 0,
        "grpo.loss_mean": "sequence",
        "grpo.kl_coefficient": WORK.kl_coefficient,
        "learner.learning_rate": WORK.learning_rate,
        "learner.final_learning_rate": WORK.learning_rate,
        "learner.adam_b1": WORK.adam_b1,
        "learner.adam_b2": WORK.adam_b2,
        "learner.max_grad_norm": WORK.max_grad_norm,
        "learner.logits_chunk": WORK.samples * WORK.max_new_tokens,
        "checkpoint.every_steps": 10 * args.steps,
    }
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def train(args: argparse.Namespace, rows: Path, folder: Path) -> int:
    """Run the whole system; returns the most memory its processes held together, in bytes."""
    command = [sys.executable, str(ROOT / "launch.py"), "--run", str(folder)]
    process = subprocess.Popen([*command, *settings(args, rows)], cwd=ROOT, env=dict(os.environ))
    peak = [0]
    watcher = threading.Thread(target=_watch_memory, args=(process.pid, peak), daemon=True)
    watcher.start()
    if process.wait():
        raise SystemExit(f"launch.py ended with code {process.returncode}")
    watcher.join()
    return peak[0]


def read_steps(folder: Path) -> list[Step]:
    """Each step with its wall time, the time of its update, and the lengths that it sampled."""
    entries = history.read_steps(folder / "ledger.sqlite")
    lengths: dict[int, list[int]] = {entry["step"]: [] for entry in entries}
    for path in sorted((folder / "rollouts").glob("*.parquet")):
        table = pq.read_table(path, columns=["step", "tokens"])
        for step, tokens in zip(table["step"].to_pylist(), table["tokens"], strict=True):
            lengths[step].append(len(tokens))
    return [
        Step(entry["wall_s"], update_s=entry["seconds"]["update"], lengths=lengths[entry["step"]])
        for entry in entries
    ]


def _watch_memory(pid: int, peak: list[int]) -> None:
    """Proportional set size of the process and all below it: shared pages count once."""
    while True:
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        total = 0
        for process in tree:
            try:
                total += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        peak[0] = max(peak[0], total)
        time.sleep(1.0)


if __name__ == "__main__":
    main()
