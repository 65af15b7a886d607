"""The work of the rollout race: models, prompts, lengths; and the account each contestant gives.

Imports nothing but the standard library and numpy: contestants live in different environments.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIRST_ID = 4  # below it: pad, <eos>, <bos>, <unk>


@dataclass(frozen=True)
class Size:
    """A Gemma2."""

    layers: int
    embed_dim: int
    hidden_dim: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int


SIZES = {
    "demo": Size(3, 128, 384, 4, 2, 32, 676),
    "35m": Size(8, 512, 2048, 8, 4, 64, 8192),
}


@dataclass(frozen=True)
class Mode:
    """Every completion has a length of its own between `shortest` and `longest`, drawn evenly."""

    prompt: int
    shortest: int
    longest: int


MODES = {
    "prompt_heavy": Mode(512, 64, 64),
    "even": Mode(64, 128, 128),
    "long_tail": Mode(64, 8, 512),
}


@dataclass(frozen=True)
class Work:
    """What is generated, the same for everybody. Rows are completions, siblings side by side."""

    mode: Mode
    siblings: int
    prompts: np.ndarray  # [groups, P] int32
    lengths: np.ndarray  # [groups, siblings]

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    def batches(self, size: int) -> list[tuple[np.ndarray, int]]:
        """(prompts [size, P], longest length) of static batches, which decode to their longest."""
        rows, lengths = np.repeat(self.prompts, self.siblings, axis=0), self.lengths.reshape(-1)
        return [
            (rows[start : start + size], int(lengths[start : start + size].max()))
            for start in range(0, len(rows), size)
        ]


def make_work(size: str, mode: str, siblings: int, completions: int, seed: int) -> Work:
    rng, shape = np.random.default_rng(seed), MODES[mode]
    groups = completions // siblings
    return Work(
        shape,
        siblings,
        rng.integers(FIRST_ID, SIZES[size].vocabulary, (groups, shape.prompt)).astype(np.int32),
        rng.integers(shape.shortest, shape.longest + 1, (groups, siblings)),
    )


def static_account(
    work: Work,
    sizes: Sequence[int],
    turn: Callable[[int], list[tuple[float, int]]],
    warm: Callable[[int], object] | None = None,
) -> dict:
    """The best of these batch sizes. `turn(size)` generates all of it; of each batch it gives the
    seconds from the start to its end, when the caller has its first tokens, and its steps. `warm`
    comes before it: who compiles by lengths needs a whole turn."""
    accounts = []
    for size in sizes:
        (warm or turn)(size)
        used = time.process_time()
        ends = turn(size)
        used = time.process_time() - used
        rows = [len(prompts) for prompts, _ in work.batches(size)]
        first = [end for (end, _), count in zip(ends, rows, strict=True) for _ in range(count)]
        drawn = sum(steps * count for (_, steps), count in zip(ends, rows, strict=True))
        dead = 1 - work.tokens / drawn
        accounts.append(account(work, ends[-1][0], used, first, dead, batch=size))
    return max(accounts, key=lambda one: one["tokens_per_s"])


def account(
    work: Work, seconds: float, used: float, first: Sequence[float], dead: float, **extra
) -> dict:
    """`used`: processor seconds of all threads; `first`: seconds until the caller had the first
    token of each completion; `dead`: share of the slot-steps that drew nothing useful."""
    return {
        "tokens_per_s": round(work.tokens / seconds, 1),
        "tokens_per_cpu_s": round(work.tokens / max(used, 1e-9), 1),
        "first_token_s": round(statistics.median(first), 4),
        "dead_share": round(dead, 4),
        "tokens": work.tokens,
        "seconds": round(seconds, 4),
        **extra,
    }


def peer_arguments(description: str | None) -> argparse.ArgumentParser:
    """The command line of a contestant's script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--weights", type=Path, required=True, help="folder made by the race")
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--modes", required=True, help="mode:completions, separated by commas")
    parser.add_argument("--siblings", type=int, default=8)
    parser.add_argument("--rows", type=int, help="of a static batch, in place of the best")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def works(args: argparse.Namespace) -> dict[str, Work]:
    """The work of each mode of the command line."""
    pairs = (part.split(":") for part in args.modes.split(","))
    return {
        mode: make_work(args.size, mode, args.siblings, int(count), args.seed)
        for mode, count in pairs
    }


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Parameters by our names, float32; memory mapped."""
    names = json.loads((folder / "names.json").read_text())
    return {name: np.load(folder / file, mmap_mode="r") for name, file in names.items()}
