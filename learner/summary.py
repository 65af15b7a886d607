"""`summary.json` and the tables that a run prints at its end."""

import subprocess
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from learner.history import read_steps

PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "google-tunix", "ray",
    "sentencepiece", "tensorboard", "pyarrow", "numpy",
)  # fmt: skip


def ledger_figures(ledger_file: Path) -> dict[str, float | dict]:
    """What the history of a run says, over all its sittings.

    `reward_first`: mean reward of the first 5 steps; `reward_last`: of the last 10 %;
    `tokens_per_s`, `samples_per_s`: of training, by the wall clock; `step_seconds`: mean of each
    part.
    """
    steps = read_steps(ledger_file)
    rewards = [step["reward"] for step in steps if step["reward"] is not None]
    if not rewards:
        return {}
    tail = max(1, round(0.1 * len(rewards)))
    wall_s = sum(step["wall_s"] for step in steps)
    seconds = {part: sum(s["seconds"][part] for s in steps) for part in steps[0]["seconds"]}
    return {
        "reward_first": float(np.mean(rewards[:5])),
        "reward_last": float(np.mean(rewards[-tail:])),
        "tokens_per_s": sum(step["tokens"] for step in steps) / wall_s,
        "samples_per_s": sum(step["samples"] for step in steps) / wall_s,
        "step_seconds": {part: total / len(steps) for part, total in seconds.items()},
    }


def git_commit() -> str:
    """The commit of this code; "" outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git on this machine
        return ""


def package_versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def evaluation_table(before: dict[str, dict] | None, after: dict[str, dict]) -> list[str]:
    """Lines: each domain with greedy accuracy (and interval), sound traces, format, reward."""
    if not after:
        return []
    head = (
        f"{'held-out':<11}{'greedy right':>30}{'with sound trace':>20}{'format':>15}{'reward':>15}"
    )
    lines = [head]
    for domain in sorted(after, key=lambda name: (name == "all", name)):
        new = after[domain]["greedy"]
        old = before[domain]["greedy"] if before else None
        low, high = new["interval"]
        right = f"{_change(old, new, 'accuracy')} [{low:.0%}-{high:.0%}]"
        lines.append(
            f"{domain:<11}{right:>30}{_change(old, new, 'sound'):>20}"
            f"{_change(old, new, 'format'):>15}{_change(old, new, 'reward', '.2f'):>15}"
        )
    return lines


def audit_lines(result: dict[str, Any]) -> Iterator[str]:
    """The result for the terminal."""
    yield f"audit up to step {result['step']}, the newest checkpoint"
    yield f"  trained        {result['trained']:>8}"
    for reason, number in sorted(result["dropped"].items()):
        yield f"  dropped        {number:>8}  {reason}"
    yield f"  outstanding    {result['outstanding']:>8}"
    yield f"  lost           {len(result['lost']):>8}"
    yield f"  used twice     {len(result['doubled']):>8}"
    for finding in result["findings"]:
        shown = ", ".join(map(str, finding["ids"][:10]))
        more = f" and {len(finding['ids']) - 10} more" if len(finding["ids"]) > 10 else ""
        yield f"  DOES NOT HOLD  {finding['what']}: {shown}{more}"
    yield "everything holds" if result["ok"] else f"{len(result['findings'])} findings"


def trace_lines(prompt: str, text: str, answer: str, reward: float) -> list[str]:
    """One completion for the terminal."""
    return [f"  Q: {prompt}   (reference: {answer}, reward {reward:.2f})"] + [
        f"     {line}" for line in text.splitlines()
    ]


def spread_out(count: int, total: int) -> Sequence[int]:
    """`count` places spread over `range(total)`."""
    return sorted({int(place) for place in np.linspace(0, total - 1, count)}) if total else []


def _change(old: dict | None, new: dict, name: str, form: str = ".0%") -> str:
    return f"{old[name]:{form}} -> {new[name]:{form}}" if old else f"{new[name]:{form}}"
