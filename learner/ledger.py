"""Where a run stands: the state of the loop, saved with the parameters of the same step.

A prompt is asked for (its permit is outstanding), then consumed by exactly one step, trained or
dropped with a reason. What became of each is in `learner.history`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from configs.schema import RunConfig
from learner.batch import StepGroups


@dataclass(frozen=True)
class Ledger:
    """Where a run stands. Indices count the prompts of the training stream from 0."""

    step: int = 0  # optimizer steps done, which is the newest policy version
    cursor: int = 0  # prompts asked for so far
    consumed: int = 0  # prompts used up so far
    trained: int = 0
    dropped: int = 0
    ahead: tuple[int, ...] = ()  # used up before an earlier one was; none in the exact order
    asked: tuple[tuple[int, int], ...] = ()
    """Of outstanding prompts (end, steps), in order: those before `end` and behind the end before
    were first to be asked for after so many steps. None without `loop.max_refills`."""

    def __post_init__(self):  # a checkpoint's JSON has lists
        object.__setattr__(self, "ahead", tuple(self.ahead))
        object.__setattr__(self, "asked", tuple(map(tuple, self.asked)))

    @property
    def first_open(self) -> int:
        """All prompts before it are used up."""
        return self.consumed - len(self.ahead)

    @property
    def outstanding(self) -> Sequence[int]:
        """Prompts that were asked for and are not used up, in order."""
        asked, ahead = range(self.first_open, self.cursor), set(self.ahead)
        return [place for place in asked if place not in ahead] if ahead else asked

    def ask_ahead(self, config: RunConfig) -> tuple["Ledger", range]:
        """The prompts to ask for now, so that `max_staleness + 1` steps of work are under way."""
        loop = config.loop
        last_step = min(self.step + loop.max_staleness + 1, loop.steps)
        wanted = (last_step - self.step) * loop.groups_per_step - len(self.outstanding)
        asked = self.asked
        if loop.max_refills:
            # as if there were no last step: a run that is made longer later is the same run
            end = self.consumed + (loop.max_staleness + 1) * loop.groups_per_step
            asked = [*(part for part in asked if part[0] < end), (end, self.step)]
        ledger = replace(self, cursor=self.cursor + max(0, wanted), asked=asked)
        return ledger, range(self.cursor, ledger.cursor)

    def refill(self, count: int) -> tuple["Ledger", range]:
        """The prompts to ask for since the present step takes so many more than its own."""
        *before, (end, _) = self.asked
        ledger = replace(
            self, cursor=self.cursor + count, asked=[*before, (end + count, self.step)]
        )
        return ledger, range(self.cursor, ledger.cursor)

    def first_asked(self, place: int) -> int:
        """The steps that were done when an outstanding prompt was first to be asked for."""
        for end, steps in self.asked:
            if place < end:
                return steps
        raise LookupError(f"prompt {place} was never asked for")

    def versions(self, config: RunConfig) -> range:
        """The policy versions that outstanding permits may name, and the present one."""
        return range(max(0, self.step - config.loop.max_staleness), self.step + 1)

    def after(self, chosen: StepGroups) -> "Ledger":
        """The ledger once a step has used up its groups."""
        trained = outcomes(chosen).count("")
        used = {*self.ahead, *(group.key[1] for group in chosen.groups)}
        first_open = self.first_open
        while first_open in used:
            first_open += 1
        return replace(
            self,
            step=self.step + 1,
            consumed=self.consumed + len(chosen.groups),
            trained=self.trained + trained,
            dropped=self.dropped + len(chosen.groups) - trained,
            ahead=sorted(place for place in used if place > first_open),
            asked=[part for part in self.asked if part[0] > first_open],
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def policy_version(index: int, config: RunConfig) -> int:
    """The version that a prompt is sampled with, whenever and however often it is asked for.

    That of the update `max_staleness` before the one that trained just before the prompt's own
    step: a run that was cut off asks again for the very samples it lost. With `loop.max_refills`
    the ledger knows it: a prompt's step depends on the rewards of those before it.
    """
    return max(0, index // config.loop.groups_per_step - config.loop.max_staleness)


def outcomes(chosen: StepGroups) -> list[str]:
    """For each group of a step why it was dropped; "" for those that were trained."""
    judged = chosen.valid.sum(axis=1) >= 2
    narrow_P = ["no spread" if flat else "narrow rewards" for flat in chosen.flat]
    return [
        group.set_aside or ("fewer than two verdicts" if not usable else "" if trained else narrow)
        for group, trained, usable, narrow in zip(
            chosen.groups, chosen.trained, judged, narrow_P, strict=True
        )
    ]
