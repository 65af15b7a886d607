"""The batch of an update race, as every contestant reads it. Needs numpy alone.

Prompts of half to all of their room, completions of 1 token to all of theirs, or full ones; rewards
that differ inside every group.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.work import WORK


@dataclass(frozen=True)
class Given:
    """Prompts with their completions; siblings lie side by side."""

    prompts: list[list[int]]
    completions: list[list[int]]  # prompts x siblings of them
    rewards: np.ndarray  # float32, of each completion

    @property
    def tokens(self) -> int:
        """Each prompt once and each completion: what there is to read."""
        return sum(map(len, self.prompts)) + sum(map(len, self.completions))


def given(lengths: str, seed: int) -> Given:
    """ "mixed": lengths are drawn evenly, so that completions are half as long as they may be."""
    rng = np.random.default_rng(seed)
    first = WORK.max_prompt_tokens // 2 if lengths == "mixed" else WORK.max_prompt_tokens
    shortest = 1 if lengths == "mixed" else WORK.max_new_tokens
    return Given(
        [_tokens(rng, first, WORK.max_prompt_tokens) for _ in range(WORK.prompts)],
        [_tokens(rng, shortest, WORK.max_new_tokens) for _ in range(WORK.samples)],
        rng.uniform(0.0, 1.0, WORK.samples).astype(np.float32),
    )


def _tokens(rng: np.random.Generator, low: int, high: int) -> list[int]:
    """Ids that no contestant reads as padding, start or end."""
    return rng.integers(4, WORK.vocabulary, rng.integers(low, high + 1)).tolist()


def update_arguments(description: str | None) -> argparse.Namespace:
    """The command line of a contestant of benchmarks/learner.py."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--inputs", type=Path, required=True, help="folder made by the race")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=2, help="first steps left out")
    parser.add_argument("--lengths", choices=["mixed", "full"], default="mixed")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()
