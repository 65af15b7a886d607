"""What a judge should not care about: how long a text is, how its scale is listed, who asks again.

Each probe judges the same good completions twice, with one thing changed, and takes the mean change
of the reward: more words that say nothing; the anchors of the scale listed from the best down
(only a language model sees them); nothing at all.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from actors.bench import Bench
from actors.data.labelled.items import Labelled
from actors.rewards.rubric import Rubric
from cluster.messages import Verdict

WORDS = ", as one can see when one looks at it with some care"


async def probe_lines(
    items: Sequence[Labelled], bench: Bench, done: Callable[[int], None] = lambda count: None
) -> list[str]:
    """The probes of the report."""
    changes: dict[str, list[float]] = {"verbosity": [], "position": [], "asked again": []}
    downwards = bench.by(listed_downwards(bench.rubric))
    for count, item in enumerate(items, 1):
        question, texts = item.question(with_reference=True), [item.good, wordy(item.good)]
        (good, longer), _ = await bench.verdicts(question, texts, remembering=False)
        changes["verbosity"] += _change(good, longer)
        if bench.rubric.asked:
            (other,), _ = await downwards.verdicts(question, texts[:1], remembering=False)
            (again,), _ = await bench.verdicts(question, texts[:1], remembering=False)
            changes["position"] += _change(good, other)
            changes["asked again"] += _change(good, again)
        done(count)
    noise = changes.pop("asked again")
    lines = [
        f"  {name:<36}{np.mean(values):+.3f} (from {min(values):+.3f} to {max(values):+.3f})"
        for name, values in changes.items()
        if values
    ]
    if noise:
        lines.append(f"  {'noise of a verdict asked for again':<36}{noise_of(noise):.4f}")
    return ["probes (change of a good completion's reward)", *lines]


def noise_of(changes: Sequence[float] | np.ndarray) -> float:
    """Standard deviation of one verdict, from the differences of two."""
    return float(np.sqrt(np.mean(np.square(changes)) / 2))


def wordy(completion: str) -> str:
    """Each step with words behind it that say nothing."""
    return re.sub(r"(\.?)(\n|</reasoning>)", rf"{WORDS}\1\2", completion)


def listed_downwards(rubric: Rubric) -> Rubric:
    """The scales listed from the best anchor down; each keeps its number."""
    asked = {name: replace(criterion, downwards=True) for name, criterion in rubric.asked.items()}
    return replace(rubric, asked=asked)


def _change(before: Verdict, after: Verdict) -> list[float]:
    return [] if before.abstained or after.abstained else [after.reward - before.reward]
