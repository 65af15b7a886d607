"""The objective against values worked out by hand, and against the other libraries' formulas."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from learner.grpo import (
    Objective,
    group_advantages,
    grpo_loss,
    kl_estimate,
    overlong_penalty,
    surrogate,
    token_weights,
)

LOSS = jax.jit(grpo_loss, static_argnames="objective")
ROWS_8 = np.ones((8, 7), np.int32)  # a row is a completion


def loss_on_oracle(loss_mean="token", new=None, old=None, **objective):
    z = oracle()
    return LOSS(
        z.new if new is None else new,
        z.old if old is None else old,
        z.ref,
        z.advantages[:, None],
        token_weights(z.mask, loss_mean),
        ROWS_8,
        objective=Objective(**objective),
    )


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
    ("ratio", "advantage", "expected"),
    [(2.0, 1.0, 1.2), (2.0, -1.0, -2.0), (0.5, 1.0, 0.5), (0.5, -1.0, -0.8)],
    ids=["gain capped", "loss kept", "drop kept", "drop capped"],
)
def test_clipping_is_pessimistic(ratio, advantage, expected):
    one = np.ones((1, 1), np.float32)
    ratios = (np.log(ratio) * one, 0 * one, 0 * one)
    rest = (advantage * one, one, np.ones((1, 1), np.int32))
    sums = LOSS(*ratios, *rest, objective=Objective())
    np.testing.assert_allclose(sums.loss, -expected, rtol=1e-6)
    assert float(sums.clipped_high) == (ratio == 2.0 and advantage > 0)
    assert float(sums.clipped_low) == (ratio == 0.5 and advantage < 0)


def test_the_dual_clip_bounds_what_a_bad_token_costs():
    objective = Objective(dual_clip=3.0)
    ratios, minus = jnp.array([2.0, 5.0]), -jnp.ones(2)
    np.testing.assert_allclose(surrogate(ratios, ratios, minus, objective), [-2, -3])
    np.testing.assert_allclose(surrogate(ratios, ratios, -minus, objective), [1.2, 1.2])


# the values of TRL 1.16 ("grpo", "bnpo", "dr_grpo") and verl (..., "seq-mean-token-sum-norm")
@pytest.mark.parametrize(
    ("loss_mean", "alone", "with_kl"),
    [
        ("sequence", 0.062082, 0.064285),
        ("token", -0.077170, -0.074810),
        ("constant", -0.048231, -0.046756),
    ],
)
def test_loss_equals_trl_and_verl(loss_mean, alone, with_kl):
    np.testing.assert_allclose(loss_on_oracle(loss_mean).loss, alone, atol=2e-6)
    # theirs is not weighted by the ratio; on-policy ours is 1
    z = oracle()
    kl = {"kl_coefficient": 0.04, "kl_estimator": "k3"}
    plain, penalised = (loss_on_oracle(loss_mean, old=z.new, **o).loss for o in ({}, kl))
    np.testing.assert_allclose(penalised - plain, with_kl - alone, atol=2e-6)
    low_var = loss_on_oracle(loss_mean, old=z.new, **(kl | {"kl_estimator": "low_var"})).loss
    np.testing.assert_allclose(low_var, penalised, rtol=1e-6)  # verl's bounds are far away here


def test_reported_kl_equals_the_k3_of_trl():
    # what TRL's loss gains by beta = 0.04 is 0.04 x the mean k3
    kl = loss_on_oracle(old=oracle().new).kl
    np.testing.assert_allclose(kl, (0.077170 - 0.074810) / 0.04, atol=1e-4)


def tunix_gradient(tunix_mode, monkeypatch, **algorithm):
    from flax import nnx
    from tunix.rl import algo_core, common

    z = oracle()

    class GivenLogprobs(nnx.Module):
        def __init__(self):
            self.logprobs = nnx.Param(jnp.asarray(z.new))

    def given(graph, state, **_):
        return nnx.merge(graph, state).logprobs.get_value(), jnp.zeros((8, 7, 4))

    monkeypatch.setattr(common, "compute_per_token_logps", given)
    defaults = {
        "beta": 0.0,
        "epsilon": 0.2,
        "epsilon_high": 0.2,
        "epsilon_c": None,
        "loss_algo": "grpo",
        "loss_agg_mode": tunix_mode,
        "temperature": 1.0,
        "kl_loss_mode": "low_var_kl",
        "kl_clamp_value": None,
        "force_compute_kl": False,
    }
    example = common.TrainExample(
        prompt_ids=jnp.zeros((8, 1), jnp.int32),
        prompt_mask=jnp.ones((8, 1), jnp.int32),
        completion_ids=jnp.zeros((8, 7), jnp.int32),
        completion_mask=jnp.asarray(z.mask),
        advantages=jnp.asarray(z.advantages),
        ref_per_token_logps=None,
        old_per_token_logps=jnp.asarray(z.old),
    )
    settings = types.SimpleNamespace(**(defaults | algorithm))
    return nnx.grad(
        lambda m: algo_core.grpo_loss_fn(m, example, settings, pad_id=0, eos_id=1), has_aux=True
    )(GivenLogprobs())[0].logprobs.get_value()


@pytest.mark.parametrize(
    ("loss_mean", "tunix_mode", "objective", "algorithm"),
    [
        ("sequence", "sequence-mean-token-mean", {}, {}),
        ("token", "token-mean", {}, {}),
        ("token", "token-mean", {"clip_high": 0.28}, {"epsilon_high": 0.28}),
        ("token", "token-mean", {"dual_clip": 1.1}, {"epsilon_c": 1.1}),
        (
            "sequence",
            "sequence-mean-token-mean",
            {"ratio": "sequence", "clip_low": 0.02, "clip_high": 0.05},
            {"loss_algo": "gspo-token", "epsilon": 0.02, "epsilon_high": 0.05},
        ),
    ],
    ids=["grpo", "token mean", "clip higher", "dual clip", "gspo"],
)
def test_gradient_equals_tunix(loss_mean, tunix_mode, objective, algorithm, monkeypatch):
    theirs = tunix_gradient(tunix_mode, monkeypatch, **algorithm)
    ours = jax.grad(lambda new: loss_on_oracle(loss_mean, new=new, **objective).loss)
    assert float(jnp.abs(theirs).sum()) > 0.1
    np.testing.assert_allclose(ours(jnp.asarray(oracle().new)), theirs, atol=1e-6)


def test_cispo_is_a_truncated_weight_on_the_log_probability():
    """TRL's formula: -clamp(ratio, max).detach() x advantage x log-probability."""
    z = oracle()
    weights = token_weights(z.mask, "token")
    ratio = np.exp(z.new - z.old).clip(0.0, 1.1)
    gradient = jax.grad(
        lambda new: loss_on_oracle(new=new, surrogate="cispo", clip_low=1.0, clip_high=0.1).loss
    )(jnp.asarray(z.new))
    np.testing.assert_allclose(gradient, -weights * ratio * z.advantages[:, None], atol=1e-6)


@pytest.mark.parametrize(
    "objective",
    [
        {"ratio": "sequence", "clip_low": 0.02, "clip_high": 0.05},
        {"dual_clip": 1.1, "clip_high": 0.28},
        {"kl_in": "reward", "kl_coefficient": 0.5, "kl_estimator": "k1"},
    ],
    ids=str,
)
def test_gradients_by_finite_differences(objective):
    """Of losses in which nothing is held constant."""
    z = oracle()
    rng = np.random.default_rng(2)
    direction = rng.normal(size=z.new.shape).astype(np.float32)

    def along(step):
        return loss_on_oracle("sequence", new=z.new + step * direction, **objective).loss

    exact = jax.jvp(along, (0.0,), (1.0,))[1]
    assert abs(float(exact)) > 1e-3
    np.testing.assert_allclose((along(1e-3) - along(-1e-3)) / 2e-3, exact, rtol=2e-2)


def test_a_packed_row_is_its_completions():
    """GSPO's ratio is of a completion, whatever else lies in the row."""
    z = oracle()
    weights = token_weights(z.mask, "sequence")
    together = [
        np.asarray(x).reshape(4, 14)
        for x in (z.new, z.old, z.ref, np.repeat(z.advantages[:, None], 7, 1), weights)
    ]
    numbers = np.repeat([[1, 2]], 4, axis=0).repeat(7, axis=1)
    objective = Objective(ratio="sequence", kl_coefficient=0.1)
    packed = LOSS(*together, numbers, objective=objective)
    alone = loss_on_oracle("sequence", ratio="sequence", kl_coefficient=0.1)
    for name, value in alone._asdict().items():
        np.testing.assert_allclose(getattr(packed, name), value, rtol=1e-5, err_msg=name)


def expectation(scores, sampler, reference, **objective):
    """The loss over a 5-way softmax: each outcome is a completion of one token, weighted by how
    often it is sampled."""
    one = np.ones((5, 1), np.int32)
    columns = [x[:, None] for x in (jax.nn.log_softmax(scores), sampler, reference)]
    weights = jnp.exp(sampler)[:, None]
    settings = Objective(kl_coefficient=1.0, **objective)
    return grpo_loss(*columns, jnp.zeros((5, 1)), weights, one, settings).loss


def policies(off_policy):
    rng = np.random.default_rng(1)
    scores, reference, sampler = (jnp.asarray(rng.normal(size=5), jnp.float32) for _ in range(3))
    sampler = jax.nn.log_softmax(sampler if off_policy else scores)
    return scores, sampler, jax.nn.log_softmax(reference)


def gradient_of_kl(scores, reference):
    def exact(scores):
        policy = jax.nn.log_softmax(scores)
        return jnp.sum(jnp.exp(policy) * (policy - reference))

    return jax.grad(exact)(scores)


@pytest.mark.parametrize("off_policy", [False, True])
def test_expected_gradient_of_the_penalty_is_that_of_kl(off_policy):
    """Exact expectation over a 5-way softmax."""
    scores, sampler, reference = policies(off_policy)
    expected = gradient_of_kl(scores, reference)
    assert float(jnp.abs(expected).max()) > 0.05
    ours = jax.grad(expectation)(scores, sampler, reference)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_k1_teaches_nothing_in_the_loss_and_is_exact_in_the_reward():
    scores, sampler, reference = policies(off_policy=False)

    def in_loss(scores):
        gap = jax.nn.log_softmax(scores) - reference
        return jnp.sum(jnp.exp(sampler) * kl_estimate(gap, "k1"))

    np.testing.assert_allclose(jax.grad(in_loss)(scores), 0, atol=1e-6)
    in_reward = jax.grad(expectation)(
        scores, sampler, reference, kl_in="reward", kl_estimator="k1", surrogate="cispo"
    )
    np.testing.assert_allclose(in_reward, gradient_of_kl(scores, reference), atol=1e-6)


def test_k3_pulls_towards_the_other_divergence():
    scores, sampler, reference = policies(off_policy=False)
    ours = jax.grad(expectation)(scores, sampler, reference, kl_estimator="k3")
    # KL(reference || policy): policy - reference in each coordinate
    np.testing.assert_allclose(ours, jnp.exp(sampler) - jnp.exp(reference), atol=1e-6)


def test_a_cap_bounds_what_a_ratio_weighs_in_the_penalty():
    scores, sampler, reference = policies(off_policy=True)
    free = expectation(scores, sampler, reference)
    ratio = jnp.exp(jax.nn.log_softmax(scores) - sampler)
    gap = jax.nn.log_softmax(scores) - reference
    capped = jnp.sum(jnp.exp(sampler) * jnp.minimum(ratio, 1.05) * gap**2 / 2)
    np.testing.assert_allclose(
        expectation(scores, sampler, reference, importance_cap=1.05), capped, rtol=1e-5
    )
    assert capped < free


def test_leave_one_out_compares_with_the_others():
    rewards = np.array([[1.0, 0.0, 0.5, 9.0]], np.float32)
    valid = np.array([[True, True, True, False]])
    ours = group_advantages(rewards, valid, False, leave_one_out=True)
    np.testing.assert_allclose(ours, [[0.75, -0.75, 0.0, 0.0]], atol=1e-6)


def test_a_floor_keeps_noise_small():
    rewards = np.array([[0.50, 0.51, 0.50, 0.49]], np.float32)
    ours = group_advantages(rewards, np.ones((1, 4), bool), True, std_floor=0.1)
    np.testing.assert_allclose(ours, [[0, 0.1, 0, -0.1]], atol=1e-3)


def test_overlong_completions_lose_reward_evenly():
    lengths = np.array([4, 12, 14, 16])
    np.testing.assert_allclose(overlong_penalty(lengths, 16, 4), [0, 0, -0.5, -1])
    np.testing.assert_array_equal(overlong_penalty(lengths, 16, 0), np.zeros(4))
