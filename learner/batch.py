"""Scored groups -> the arrays of one optimizer step. Numpy only: runs on the driver.

P = groups of the step, G = siblings, B = trained rows, N = rows of prompts, T = prompt length,
C = completion length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cluster.messages import ScoredGroup
from configs.schema import RunConfig
from learner.grpo import group_advantages, overlong_penalty, token_weights

_ROUNDING = 1e-6  # what equal float32 rewards may seem to differ by


class Batch(NamedTuple):
    """One optimizer step. Rows are right padded; shapes depend on the configuration alone.

    B / N neighbouring completions share a prompt.
    """

    prompts: np.ndarray  # [N, T] int32
    prompt_lengths: np.ndarray  # [N] int32
    completions: np.ndarray  # [B, C] int32
    sampled_logprobs: np.ndarray  # [B, C] float32
    advantages: np.ndarray  # [B] float32
    weights: np.ndarray  # [B, C] float32: what each trained token counts, 0 for the others


class Demonstrations(NamedTuple):
    """Rows of a cold-start step; fields mean what those of `Batch` mean, and N = B."""

    prompts: np.ndarray  # [B, T] int32
    prompt_lengths: np.ndarray  # [B] int32
    completions: np.ndarray  # [B, C] int32
    weights: np.ndarray  # [B, C] float32, sum to 1


@dataclass(frozen=True)
class StepGroups:
    """The groups of a step with what the learner makes of them."""

    groups: tuple[ScoredGroup, ...]
    rewards: np.ndarray  # [P, G] float32, 0 where not valid: for arithmetic, not for reports
    valid: np.ndarray  # [P, G] bool, False where every judge abstained
    advantages: np.ndarray  # [P, G] float32
    trained: np.ndarray  # [P] bool
    flat: np.ndarray  # [P] bool, `without_spread` where such groups are refilled, else False

    @property
    def mean_reward(self) -> float:
        """Of the completions that have one; not a number if none has."""
        return float(self.rewards[self.valid].mean()) if self.valid.any() else float("nan")


def select(groups: Sequence[ScoredGroup], config: RunConfig, step: int) -> StepGroups:
    """Advantages of each group, and which groups are trained: the widest, ties in prompt order.

    With `grpo.overlong_tokens` rewards are shaped by length first.
    """
    rewards_PG, valid_PG = _judged(groups)
    flat = np.zeros(len(groups), bool)
    if config.loop.max_refills:
        flat = without_spread(groups, config)
    if config.grpo.shuffle_rewards:
        rng = np.random.default_rng((config.run.seed, step))
        shuffled_PG = rng.permuted(rewards_PG, axis=1)
        for group in np.flatnonzero(~valid_PG.all(axis=1)):  # an abstention keeps its place
            valid_G = valid_PG[group]
            shuffled_PG[group] = 0.0
            shuffled_PG[group, valid_G] = rng.permutation(rewards_PG[group, valid_G])
        rewards_PG = shuffled_PG
    shaped_PG = rewards_PG + _overlong(groups, config)
    spread_P = np.array([_spread(r[v]) for r, v in zip(shaped_PG, valid_PG, strict=True)])
    spread_P[flat] = spread_P[flat].clip(max=0.0)
    widest = np.argsort(-spread_P, kind="stable")[: config.trained_groups]
    trained = np.zeros(len(groups), bool)
    trained[widest] = True
    grpo = config.grpo
    advantages = group_advantages(
        shaped_PG,
        valid_PG,
        grpo.scale_by_std,
        leave_one_out=grpo.baseline == "leave_one_out",
        std_floor=grpo.std_floor,
    )
    if config.judge.noise:  # what the judge itself varies by is no signal
        ranges_P = [
            np.ptp(r[v]) if v.any() else 0.0 for r, v in zip(rewards_PG, valid_PG, strict=True)
        ]
        advantages[np.array(ranges_P) <= config.judge.noise] = 0.0
    advantages = advantages.astype(np.float32)
    return StepGroups(tuple(groups), rewards_PG, valid_PG, advantages, trained, flat)


def without_spread(groups: Sequence[ScoredGroup], config: RunConfig) -> np.ndarray:
    """[P] bool: groups that teach nothing, since their siblings differ by no more than noise.

    The standard deviation of their rewards (ddof=1, shaped by length) is at most `grpo.std_floor`,
    or their range is at most `judge.noise`, or fewer than two have a verdict. It depends on the
    group alone: rewards are taken as they were judged, shuffled or not.
    """
    rewards_PG, valid_PG = _judged(groups)
    shaped_PG = rewards_PG + _overlong(groups, config)
    floor, noise = max(config.grpo.std_floor, _ROUNDING), config.judge.noise

    def is_flat(rewards, shaped, valid) -> bool:
        if valid.sum() < 2 or (noise and np.ptp(rewards[valid]) <= noise):
            return True
        return bool(shaped[valid].std(ddof=1) <= floor)

    rows = zip(rewards_PG, shaped_PG, valid_PG, strict=True)
    return np.array([is_flat(*row) for row in rows])


def build_batch(chosen: StepGroups, config: RunConfig) -> Batch:
    """The trained groups as rows. Tokens of siblings without a verdict weigh nothing."""
    groups = [g for g, used in zip(chosen.groups, chosen.trained, strict=True) if used]
    prompts = [g.rollout.permit.tokens for g in groups]
    completions = [tokens for g in groups for tokens in g.rollout.tokens]
    logprobs = [values for g in groups for values in g.rollout.logprobs]
    length = config.rollout.max_new_tokens
    mask_BC = pad([np.ones(len(c), np.float32) for c in completions], length)
    mask_BC *= chosen.valid[chosen.trained].reshape(-1, 1)
    return Batch(
        prompts=pad(prompts, config.rollout.max_prompt_tokens),
        prompt_lengths=np.array([len(p) for p in prompts], np.int32),
        completions=pad(completions, length),
        sampled_logprobs=pad(logprobs, length),
        advantages=chosen.advantages[chosen.trained].reshape(-1),
        weights=token_weights(mask_BC, config.grpo.loss_mean),
    )


def _judged(groups: Sequence[ScoredGroup]) -> tuple[np.ndarray, np.ndarray]:
    """[P, G]: rewards, 0 where there is none, and whether there is one."""
    rewards_PG = np.array([[v.reward for v in group.verdicts] for group in groups], np.float32)
    valid_PG = np.array([[not v.abstained for v in group.verdicts] for group in groups])
    rewards_PG[~valid_PG] = 0.0
    return rewards_PG, valid_PG


def _overlong(groups: Sequence[ScoredGroup], config: RunConfig) -> np.ndarray:
    """[P, G] float32: shapes the advantages; the reported rewards stay those of the judge."""
    lengths_PG = np.array([[len(tokens) for tokens in g.rollout.tokens] for g in groups])
    longest = config.rollout.max_new_tokens
    penalty_PG = overlong_penalty(lengths_PG, longest, config.grpo.overlong_tokens)
    return penalty_PG.astype(np.float32)


def pad(rows: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Right-pad 1-D arrays with 0 to [len(rows), length]."""
    output = np.zeros((len(rows), length), rows[0].dtype)
    for number, row in enumerate(rows):
        output[number, : len(row)] = row
    return output


def _spread(rewards: np.ndarray) -> float:
    return float(rewards.std()) if len(rewards) > 1 else -1.0
