"""Dynamic sampling (DAPO, arXiv 2503.14476): the next prompts take the place of groups that teach
nothing, as `loop.max_refills` allows. Pure functions of rewards and the order of the data.

A step takes `loop.groups_per_step` prompts. While fewer of its groups have spread than are to be
trained, it takes as many more as are missing: in the exact order the next ones of the stream, so
that a step has the same groups in every run. What is taken is asked for anew at the other end, so
that as much as before is under way and no prompt waits longer than `loop.max_staleness` steps.
"""

from collections.abc import Sequence

import numpy as np

from cluster.messages import ScoredGroup
from configs.schema import RunConfig
from learner.batch import without_spread


def lacking(groups: Sequence[ScoredGroup], config: RunConfig) -> int:
    """How many groups more a step takes that has these already."""
    if not config.loop.max_refills:
        return 0
    with_spread = len(groups) - int(without_spread(groups, config).sum())
    room = most_groups(config) - len(groups)
    return max(0, min(config.trained_groups - with_spread, room))


def most_groups(config: RunConfig) -> int:
    """That a step may take."""
    return config.loop.groups_per_step * (1 + config.loop.max_refills)


def refilled_rightly(groups: Sequence[ScoredGroup], config: RunConfig) -> bool:
    """Whether a step that took these groups, in the order of their prompts, was to take them all
    and no more. In the order of arrival the turns are not known: only their sum is."""
    if lacking(groups, config):
        return False
    size = config.loop.groups_per_step
    if config.loop.order == "arrival":
        with_spread = len(groups) - int(without_spread(groups, config).sum())
        return len(groups) == size or with_spread <= config.trained_groups
    while size < len(groups) and (more := lacking(groups[:size], config)):
        size += more
    return size == len(groups)


def versions_asked(counts: Sequence[int], config: RunConfig) -> np.ndarray:
    """[prompts] int: the policy version of each prompt that is asked for while steps take so many
    groups each, in the exact order: that of the step which is the first to ask for it."""
    ahead = (config.loop.max_staleness + 1) * config.loop.groups_per_step
    # when a step is done: what was used before it, what was under way, and what it took more
    asked = np.cumsum(counts, dtype=int) + ahead - config.loop.groups_per_step
    return np.repeat(np.arange(len(counts)), np.diff(asked, prepend=0))
