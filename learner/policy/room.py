"""Memory of a rollout engine's cache: what its slots take, and how many there is room for."""

import math
from dataclasses import dataclass
from functools import partial

import jax

from configs.schema import RolloutSection
from learner.policy.gemma_steps import empty_cache
from learner.policy.model import PolicyModel
from learner.policy.slots import Shape, shape_of
from learner.policy.vmapped import empty_caches


@dataclass(frozen=True)
class Room:
    """In bytes, of one engine."""

    cache: int  # exact: keys and values of prompts and slots
    reading: int  # the copy of what a chunk reads, if it does not read everything
    group: int  # both, of the slots of one group

    def slots(self, free: float, group_size: int) -> int:
        """The most slots, in whole groups, that take at most `free` bytes."""
        return max(0, math.floor(free / self.group)) * group_size


def room_of(model: PolicyModel, section: RolloutSection) -> Room:
    """Of the engine that this configuration makes; nothing is allocated."""
    cache, reading = _bytes(model, shape_of(section, model.compute_dtype))
    one = section.model_copy(update={"slots": section.group_size})
    return Room(cache, reading, sum(_bytes(model, shape_of(one, model.compute_dtype))))


def _bytes(model: PolicyModel, shape: Shape) -> tuple[int, int]:
    if model.architecture.family != "gemma2":
        return _held(jax.eval_shape(partial(empty_caches, model, shape))), 0
    held = jax.eval_shape(partial(empty_cache, model, shape))
    prompts, own = _held(held[:2]), _held(held[2:])
    if len(shape.levels) == 1:
        return prompts + own, 0
    rows, blocks = shape.levels[-2]
    picked = own * blocks // (shape.slots * shape.blocks) if shape.blocks > 1 else 0
    return prompts + own, prompts * rows // shape.rows + picked


def _held(arrays) -> int:
    return sum(array.size * array.dtype.itemsize for array in jax.tree.leaves(arrays))
