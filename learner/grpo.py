"""The GRPO objective as pure functions (Shao et al. 2024, arXiv 2402.03300), and its variants.

Which setting is which paper's: docs/objective.md.

P = prompts, G = completions of a prompt (siblings), B = P * G, C = completion tokens, R = rows,
T = their slots: a row is a completion, or several that are packed together.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Objective(NamedTuple):
    """What is minimised; the fields are those of the section `grpo`, with its defaults."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 0.0
    ratio: str = "token"
    surrogate: str = "clip"
    kl_coefficient: float = 0.0
    kl_estimator: str = "k2"
    kl_in: str = "loss"
    importance_cap: float = 0.0


class LossSums(NamedTuple):
    """Sums over tokens of a micro-batch: divide by the step's total, not by the micro-batch's."""

    loss: jax.Array  # what is minimised, summed with the weights
    kl: jax.Array  # k3 estimate of KL(policy || reference), nats
    ratio: jax.Array
    ratio_max: jax.Array
    clipped_low: jax.Array
    clipped_high: jax.Array


def group_advantages(
    rewards_PG,
    valid_PG,
    scale_by_std: bool,
    epsilon: float = 1e-4,
    *,
    leave_one_out: bool = False,
    std_floor: float = 0.0,
):
    """How much better each completion is than its siblings [P, G]; 0 where not valid.

    Rewards are centred on the mean of the group's valid siblings, or with `leave_one_out` on that
    of all others (RLOO, arXiv 2402.14740), and, with `scale_by_std`, divided by their standard
    deviation (ddof=1) + epsilon, as in GRPO; without it, Dr.GRPO (arXiv 2503.20783). `std_floor`
    is the least that they are divided by: differences smaller than a judge's noise stay small.
    A group with fewer than two valid siblings has no advantage. Numpy or jax arrays.
    """
    count_P1 = valid_PG.sum(axis=1, keepdims=True)
    mean_P1 = (rewards_PG * valid_PG).sum(axis=1, keepdims=True) / count_P1.clip(1)
    centred_PG = (rewards_PG - mean_P1) * valid_PG * (count_P1 > 1)
    variance_P1 = (centred_PG**2).sum(axis=1, keepdims=True) / (count_P1 - 1).clip(1)
    if leave_one_out:  # r - (sum - r) / (n - 1) = (r - mean) n / (n - 1)
        centred_PG = centred_PG * (count_P1 / (count_P1 - 1).clip(1))
    if not scale_by_std:
        return centred_PG
    return centred_PG / ((variance_P1**0.5).clip(std_floor) + epsilon)


def overlong_penalty(lengths, longest: int, room: int):
    """What is added to the reward of completions of so many tokens (DAPO, arXiv 2503.14476).

    0 up to `longest - room` tokens, then falling evenly to -1 at `longest`; 0 for `room` = 0.
    """
    return -((lengths - (longest - room)) / max(room, 1)).clip(0, 1) * (room > 0)


def token_weights(mask_BC, loss_mean: str):
    """[B, C] weights of the whole step's tokens, micro-batches and hosts included.

    "token": every trained token counts the same (DAPO). "sequence": every sequence counts the
    same, its tokens share its weight (GRPO). Both sum to 1. "constant": every token counts
    1 / (sequences x C), however many others there are (Dr.GRPO). Of the global batch, once.
    """
    mask_BC = mask_BC.astype("float32")
    if loss_mean == "token":
        return mask_BC / mask_BC.sum().clip(1)
    lengths_B1 = mask_BC.sum(axis=1, keepdims=True)
    sequences = (lengths_B1 > 0).sum().clip(1)
    if loss_mean == "constant":
        return mask_BC / mask_BC.shape[1] / sequences
    return mask_BC / lengths_B1.clip(1) / sequences


def grpo_loss(
    logprobs_RT,
    sampled_logprobs_RT,
    reference_logprobs_RT,
    advantages_RT,
    weights_RT,
    completions_RT,
    objective: Objective,
) -> LossSums:
    """The objective with its KL penalty; what is minimised is `loss`.

    `sampled_logprobs` are those of the policy that sampled the tokens. `completions_RT`: equal
    numbers in a row belong to one completion. Where the weight is 0, nothing else matters.
    """
    seen_RT = weights_RT > 0
    log_ratio_RT = jnp.where(seen_RT, logprobs_RT - sampled_logprobs_RT, 0.0)
    token_ratio_RT = ratio_RT = _exp(log_ratio_RT)
    if objective.ratio == "sequence":
        ratio_RT = _exp(completion_means(log_ratio_RT, seen_RT, completions_RT))

    def gap(of_RT):
        return jnp.where(seen_RT, of_RT - reference_logprobs_RT, 0.0)

    weight_RT = jax.lax.stop_gradient(token_ratio_RT)
    if objective.kl_in == "reward":
        penalty_RT = kl_estimate(gap(sampled_logprobs_RT), objective.kl_estimator)
        advantages_RT = advantages_RT - objective.kl_coefficient * penalty_RT
    loss_RT = -surrogate(ratio_RT, logprobs_RT, advantages_RT, objective)
    if objective.kl_in == "loss":
        capped_RT = jnp.minimum(weight_RT, objective.importance_cap or jnp.inf)
        penalty_RT = capped_RT * kl_estimate(gap(logprobs_RT), objective.kl_estimator)
        loss_RT = loss_RT + objective.kl_coefficient * penalty_RT

    def total(values_RT):
        return jnp.sum(weights_RT * values_RT)

    low, high = 1.0 - objective.clip_low, 1.0 + objective.clip_high
    return LossSums(
        loss=total(loss_RT),
        kl=total(weight_RT * kl_estimate(gap(logprobs_RT), "k3")),
        ratio=total(ratio_RT),
        ratio_max=jnp.max(jnp.where(seen_RT, ratio_RT, 0.0)),
        clipped_low=total((ratio_RT < low) & (advantages_RT < 0)),
        clipped_high=total((ratio_RT > high) & (advantages_RT > 0)),
    )


def _exp(log_ratio_RT):
    """The ratio; far off it stays finite."""
    return jnp.exp(jnp.clip(log_ratio_RT, -20.0, 20.0))


def surrogate(ratio_RT, logprobs_RT, advantages_RT, objective: Objective):
    """[R, T]: what is maximised.

    "clip": the pessimistic one of PPO (arXiv 1707.06347), for advantages below 0 never under
    `dual_clip` x advantage where that is given (arXiv 1912.09729). "cispo": the ratio is clipped
    and taken as a constant weight on the log-probability (arXiv 2506.13585): a truncated
    importance weight, under which no token loses its gradient.
    """
    low, high = 1.0 - objective.clip_low, 1.0 + objective.clip_high
    clipped_RT = jnp.clip(ratio_RT, low, high)
    if objective.surrogate == "cispo":
        return jax.lax.stop_gradient(clipped_RT) * advantages_RT * logprobs_RT
    objective_RT = jnp.minimum(ratio_RT * advantages_RT, clipped_RT * advantages_RT)
    if objective.dual_clip:
        lowest_RT = objective.dual_clip * advantages_RT
        objective_RT = jnp.where(
            advantages_RT < 0, jnp.maximum(objective_RT, lowest_RT), objective_RT
        )
    return objective_RT


def completion_means(values_RT, seen_RT, completions_RT):
    """[R, T]: each slot's value becomes the mean over the seen slots of its completion.

    Of log-ratios this is the logarithm of GSPO's ratio (arXiv 2507.18071).
    """
    same_RTT = (completions_RT[:, :, None] == completions_RT[:, None]) & seen_RT[:, None]
    sums_RT = jnp.einsum("rts,rs->rt", same_RTT.astype(values_RT.dtype), values_RT)
    return sums_RT / same_RTT.sum(axis=-1).clip(1)


def kl_estimate(gap, estimator: str):
    """An estimate of KL(policy || reference), nats, from `gap` = log policy - log reference.

    On samples of the policy the gradient of "k2" is in expectation that of the KL divergence. In
    the loss "k1" has none at all, and that of "k3" is the one of KL(reference || policy). As part
    of a reward no gradient goes through it, and "k1" is the exact one. (Schulman, "Approximating
    KL Divergence"; Tang and Munos 2025, arXiv 2506.09477.) "low_var" is k3 as verl bounds it.
    """
    if estimator == "k1":
        return gap
    if estimator == "k2":
        return gap**2 / 2
    if estimator == "k3":
        return jnp.exp(-gap) - 1.0 + gap
    bounded = jnp.clip(gap, -20.0, 20.0)
    return jnp.clip(jnp.exp(-bounded) - 1.0 + bounded, -10.0, 10.0)
