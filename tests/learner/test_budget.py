"""Memory and operations by hand, and against what XLA counts."""

from types import SimpleNamespace

import jax
import pytest

from configs.errors import InputError
from configs.load import load
from learner.budget import DEVICES, budget, budget_lines, model_of, sharding_lines, step_seconds
from learner.policy.logprobs import completion_logprobs
from learner.policy.model import build_model
from learner.policy.room import room_of
from tests.learner.conftest import VOCABULARY, make_config
from tests.test_launch import ROOT

GEMMA = load(ROOT / "configs" / "gemma2_2b_v5e8.toml")


def test_gemma2_2b_on_eight_devices():
    found = budget(GEMMA, 8, 256_000)
    assert found.mesh == (1, 4, 2)
    assert found.parameters == 2_614_341_888
    # 2.61 billion parameters of 4 bytes over 8 devices; norms are split by two only
    assert found.learner_bytes["parameters"] == pytest.approx(4 * 2_614_341_888 / 8, rel=1e-3)
    assert found.learner_bytes["moments"] == 2 * found.learner_bytes["parameters"]
    # facts of the model: 106,496 bytes of keys and values a token in bfloat16; 8 prompts of 128
    # tokens, two for each group in the slots, and 16 slots of 6 blocks of 64
    assert found.rollout_bytes["cache"] == (8 * 128 + 16 * 6 * 64) * 106_496
    assert found.rollout_bytes["weights"] == 2 * 2_614_341_888
    times = step_seconds(found, GEMMA, DEVICES["v5e"])
    # 384 decode steps that each read 5.2 GB of weights at 819 GB/s
    assert 384 * 5.23 / 819 < times["rollout"] < 2 * 384 * 5.23 / 819
    assert any("it fits into 16 GB" in line for line in budget_lines(GEMMA, 8, 256_000))


def test_slots_that_a_memory_has_room_for():
    """Of a group of 4: 2 prompts and 24 blocks; a chunk reads copies of up to 2 and 18 of them."""
    room = room_of(model_of(GEMMA, 256_000), GEMMA.rollout)
    assert room.reading == (6 * 128 + 72 * 64) * 106_496
    assert room.group == (4 * 128 + 42 * 64) * 106_496
    assert room.slots(3.5 * room.group, 4) == 12
    assert room.slots(-1, 4) == 0
    # 26 layers of 4 heads of keys and of values: 256 numbers of one byte, and a scale of four
    of_bytes = GEMMA.rollout.model_copy(update={"cache_dtype": "int8"})
    cache = room_of(model_of(GEMMA, 256_000), of_bytes).cache
    assert cache == (8 * 128 + 16 * 6 * 64) * 26 * 2 * 4 * (256 + 4)


def test_a_mesh_that_does_not_divide_is_refused():
    with pytest.raises(InputError, match="fsdp = 4 x learner.tp = 2 does not divide the 12"):
        budget(GEMMA, 12, 256_000)


def test_operations_are_those_that_xla_counts():
    """The forward pass of the policy, at sizes where products outweigh everything else."""
    config = make_config(
        model={"embed_dim": 64, "hidden_dim": 256, "head_dim": 16},
        rollout={"max_prompt_tokens": 16, "max_reasoning_tokens": 16, "max_answer_tokens": 16},
        grpo={"kl_coefficient": 0.0},
    )
    model = build_model(config.model, VOCABULARY)
    rows = SimpleNamespace(
        prompts=jax.numpy.ones((2, 16), int),
        prompt_lengths=jax.numpy.full(2, 16),
        completions=jax.numpy.ones((8, 32), int),
    )
    params = model.abstract_params()

    def forward(params):
        return completion_logprobs(model, params, rows, 1.0, 4096)[0]

    counted = jax.jit(forward).lower(params).compile().cost_analysis()["flops"]
    # a step of training is three forward passes
    assert budget(config, 1, VOCABULARY).learner_flops / 3 == pytest.approx(counted, rel=0.2)


def test_the_sharding_table_names_each_kind_once():
    model = model_of(GEMMA, 256_000)
    lines = sharding_lines(model, (1, 4, 2))
    assert len(lines) == 12  # embedding, final norm, ten of a layer
    embedding = next(line for line in lines if line.startswith("embedder"))
    assert "(128000, 576)" in embedding
