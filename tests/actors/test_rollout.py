"""When a rollout actor takes a new policy."""

import time

import jax
import pytest

from actors.rollout import RolloutActor
from actors.stopping import endings_of
from configs.errors import InputError
from learner.pieces import hand_over, plan
from learner.policy.model import build_model
from tests.learner.conftest import VOCABULARY, make_config, make_permit
from tests.pipeline import FakeTokenizer, LocalQueue, LocalWeights


def test_an_actor_that_leaves_hands_on_what_it_has_and_takes_nothing_more():
    config = make_config(rollout={"ignore_eos": True})
    params = jax.jit(build_model(config.model, VOCABULARY).init)(0)
    actor, permits, rollouts = actor_with(config, params, versions=(0,))
    permits.put([make_permit(i, policy_version=0) for i in range(2)])
    actor.serve(0.0)
    actor.leaving = True
    permits.put([make_permit(2, policy_version=0)])
    actor.run()
    assert sorted(group.permit.index for group in rollouts.items) == [0, 1]
    assert [permit.index for permit in permits.items] == [2]


class Words(FakeTokenizer):
    def encode_completion(self, text):
        assert text == "</reasoning><answer>"
        return [20, 21, 22, self.eos]


def actor_with(config, params, versions):
    """An actor between two queues, and weights that have been published as these versions."""
    permits, weights, rollouts = LocalQueue(), LocalWeights(), LocalQueue()
    offer, pieces = hand_over(params, 0, plan(params, 4)[0])
    for version in versions:
        weights.publish(version, [offer, *pieces])
    actor = RolloutActor(0, config, FakeTokenizer(), permits, weights, rollouts)
    return actor, permits, rollouts


@pytest.mark.parametrize("new_weights", ["drained", "in_flight"])
def test_a_new_policy_waits_for_the_old_one_or_takes_over(new_weights):
    """Two groups fill the slots when the next version is asked for."""
    config = make_config(
        rollout={"new_weights": new_weights, "ignore_eos": True}, loop={"order": "arrival"}
    )
    params = jax.jit(build_model(config.model, VOCABULARY).init)(0)
    actor, permits, rollouts = actor_with(config, params, versions=(0, 1))
    permits.put([make_permit(i, policy_version=0) for i in range(3)])
    actor.serve(0.0)
    permits.put([make_permit(3, policy_version=1), make_permit(4, policy_version=0)])
    while not actor._incoming.begin(1):
        time.sleep(0.001)
    seen = []
    while len(rollouts.items) < 5:
        actor.serve(0.0)
        seen.append((actor.engine.version, len(rollouts.items)))
    swapped_after = next(finished for version, finished in seen if version == 1)
    found = {group.permit.index: group.policy_version for group in rollouts.items}
    if new_weights == "drained":
        assert swapped_after == 3 and found == {0: 0, 1: 0, 2: 0, 3: 1, 4: 0}
        swaps = {group.policy_version: group.swap for group in rollouts.items}
        size = sum(value.nbytes for value in params.values())
        assert all((s.version, s.bytes) == (version, size) for version, s in swaps.items())
        assert 0 < swaps[1].pause_s < swaps[1].total_s, "it came while others were decoded"
    else:  # what names an older policy takes the newest one
        assert swapped_after < 3 and found == {0: 0, 1: 0, 2: 0, 3: 1, 4: 1}


def test_slots_that_get_free_together_are_filled_together():
    """Four groups for the slots of two, all as long as their budget: no slot is ever empty."""
    config = make_config(rollout={"ignore_eos": True})
    params = jax.jit(build_model(config.model, VOCABULARY).init)(0)
    actor, permits, rollouts = actor_with(config, params, versions=(0,))
    permits.put([make_permit(i) for i in range(4)])
    while len(rollouts.items) < 4:
        actor.serve(0.0)
    assert actor.engine.counts.steps == actor.engine.counts.drawn == 4 * 4 * 10


def test_tags_that_leave_no_answer_are_refused():
    closing = {"eval": {"close_reasoning": True}}
    found = endings_of(make_config(**closing), Words())
    assert found.written == (20, 21, 22) and found.stops == (1,)
    with pytest.raises(InputError, match="3 tokens, out of the 3 of rollout.max_answer_tokens"):
        endings_of(make_config(rollout={"max_answer_tokens": 3}, **closing), Words())
