"""What became of every prompt: the state of the loop, saved with the parameters of the same step.

A prompt is asked for (its permit is outstanding), then consumed by exactly one step, trained or
dropped with a reason. The state is small and travels inside the checkpoint; the history is one JSON
line a step in the run folder.
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from configs.schema import RunConfig
from learner.batch import StepGroups


@dataclass(frozen=True)
class Ledger:
    """Where a run stands. Indices count the prompts of the training stream from 0."""

    step: int = 0  # optimizer steps done, which is the newest policy version
    cursor: int = 0  # prompts asked for so far
    consumed: int = 0  # prompts used up so far; [consumed, cursor) are outstanding
    trained: int = 0
    dropped: int = 0

    @property
    def outstanding(self) -> range:
        return range(self.consumed, self.cursor)

    def ask_ahead(self, config: RunConfig) -> tuple["Ledger", range]:
        """The prompts to ask for now, so that `max_staleness + 1` steps of work are under way."""
        loop = config.loop
        last_step = min(self.step + loop.max_staleness + 1, loop.steps)
        missing = last_step - self.step - len(self.outstanding) // loop.groups_per_step
        end = self.cursor + max(0, missing) * loop.groups_per_step
        return replace(self, cursor=end), range(self.cursor, end)

    def versions(self, config: RunConfig) -> range:
        """The policy versions that outstanding permits may name, and the present one."""
        return range(max(0, self.step - config.loop.max_staleness), self.step + 1)

    def next_prompts(self, config: RunConfig) -> range:
        """The prompts of the next step, in order."""
        return range(self.consumed, self.consumed + config.loop.groups_per_step)

    def after(self, chosen: StepGroups) -> "Ledger":
        """The ledger once a step has used up its groups."""
        trained = int(chosen.trained.sum())
        return replace(
            self,
            step=self.step + 1,
            consumed=self.consumed + len(chosen.groups),
            trained=self.trained + trained,
            dropped=self.dropped + len(chosen.groups) - trained,
        )

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def policy_version(index: int, config: RunConfig) -> int:
    """The version that a prompt is sampled with, whenever and however often it is asked for.

    That of the update `max_staleness` before the one that trained just before the prompt's own
    step: a run that was cut off asks again for the very samples it lost.
    """
    return max(0, index // config.loop.groups_per_step - config.loop.max_staleness)


class LedgerFile:
    """The history: appended after each step, cut back to the checkpoint's step on resume."""

    def __init__(self, path: Path, resumed_step: int):
        self.path = path
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= resumed_step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        os.replace(temporary, path)
        self._file = path.open("a")
        self._written = time.monotonic()

    def write(self, step: int, chosen: StepGroups, seconds: dict[str, float]) -> None:
        now = time.monotonic()
        entry = step_entry(step, chosen) | {"seconds": seconds, "wall_s": now - self._written}
        self._written = now
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def step_entry(step: int, chosen: StepGroups) -> dict:
    """Which prompts a step trained on, which it dropped and why, and how old their samples were."""

    def indices(wanted: Sequence[bool]) -> list[int]:
        pairs = zip(chosen.groups, wanted, strict=True)
        return [group.rollout.permit.index for group, yes in pairs if yes]

    judged = chosen.valid.sum(axis=1) >= 2
    return {
        "step": step,
        "reward": float(chosen.rewards[chosen.valid].mean()) if chosen.valid.any() else None,
        "samples": chosen.rewards.size,
        "tokens": sum(len(row) for group in chosen.groups for row in group.rollout.tokens),
        "trained": indices(chosen.trained & judged),
        "dropped": {
            "narrow rewards": indices(~chosen.trained & judged),
            "fewer than two verdicts": indices(~judged),
        },
        "policy_versions": sorted({group.rollout.policy_version for group in chosen.groups}),
    }


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    # a process that was killed while writing leaves half a line: that step was not checkpointed
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
