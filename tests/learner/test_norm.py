"""The norm's own gradient is that of its formula."""

import jax
import jax.numpy as jnp
import numpy as np

from learner.policy.norm import rms_norm


def formula(x, scale):
    return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6) * (1 + scale)


def test_values_and_gradients_are_those_of_the_formula():
    x, weights = np.random.default_rng(0).normal(size=(2, 2, 3, 8)).astype(np.float32)
    scale = np.linspace(-0.5, 0.5, 8, dtype=np.float32)

    def of(norm):
        return jax.jit(
            jax.value_and_grad(lambda x, scale: jnp.sum(norm(x, scale) * weights), (0, 1))
        )(x, scale)

    for ours, theirs in zip(
        jax.tree.leaves(of(rms_norm)), jax.tree.leaves(of(formula)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
