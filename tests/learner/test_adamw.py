"""AdamW in place is optax's, and does nothing where it must not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from learner.adamw import AdamW

SCHEDULE = optax.linear_schedule(0.1, 0.05, 4)
OURS = AdamW(SCHEDULE, 0.9, 0.99, weight_decay=0.1, max_norm=3.0)
STEP = jax.jit(OURS.step)
PARAMS = {"a": np.float32([[1.0, -2.0], [0.5, 3.0]]), "b": np.float32([4.0])}
GRADS = [  # of norm 2 and 10: the second is clipped
    {"a": np.float32([[1.0, -1.0], [1.0, 0.0]]), "b": np.float32([1.0])},
    {"a": np.float32([[0.0, 6.0], [0.0, 0.0]]), "b": np.float32([-8.0])},
]


@partial(jax.jit, static_argnums=0)
def optax_step(optimizer, params, moments, grads):
    updates, moments = optimizer.update(grads, moments, params)
    return optax.apply_updates(params, updates), moments


def test_steps_are_those_of_optax():
    adamw = optax.adamw(SCHEDULE, 0.9, 0.99, weight_decay=0.1)
    theirs = optax.chain(optax.clip_by_global_norm(3.0), adamw)
    params, moments = PARAMS, OURS.init(PARAMS)
    expected, state = PARAMS, theirs.init(PARAMS)
    for grads, norm in zip(GRADS, (2.0, 10.0), strict=True):
        params, moments = STEP(params, moments, grads, jnp.float32(norm), jnp.bool_(True))
        expected, state = optax_step(theirs, expected, state, grads)
        for name, value in expected.items():
            np.testing.assert_allclose(params[name], value, rtol=1e-6)
    assert moments.count == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nothing_changes_where_a_gradient_is_not_finite(bad):
    before = STEP(PARAMS, OURS.init(PARAMS), GRADS[0], jnp.float32(2.0), jnp.bool_(True))
    broken = GRADS[1] | {"b": np.float32([bad])}
    after = STEP(*before, broken, jnp.float32(bad), jnp.bool_(False))
    for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(new, old)
