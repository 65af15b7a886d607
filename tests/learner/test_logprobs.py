"""Shared prompts against Tunix's own forward pass over whole rows."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs.schema import ModelSection
from learner.policy.logprobs import completion_logprobs
from learner.policy.model import build_model
from tests.learner.conftest import VOCABULARY

SIBLINGS, PROMPT, COMPLETION = 3, 7, 6
LENGTHS = np.array([7, 2], np.int32)


def rows_of(rng):
    prompts = rng.integers(4, VOCABULARY, (2, PROMPT)).astype(np.int32)
    prompts[1, LENGTHS[1] :] = 0
    completions = rng.integers(4, VOCABULARY, (2 * SIBLINGS, COMPLETION)).astype(np.int32)
    return SimpleNamespace(prompts=prompts, prompt_lengths=LENGTHS, completions=completions)


def tunix_logprobs(model, params, rows, temperature):
    """Prompt and completion in one piece, without padding, through the module's own call."""
    flat = [
        (path, variable.replace(params[".".join(map(str, path))]))
        for path, variable in model.variables
    ]
    module = nnx.merge(model.graph, nnx.from_flat_state(flat))
    values = []
    for number, length in enumerate(LENGTHS):
        prompt = jnp.tile(rows.prompts[number, :length], (SIBLINGS, 1))
        completions = rows.completions[number * SIBLINGS : (number + 1) * SIBLINGS]
        tokens = jnp.concatenate([prompt, completions], axis=1)
        mask = jnp.tril(jnp.ones((1, tokens.shape[1], tokens.shape[1]), bool))
        scores, _ = module(tokens, jnp.arange(tokens.shape[1])[None], None, mask)
        every = jax.nn.log_softmax(scores[:, length - 1 : -1] / temperature)
        values.append(jnp.take_along_axis(every, completions[..., None], axis=2)[..., 0])
    return jnp.concatenate(values)


# 3: shorter than prompt and completion; 11: shorter than the cache, whose padding it must not count
@pytest.mark.parametrize("window", [3, 11, 64])
def test_values_and_gradients_are_tunix_own(window):
    section = ModelSection(
        layers=2, embed_dim=16, hidden_dim=32, heads=4, kv_heads=2, head_dim=8,
        sliding_window=window,
    )  # fmt: skip
    model = build_model(section, VOCABULARY)
    params = jax.jit(model.init)(1)
    rows = rows_of(np.random.default_rng(window))

    def ours(params):
        return completion_logprobs(model, params, rows, 0.7, chunk=8)[0]

    def theirs(params):
        return tunix_logprobs(model, params, rows, 0.7)

    @partial(jax.jit, static_argnums=0)
    def values_and_gradient(of, params):
        value = lambda p: (jnp.sum(jnp.sin(of(p))), of(p))  # noqa: E731
        gradient, values = jax.grad(value, has_aux=True)(params)
        return values, gradient

    (values, mine), (expected, other) = (values_and_gradient(f, params) for f in (ours, theirs))
    np.testing.assert_allclose(values, expected, atol=2e-5)
    for name, value in other.items():
        np.testing.assert_allclose(mine[name], value, atol=2e-4, err_msg=name)


def test_a_completion_of_one_token(model, params):
    rows = rows_of(np.random.default_rng(0))
    short = SimpleNamespace(**{**vars(rows), "completions": rows.completions[:, :1]})
    logprobs = [
        jax.jit(lambda p, of=of: completion_logprobs(model, p, of, 1.0, 8)[0])(params)
        for of in (short, rows)
    ]
    np.testing.assert_allclose(logprobs[0][:, 0], logprobs[1][:, 0], atol=1e-5)
