"""The GRPO objective as pure functions (Shao et al. 2024, arXiv 2402.03300).

P = prompts, G = completions of a prompt (siblings), B = P * G, C = completion tokens.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class LossSums(NamedTuple):
    """Sums over tokens of a micro-batch: divide by the step's total, not by the micro-batch's."""

    loss: jax.Array  # what is minimised, summed with the weights
    kl: jax.Array  # k3 estimate of KL(policy || reference), nats
    ratio: jax.Array
    ratio_max: jax.Array
    clipped_low: jax.Array
    clipped_high: jax.Array


def group_advantages(rewards_PG, valid_PG, scale_by_std: bool, epsilon: float = 1e-4):
    """How much better each completion is than its siblings [P, G]; 0 where not valid.

    Rewards are centred on the mean of the group's valid siblings and, with `scale_by_std`, divided
    by their standard deviation (ddof=1) + epsilon, as in GRPO; without it, Dr.GRPO (arXiv
    2503.20783). A group with fewer than two valid siblings has no advantage. Numpy or jax arrays.
    """
    count_P1 = valid_PG.sum(axis=1, keepdims=True)
    mean_P1 = (rewards_PG * valid_PG).sum(axis=1, keepdims=True) / count_P1.clip(1)
    centred_PG = (rewards_PG - mean_P1) * valid_PG * (count_P1 > 1)
    if not scale_by_std:
        return centred_PG
    variance_P1 = (centred_PG**2).sum(axis=1, keepdims=True) / (count_P1 - 1).clip(1)
    return centred_PG / (variance_P1**0.5 + epsilon)


def token_weights(mask_BC, loss_mean: str):
    """[B, C] weights that sum to 1 over the whole step, micro-batches and hosts included.

    "token": every trained token counts the same (DAPO, arXiv 2503.14476). "sequence": every
    sequence counts the same, its tokens share its weight (GRPO). Of the global batch, once.
    """
    mask_BC = mask_BC.astype("float32")
    if loss_mean == "token":
        return mask_BC / mask_BC.sum().clip(1)
    lengths_B1 = mask_BC.sum(axis=1, keepdims=True)
    return mask_BC / lengths_B1.clip(1) / (lengths_B1 > 0).sum().clip(1)


def grpo_loss(
    logprobs_BC,
    sampled_logprobs_BC,
    reference_logprobs_BC,
    advantages_B,
    weights_BC,
    *,
    clip: tuple[float, float],
    kl_coefficient: float,
) -> LossSums:
    """The clipped objective (PPO, arXiv 1707.06347) with a KL penalty whose gradient is right.

    `sampled_logprobs` are those of the policy that sampled the tokens, `clip` the room below and
    above a ratio of 1. The penalty's gradient is that of k2 = (log policy - log reference)^2 / 2,
    whose expectation is the gradient of KL(policy || reference); k1 in the loss has none, and k3's
    is another one. Off-policy the penalty is weighted by the ratio, taken as constant. What is
    reported as `kl` is k3 (Schulman, "Approximating KL Divergence").
    """
    low, high = 1.0 - clip[0], 1.0 + clip[1]
    seen_BC = weights_BC > 0
    log_ratio_BC = jnp.where(seen_BC, logprobs_BC - sampled_logprobs_BC, 0.0)
    ratio_BC = jnp.exp(jnp.clip(log_ratio_BC, -20.0, 20.0))
    clipped_BC = jnp.clip(ratio_BC, low, high)
    advantages_B1 = advantages_B[:, None]
    objective_BC = jnp.minimum(ratio_BC * advantages_B1, clipped_BC * advantages_B1)

    gap_BC = jnp.where(seen_BC, logprobs_BC - reference_logprobs_BC, 0.0)
    weight_BC = jax.lax.stop_gradient(ratio_BC)
    penalty_BC = weight_BC * gap_BC**2 / 2
    loss_BC = -objective_BC + kl_coefficient * penalty_BC

    def total(values_BC):
        return jnp.sum(weights_BC * values_BC)

    return LossSums(
        loss=total(loss_BC),
        kl=total(weight_BC * (jnp.exp(-gap_BC) - 1.0 + gap_BC)),
        ratio=total(ratio_BC),
        ratio_max=jnp.max(jnp.where(seen_BC, ratio_BC, 0.0)),
        clipped_low=total((ratio_BC < low) & (advantages_B1 < 0)),
        clipped_high=total((ratio_BC > high) & (advantages_B1 > 0)),
    )
