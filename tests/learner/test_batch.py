"""From scored groups to arrays, by hand."""

import numpy as np

from learner.batch import build_batch, pad, select
from tests.learner.conftest import make_config, make_group

FLAT, NARROW, WIDE = [0.5] * 4, [0.5, 0.5, 0.5, 0.6], [0.0, 1.0, 0.0, 1.0]


def test_the_widest_groups_are_trained_in_prompt_order():
    config = make_config(loop={"groups_per_step": 3}, grpo={"widest_groups": 2})
    groups = [make_group(0, NARROW), make_group(1, FLAT), make_group(2, WIDE)]
    chosen = select(groups, config, step=1)
    np.testing.assert_array_equal(chosen.trained, [True, False, True])
    batch = build_batch(chosen, config)
    np.testing.assert_array_equal(
        batch.prompt_lengths, [len(groups[n].rollout.permit.tokens) for n in (0, 2)]
    )
    np.testing.assert_allclose(batch.advantages[4:], [-0.866, 0.866, -0.866, 0.866], atol=1e-3)


def test_a_prompt_has_one_row_and_each_completion_its_own():
    config = make_config()
    group = make_group(3, WIDE)
    batch = build_batch(select([group, group], config, 1), config)
    assert batch.prompts.shape == (2, 8) and batch.completions.shape == (8, 10)
    for rows, tokens in (
        (batch.prompts, group.rollout.permit.tokens),
        (batch.completions, group.rollout.tokens[1]),
    ):
        np.testing.assert_array_equal(rows[1, : len(tokens)], tokens)
        assert not rows[1, len(tokens) :].any()
    np.testing.assert_array_equal(batch.sampled_logprobs[1, :5], group.rollout.logprobs[1])
    np.testing.assert_allclose(batch.weights.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(batch.weights[0, :3], 1 / 38)  # 2 x (3 + 5 + 1 + 10) tokens


def test_an_abstention_is_not_a_zero():
    config = make_config()
    judged = make_group(0, [1.0, 0.0, 0.5, 0.0], abstained=(3,))
    chosen = select([judged, make_group(1, WIDE)], config, 1)
    np.testing.assert_allclose(chosen.advantages[0], [1, -1, 0, 0], atol=1e-3)  # mean 0.5, std 0.5
    assert not build_batch(chosen, config).weights[3].any()


def test_shuffled_rewards_keep_their_group_and_repeat():
    config = make_config(grpo={"shuffle_rewards": True})
    groups = [make_group(n, [0.1, 0.2, 0.3, 0.4]) for n in range(2)]
    first, again, other = (select(groups, config, step) for step in (1, 1, 2))
    np.testing.assert_array_equal(first.rewards, again.rewards)
    assert (first.rewards != other.rewards).any()
    np.testing.assert_allclose(np.sort(first.rewards[0]), [0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_shuffling_leaves_an_abstention_where_it_is():
    config = make_config(grpo={"shuffle_rewards": True})
    groups = [make_group(n, [0.1, 0.2, 0.3, 0.4], abstained=(1,)) for n in range(8)]
    chosen = select(groups, config, 1)
    assert (chosen.rewards[:, 1] == 0).all() and not chosen.valid[:, 1].any()
    rest = np.delete(chosen.rewards, 1, axis=1)
    np.testing.assert_allclose(np.sort(rest), [[0.1, 0.3, 0.4]] * 8, rtol=1e-6)
    assert (rest != rest[0]).any()


def test_the_mean_reward_is_that_of_the_completions_that_have_one():
    config = make_config()
    groups = [make_group(0, [1.0, 0.0, 0.5, 9.0], abstained=(3,)), make_group(1, WIDE)]
    assert select(groups, config, 1).mean_reward == 0.5  # (1.5 + 2) / 7
    none = [make_group(n, WIDE, abstained=(0, 1, 2, 3)) for n in range(2)]
    assert np.isnan(select(none, config, 1).mean_reward)


def test_padding():
    rows = pad([np.array([1, 2], np.int32), np.array([], np.int32)], 3)
    np.testing.assert_array_equal(rows, [[1, 2, 0], [0, 0, 0]])
