"""The objective against values worked out by hand, and against the other libraries' formulas."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from learner.grpo import group_advantages, grpo_loss, token_weights

LOSS = jax.jit(grpo_loss, static_argnames=("clip", "kl_coefficient"))


def oracle():
    """The tensors on which TRL 1.16, verl and Tunix 0.1.7 were run: 2 groups of 4, ragged."""
    rng = np.random.default_rng(0)
    lengths = np.array([7, 5, 1, 3, 6, 7, 2, 4])
    mask = np.arange(7)[None] < lengths[:, None]
    new = -rng.gamma(2.0, 0.6, (8, 7)).astype(np.float32)
    old = (new + rng.normal(0, 0.25, (8, 7))).astype(np.float32)
    ref = (new + rng.normal(0, 0.3, (8, 7))).astype(np.float32)
    rewards = np.array([[1, 0.2, 0.2, 0.7], [0.5, 0.5, 0.5, 0.5]], np.float32)
    advantages = group_advantages(rewards, np.ones((2, 4), bool), True).reshape(-1)
    return types.SimpleNamespace(new=new, old=old, ref=ref, mask=mask, advantages=advantages)


def test_advantages_by_hand():
    rewards = np.array([[1.0, 0.0, 0.0, 1.0]], np.float32)
    valid = np.ones((1, 4), bool)
    # mean 1/2, standard deviation (ddof 1) sqrt(1/3)
    np.testing.assert_allclose(
        group_advantages(rewards, valid, True), [[0.8659, -0.8659, -0.8659, 0.8659]], atol=1e-4
    )
    np.testing.assert_allclose(
        group_advantages(rewards, valid, False), [[0.5, -0.5, -0.5, 0.5]], rtol=1e-6
    )


def test_equal_rewards_teach_nothing():
    values = group_advantages(np.full((1, 4), 0.3, np.float32), np.ones((1, 4), bool), True)
    np.testing.assert_allclose(values, 0, atol=1e-3)


def test_abstained_siblings_are_left_out_of_the_group():
    rewards = np.array([[1.0, 0.0, 0.0, 0.0]], np.float32)
    valid = np.array([[True, True, False, False]])
    np.testing.assert_allclose(group_advantages(rewards, valid, False), [[0.5, -0.5, 0, 0]])
    alone = np.array([[True, False, False, False]])
    np.testing.assert_array_equal(group_advantages(rewards, alone, True), np.zeros((1, 4)))


def test_token_weights_sum_to_one():
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(token_weights(mask, "token")[0], [0.25, 0.25, 0.25, 0])
    # two sequences have tokens: half the weight each, shared by their tokens
    np.testing.assert_allclose(token_weights(mask, "sequence")[:, 0], [1 / 6, 1 / 2, 0])


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective"),
    [(2.0, 1.0, 1.2), (2.0, -1.0, -2.0), (0.5, 1.0, 0.5), (0.5, -1.0, -0.8)],
    ids=["gain capped", "loss kept", "drop kept", "drop capped"],
)
def test_clipping_is_pessimistic(ratio, advantage, objective):
    sums = LOSS(
        jnp.full((1, 1), jnp.log(ratio)),
        jnp.zeros((1, 1)),
        jnp.zeros((1, 1)),
        jnp.array([advantage]),
        jnp.ones((1, 1)),
        clip=(0.2, 0.2),
        kl_coefficient=0.0,
    )
    np.testing.assert_allclose(sums.loss, -objective, rtol=1e-6)
    assert float(sums.clipped_high) == (ratio == 2.0 and advantage > 0)
    assert float(sums.clipped_low) == (ratio == 0.5 and advantage < 0)


@pytest.mark.parametrize(("loss_mean", "expected"), [("sequence", 0.062082), ("token", -0.077170)])
def test_loss_equals_trl_and_verl(loss_mean, expected):
    z = oracle()
    weights = token_weights(z.mask, loss_mean)
    sums = LOSS(z.new, z.old, z.ref, z.advantages, weights, clip=(0.2, 0.2), kl_coefficient=0.0)
    np.testing.assert_allclose(sums.loss, expected, atol=2e-6)


def test_reported_kl_equals_the_k3_of_trl():
    z = oracle()
    weights = token_weights(z.mask, "token")
    # on-policy the ratio is 1: what TRL's loss gains by beta = 0.04 is 0.04 x the mean k3
    sums = LOSS(z.new, z.new, z.ref, z.advantages, weights, clip=(0.2, 0.2), kl_coefficient=0.0)
    np.testing.assert_allclose(sums.kl, (0.077170 - 0.074810) / 0.04, atol=1e-4)


@pytest.mark.parametrize(
    ("loss_mean", "tunix_mode"),
    [("sequence", "sequence-mean-token-mean"), ("token", "token-mean")],
)
def test_gradient_equals_tunix(loss_mean, tunix_mode, monkeypatch):
    from flax import nnx
    from tunix.rl import algo_core, common

    z = oracle()

    class GivenLogprobs(nnx.Module):
        def __init__(self):
            self.logprobs = nnx.Param(jnp.asarray(z.new))

    def given(graph, state, **_):
        return nnx.merge(graph, state).logprobs.get_value(), jnp.zeros((8, 7, 4))

    monkeypatch.setattr(common, "compute_per_token_logps", given)
    algorithm = types.SimpleNamespace(
        beta=0.0,
        epsilon=0.2,
        epsilon_high=0.2,
        epsilon_c=None,
        loss_algo="grpo",
        loss_agg_mode=tunix_mode,
        temperature=1.0,
        kl_loss_mode="low_var_kl",
        kl_clamp_value=None,
        force_compute_kl=False,
    )
    example = common.TrainExample(
        prompt_ids=jnp.zeros((8, 1), jnp.int32),
        prompt_mask=jnp.ones((8, 1), jnp.int32),
        completion_ids=jnp.zeros((8, 7), jnp.int32),
        completion_mask=jnp.asarray(z.mask),
        advantages=jnp.asarray(z.advantages),
        ref_per_token_logps=None,
        old_per_token_logps=jnp.asarray(z.old),
    )
    theirs = nnx.grad(
        lambda m: algo_core.grpo_loss_fn(m, example, algorithm, pad_id=0, eos_id=1), has_aux=True
    )(GivenLogprobs())[0].logprobs.get_value()
    weights = token_weights(z.mask, loss_mean)
    ours = jax.grad(
        lambda new: (
            grpo_loss(
                new, z.old, z.ref, z.advantages, weights, clip=(0.2, 0.2), kl_coefficient=0.0
            ).loss
        )
    )(jnp.asarray(z.new))
    assert float(jnp.abs(theirs).sum()) > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("off_policy", [False, True])
def test_expected_gradient_of_the_penalty_is_that_of_kl(off_policy):
    """Exact expectation over a 5-way softmax; k1 in the loss would give 0 in every coordinate."""
    rng = np.random.default_rng(1)
    scores, reference, sampler = (jnp.asarray(rng.normal(size=5), jnp.float32) for _ in range(3))
    sampler = jax.nn.log_softmax(sampler if off_policy else scores)
    reference = jax.nn.log_softmax(reference)

    def exact(scores):
        policy = jax.nn.log_softmax(scores)
        return jnp.sum(jnp.exp(policy) * (policy - reference))

    def penalty(scores):
        # each outcome is a one-token sequence, weighted by how often it is sampled
        return grpo_loss(
            jax.nn.log_softmax(scores)[:, None],
            sampler[:, None],
            reference[:, None],
            jnp.zeros(5),
            jnp.exp(sampler)[:, None],
            clip=(0.2, 0.2),
            kl_coefficient=1.0,
        ).loss

    expected = jax.grad(exact)(scores)
    assert float(jnp.abs(expected).max()) > 0.05
    np.testing.assert_allclose(jax.grad(penalty)(scores), expected, atol=1e-6)
