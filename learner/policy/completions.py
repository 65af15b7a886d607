"""What an engine is asked for and what it gives back: permits that fit, and completions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cluster.messages import Permit
from learner.policy.endings import Budget
from learner.policy.slots import Shape


@dataclass(frozen=True)
class Sampled:
    """The completions of one permit."""

    permit: Permit
    tokens: tuple[np.ndarray, ...]  # G x [N] int32, end-of-sequence included
    logprobs: tuple[np.ndarray, ...]  # G x [N] float32, at the sampling temperature
    versions: tuple[np.ndarray, ...]  # G x [N] int32, of the weights that each token was drawn with
    truncated: np.ndarray  # [G] bool
    failed: str = ""  # why there are none (each is empty then); "" when there are


@dataclass
class Group:
    """A permit in progress: `row` is the place of its prompt in the cache."""

    permit: Permit
    budgets: Sequence[Budget]
    row: int
    completions: dict[int, tuple] = field(default_factory=dict)
    """(tokens, logprobs, versions, truncated) of each sibling that has finished."""

    @property
    def whole(self) -> bool:
        return len(self.completions) == self.permit.siblings

    def sampled(self) -> Sampled:
        """The completions of all siblings, in their order."""
        in_order = (self.completions[sibling] for sibling in range(self.permit.siblings))
        tokens, logprobs, versions, cut = zip(*in_order, strict=True)
        return Sampled(self.permit, tokens, logprobs, versions, np.array(cut))


@dataclass(frozen=True)
class Counts:
    """What an engine has done so far."""

    steps: int = 0  # slot-steps: decode steps times slots
    drawn: int = 0  # tokens
    begun: int = 0  # completions that have a first token


class Tape:
    """What the slots have drawn: arrays [S, longest completion]."""

    def __init__(self, slots: int, longest: int):
        self.tokens = np.zeros((slots, longest), np.int32)
        self._logprobs = np.zeros((slots, longest), np.float32)
        self._versions = np.zeros((slots, longest), np.int32)

    def write(self, places: tuple, tokens: np.ndarray, logprobs: np.ndarray, version: int) -> None:
        """At these (slots, numbers of tokens)."""
        self.tokens[places], self._logprobs[places] = tokens, logprobs
        self._versions[places] = version

    def completion(self, slot: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Its first `count` tokens, their log-probabilities and versions."""
        arrays = (self.tokens, self._logprobs, self._versions)
        tokens, logprobs, versions = (array[slot, :count].copy() for array in arrays)
        return tokens, logprobs, versions


def unfit(permit: Permit, budgets: Sequence[Budget], shape: Shape, vocabulary: int) -> str:
    """Why this permit cannot be sampled; "" if it can."""
    tokens = permit.tokens
    if not 0 < len(tokens) <= shape.prompt:
        return (
            f"the prompt has {len(tokens)} tokens, the engine takes 1 to {shape.prompt} "
            "(rollout.max_prompt_tokens)"
        )
    if not 0 < permit.siblings <= shape.seats:
        return (
            f"{permit.siblings} siblings were asked for, the engine takes 1 to {shape.seats} "
            "(rollout.group_size)"
        )
    wrong = tokens[(tokens < 0) | (tokens >= vocabulary)]
    if len(wrong):
        return f"token id {wrong[0]} is outside of the vocabulary of {vocabulary}"
    totals = [budget.total for budget in budgets]
    if not (min(totals) > 0 and max(totals) <= shape.new):
        return f"budgets {totals}: the engine has room for 1 to {shape.new} new tokens"
    return ""


def failure(permit: Permit, reason: str) -> Sampled:
    """Nothing, and why."""
    kinds = (np.int32, np.float32, np.int32)
    tokens, logprobs, versions = ((np.zeros(0, kind),) * permit.siblings for kind in kinds)
    cut = np.ones(permit.siblings, bool)
    return Sampled(permit, tokens, logprobs, versions, cut, f"prompt {permit.key}: {reason}")
