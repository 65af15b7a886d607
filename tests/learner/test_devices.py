"""An engine whose weights and cache lie on several devices."""

import jax
import numpy as np
import pytest

from configs.errors import InputError
from learner.policy.endings import Endings
from learner.policy.engine import Engine
from learner.policy.model import build_model
from tests.learner.conftest import VOCABULARY, make_config, make_permit
from tests.learner.test_engine import EOS, assert_equal_to_forward, prompts, run

QWEN3 = {
    "model_type": "qwen3",
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
}


@pytest.mark.parametrize("model", [{}, {"architecture": QWEN3}], ids=["gemma2", "qwen3"])
def test_two_devices_share_an_engine(model):
    """Two heads of keys and values, one on each: log-probabilities are those of the trainer."""
    config = make_config(model=model, rollout={"tp": 2})
    model = build_model(config.model, VOCABULARY)
    params = jax.jit(model.init)(0)
    engine = Engine(model, config.rollout, Endings((EOS,)), seed=3)
    engine.load({name: np.asarray(value) for name, value in params.items()})
    done = run(engine, [make_permit(i, p) for i, p in enumerate(prompts(6))])
    assert len(done) == 6
    assert_equal_to_forward(done.values(), model, params)
    held = jax.tree.leaves(engine.decoder._cache)
    halves = [array.addressable_shards[0].data.size * 2 == array.size for array in held]
    assert all(halves) and len(held[0].sharding.device_set) == 2


def test_more_devices_than_there_are_are_refused():
    config = make_config(rollout={"tp": 5})
    with pytest.raises(InputError, match="rollout.tp = 5: this rollout actor has 4 cpu device"):
        Engine(build_model(config.model, VOCABULARY), config.rollout, Endings(), 0)
