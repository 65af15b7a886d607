"""The work every contestant does, and the account each gives of it.

Imports nothing but the standard library: contestants live in different environments. What they
read is made by `benchmarks/inputs.py`.
"""

import argparse
import json
import os
import resource
import statistics
from dataclasses import dataclass, field
from pathlib import Path

PAD, EOS, BOS, UNK = 0, 1, 2, 3


@dataclass(frozen=True)
class Work:
    """One optimizer step is `prompts` x `siblings` samples, on-policy, one pass over them."""

    prompts: int = 4
    siblings: int = 4
    max_prompt_tokens: int = 64  # with <bos>
    max_new_tokens: int = 128
    layers: int = 4
    embed_dim: int = 128
    hidden_dim: int = 512
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    vocabulary: int = 512
    sliding_window: int = 4096
    temperature: float = 1.0
    # Small enough that completion lengths keep their distribution over the race.
    learning_rate: float = 1e-5
    adam_b1: float = 0.9
    adam_b2: float = 0.99
    max_grad_norm: float = 1.0
    kl_coefficient: float = 0.04
    clip: float = 0.2
    extra_eos_share: float = 0.02

    @property
    def samples(self) -> int:
        return self.prompts * self.siblings

    def stop_ids(self, lengths: str) -> list[int]:
        """Ids that end a completion. A random model draws ids about evenly, so declaring a few
        more ids as <eos> makes lengths geometric (mean about 46 of 128); "even": none ends it."""
        if lengths == "even":
            return []
        extra = int(self.extra_eos_share * self.vocabulary)
        return [EOS, *range(self.vocabulary - extra, self.vocabulary)]


WORKS = {
    "race": Work(),
    # the sizes of configs/demo.toml
    "demo": Work(
        prompts=8,
        siblings=8,
        max_prompt_tokens=32,
        max_new_tokens=24,
        layers=3,
        hidden_dim=384,
        vocabulary=420,
    ),
    "35m": Work(
        layers=8, embed_dim=512, hidden_dim=2048, heads=8, kv_heads=4, head_dim=64, vocabulary=8192
    ),
    "64k": Work(embed_dim=256, hidden_dim=1024, head_dim=64, vocabulary=65_536),
}
WORK = WORKS[os.environ.get("BENCHMARK_WORK", "race")]


@dataclass
class Step:
    """One optimizer step as it was timed; `lengths` counts drawn tokens, the stop id too."""

    wall_s: float = 0.0
    generate_s: float = 0.0
    reference_s: float = 0.0
    update_s: float = 0.0
    lengths: list[int] = field(default_factory=list)


def reward(completions: list[str], **_) -> list[float]:
    """Share of digits: cheap, and different between siblings, so that advantages are not zero."""
    return [sum(c.isdigit() for c in text) / max(1, len(text)) for text in completions]


def account(steps: list[Step], warmup: int, parameters: int, versions: dict, **extra) -> dict:
    """What a contestant prints: throughput over the steps after `warmup`, medians of its parts."""
    counted = steps[warmup:]
    if not counted:
        raise ValueError(f"{len(steps)} steps leave none after a warmup of {warmup}")
    walls = [step.wall_s for step in counted]
    lengths = [length for step in counted for length in step.lengths]
    seconds = {
        f"{part}_s": round(statistics.median(getattr(step, f"{part}_s") for step in counted), 5)
        for part in ("generate", "reference", "update")
    }
    return {
        "samples_per_s": round(len(lengths) / sum(walls), 3),
        "tokens_per_s": round(sum(lengths) / sum(walls), 1),
        "step_s_median": round(statistics.median(walls), 5),
        "step_s_min": round(min(walls), 5),
        "step_s_max": round(max(walls), 5),
        **seconds,
        "steps": len(counted),
        "samples": len(lengths),
        "mean_completion_tokens": round(statistics.mean(lengths), 2),
        "max_completion_tokens": max(lengths),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "parameters": parameters,
        "versions": versions,
        **extra,
    }


def update_account(
    seconds: list[float], cpu: list[float], warmup: int, tokens: int, **extra
) -> dict:
    """What a contestant of the update race prints. `seconds`: of each update, the reference's
    log-probabilities included; `cpu`: processor seconds of the process up to the end of each;
    `tokens`: of the batch, without padding."""
    counted = seconds[warmup:]
    if not counted or not warmup:
        raise ValueError(f"{len(seconds)} steps leave none after a warmup of {warmup}")
    median = statistics.median(counted)
    used = [after - before for before, after in zip(cpu[warmup - 1 :], cpu[warmup:], strict=False)]
    return {
        "update_cpu_s": round(statistics.median(used), 5),
        "update_s": round(median, 5),
        "update_s_min": round(min(counted), 5),
        "update_s_max": round(max(counted), 5),
        "tokens_per_s": round(tokens / median, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        **extra,
    }


def peer_arguments(description: str | None) -> argparse.Namespace:
    """The command line of a peer's script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--inputs", type=Path, required=True, help="folder made by the race")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3, help="first steps left out")
    parser.add_argument("--lengths", choices=["even", "ragged"], default="even")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read_prompts(inputs: Path) -> list[dict]:
    lines = (inputs / "prompts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def check_ids(prompts: list[dict], encoded: list[list[int]]) -> None:
    """Both sides of a comparison must read the same tokens."""
    for row, ids in zip(prompts, encoded, strict=True):
        if row["ids"] != ids:
            raise ValueError(f"prompt {row['prompt']!r} became {ids}, not {row['ids']}")


def reserve_stdout():
    """Send everything libraries print to stderr; returns a writer that prints the account."""
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def print_account(result: dict) -> None:
        print(json.dumps(result), file=stdout, flush=True)

    return print_account
