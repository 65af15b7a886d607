"""Every family against `transformers`: logits of tiny random networks.

The expected values are in golden/families.npz, which golden/make_families.py wrote in an
environment with `transformers`.
"""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.errors import InputError
from configs.schema import ModelSection, RolloutSection
from learner.policy import slots
from learner.policy.architecture import PRESETS, Rotation, from_hugging_face
from learner.policy.endings import Endings
from learner.policy.engine import Engine
from learner.policy.layout import stored_layout
from learner.policy.matmul import einsum_product
from learner.policy.model import build_model, empty_cache, hidden_states, logits
from tests.learner.conftest import Rows, make_permit, trainer_logprobs

GOLDEN = np.load(Path(__file__).parent / "golden" / "families.npz")
CASES = sorted({name.split("/")[0] for name in GOLDEN.files})
SMALL = {
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def stored_weights(case):
    prefix = f"{case}/weights/"
    return {
        name.removeprefix(prefix): GOLDEN[name].astype(np.float32)
        for name in GOLDEN.files
        if name.startswith(prefix)
    }


def model_and_params(case, **section):
    config = json.loads(str(GOLDEN[f"{case}/config"]))
    config = {key: value for key, value in config.items() if value is not None}
    model = build_model(ModelSection(architecture=config, **section))
    weights = stored_weights(case)
    params = {
        name: stored.read(lambda name, index: weights[name][index], (slice(None),) * 4)
        for name, stored in stored_layout(model.architecture).items()
    }
    assert {n: p.shape for n, p in params.items()} == {
        n: p.shape for n, p in model.abstract_params().items()
    }
    return model, params


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(case):
    model, params = model_and_params(case)
    tokens = GOLDEN[f"{case}/tokens"]
    count, length = tokens.shape

    @jax.jit
    def forward(params, tokens, positions, mask):
        cache = {
            name: {**layer, "end_index": jnp.zeros(count, jnp.int32)}
            for name, layer in empty_cache(model, count, length).items()
        }
        module = model.bind(params)
        # by the same positions for queries and keys: windows count tokens, not pads
        hidden, _ = hidden_states(module, tokens, positions, mask, cache, positions)
        return logits(module, hidden)

    for side in ("right", "left"):
        expected = GOLDEN[f"{case}/{side}"]
        seen = (expected != 0).any(-1)
        positions = np.maximum(np.cumsum(seen, axis=1) - 1, 0)
        mask = seen[:, None] & np.tril(np.ones((length, length), bool))
        found = np.where(seen[..., None], forward(params, tokens, positions, mask), 0)
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=side)


@pytest.mark.parametrize(
    ("case", "cache", "nats"),
    [(case, "", 1e-5) for case in ("gemma3", "qwen2", "qwen3", "llama-3.1")]
    + [("qwen3", "int8", 0.02)],
)
def test_the_engine_samples_with_the_log_probabilities_of_the_trainer(
    case, cache, nats, monkeypatch
):
    """Gemma3's and Qwen3's prompt of 5 tokens is read in pieces of 2."""
    model, params = model_and_params(case)
    if case in ("gemma3", "qwen3"):
        monkeypatch.setattr(slots, "_PIECE", 2)
    section = RolloutSection(
        group_size=2, slots=2, chunk=5, max_prompt_tokens=7, max_reasoning_tokens=4,
        max_answer_tokens=4, cache_dtype=cache,
    )  # fmt: skip
    engine = Engine(model, section, Endings(), seed=3)
    engine.load(params)
    engine.submit([permit := make_permit(0, (5, 9, 2, 30, 7), siblings=2)])
    finished = []
    while not finished:
        finished = engine.step()
    sampled = finished[0]
    rows = Rows(np.array([permit.tokens]), np.array([5]), np.stack(sampled.tokens))
    expected = trainer_logprobs(model, params, rows)
    np.testing.assert_allclose(np.stack(sampled.logprobs), expected, atol=nats)


@pytest.mark.parametrize("form", ["BTD,DNH->BTNH", "BSD,DKH->BSKH", "BTD,NDH->BTNH"])
def test_fast_products_are_the_einsums_of_attention(form):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    axes = {"D": 4, "N": 2, "K": 2, "H": 5}
    weight = rng.standard_normal([axes[a] for a in form[4:7]]).astype(np.float32)
    pairs = [
        jax.value_and_grad(lambda w, f=f: jnp.sum(jnp.sin(f(form, x, w))))(weight)
        for f in (einsum_product, jnp.einsum)
    ]
    for mine, other in zip(*pairs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)


def test_fresh_norms_pass_through_and_fresh_biases_add_nothing():
    model = build_model(ModelSection(architecture={"model_type": "qwen2"} | SMALL))
    params = jax.jit(model.init)(0)
    assert (params["layers.0.input_layernorm.w"] == 1).all()
    assert (params["layers.1.attn.k_bias"] == 0).all()
    assert float(jnp.std(params["lm_head.w"])) == pytest.approx(1 / 4, rel=0.2)  # width 16


def test_sizes_of_the_published_models():
    """Parameters as the model cards count them."""
    smollm2 = {
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    }  # fmt: skip
    counts = {"gemma2_2b": 2_614_341_888, "gemma2_9b": 9_241_705_984, "smollm2": 134_515_008}
    for name, count in counts.items():
        layout = stored_layout(from_hugging_face(PRESETS.get(name, smollm2)))
        sizes = [math.prod(stored.shape) * len(stored.names) for stored in layout.values()]
        assert sum(sizes) == count, name


def test_rotations_by_hand():
    np.testing.assert_allclose(Rotation(100.0).frequencies(4), [1, 0.1], rtol=1e-6)
    halved = Rotation(100.0, (("factor", 2.0), ("rope_type", "linear")))
    np.testing.assert_allclose(halved.frequencies(4), [0.5, 0.05], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "model_type = 'mamba' is not supported; these are: gemma2"),
        ({"hidden_act": "relu"}, "hidden_act = 'relu' is not supported for llama"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type = 'yarn' is not supported"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"model_type": "gemma2", "query_pre_attn_scalar": 144}, "query_pre_attn_scalar = 144"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries for 2 layers"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        from_hugging_face({"model_type": "llama"} | SMALL | change)
