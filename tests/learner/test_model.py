"""The policy network: Gemma2 2B without weights, and a small one with them."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from configs.errors import InputError
from configs.schema import LearnerSection, ModelSection
from learner.policy.logprobs import completion_logprobs
from learner.policy.model import build_model, fan_in, prompt_states
from learner.policy.sharding import make_mesh
from tests.learner.conftest import VOCABULARY


@pytest.fixture(scope="module")
def gemma2_2b():
    return build_model(ModelSection(preset="gemma2_2b", compute_dtype="bfloat16"), 256_000)


def test_gemma2_2b_has_its_parameters(gemma2_2b):
    params = gemma2_2b.abstract_params()
    assert sum(x.size for x in params.values()) == 2_614_341_888  # of the published model
    assert params["embedder.input_embedding"].shape == (256_000, 2304)
    assert params["layers.25.attn.q_einsum.w"].shape == (8, 2304, 256)
    assert params["layers.0.attn.kv_einsum.w"].shape == (2, 4, 2304, 256)
    assert params["layers.0.mlp.gate_proj.kernel"].shape == (2304, 9216)
    assert {x.dtype for x in params.values()} == {jnp.dtype("float32")}


def test_gemma2_2b_is_sharded_as_tunix_says(gemma2_2b):
    specs = gemma2_2b.partition_specs()
    assert specs["embedder.input_embedding"] == P("tp", "fsdp")
    assert specs["layers.3.mlp.down_proj.kernel"] == P("tp", "fsdp")
    mesh = make_mesh(LearnerSection(fsdp=-1))
    assert dict(mesh.shape) == {"data": 1, "fsdp": 4, "tp": 1}
    for name, leaf in gemma2_2b.abstract_params().items():
        jax.sharding.NamedSharding(mesh, specs[name]).shard_shape(leaf.shape)  # divides


def test_gemma2_2b_runs_abstractly(gemma2_2b):
    shapes = {"prompts": (2, 128), "prompt_lengths": (2,), "completions": (4, 384)}

    def of(params, prompts, prompt_lengths, completions):
        rows = SimpleNamespace(
            prompts=prompts, prompt_lengths=prompt_lengths, completions=completions
        )
        return completion_logprobs(gemma2_2b, params, rows, 0.7, 512)

    inputs = [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes.values()]
    logprobs, entropy = jax.eval_shape(of, gemma2_2b.abstract_params(), *inputs)
    assert logprobs.shape == entropy.shape == (4, 384)
    assert logprobs.dtype == jnp.float32


def test_no_fresh_parameter_is_dead(model, params):
    for name, value in params.items():
        if name.endswith("scale"):
            continue
        assert float(jnp.abs(value).min()) > 0 or float(jnp.std(value)) > 0, name
        if "down_proj" not in name and "attn_vec" not in name:
            expected = 1 / np.sqrt(fan_in(name, value.shape))
            np.testing.assert_allclose(float(jnp.std(value)), expected, rtol=0.2, err_msg=name)


def test_the_same_seed_gives_the_same_policy(model, params):
    init = jax.jit(model.init)
    again, other = init(0), init(1)
    name = "layers.0.attn.q_einsum.w"
    np.testing.assert_array_equal(again[name], params[name])
    assert (other[name] != params[name]).any()


def test_a_fast_product_changes_no_gradient(model, params):
    tokens = jnp.asarray(np.random.default_rng(0).integers(4, VOCABULARY, (3, 9)))

    def loss(params, fast):
        hidden, _ = prompt_states(model, model.bind(params, for_gradient=fast), tokens)
        return jnp.sum(jnp.sin(hidden))

    plain, fast = (
        jax.jit(jax.grad(loss), static_argnums=1)(params, fast) for fast in (False, True)
    )
    for name, value in plain.items():
        np.testing.assert_allclose(fast[name], value, atol=2e-4, err_msg=name)


def test_a_mesh_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"learner.fsdp = 3 x learner.tp = 1 .* 4 devices"):
        make_mesh(LearnerSection(fsdp=3))
