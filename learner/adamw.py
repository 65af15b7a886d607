"""AdamW in place (Loshchilov and Hutter 2019, arXiv 1711.05101), and nothing where it must not be.

optax gives new parameters and new moments as functions of the old of both. XLA:CPU computes each of
them in a loop of its own, and so copies all moments first and reads the rest three times. Here
moments are moved first, then parameters by the new moments. The two are loops of one turn, or of
none where a gradient is not finite: what is in a loop is updated in place and not merged with
another. Numbers are optax's, up to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

Params = dict[str, Any]  # name -> array


@dataclass(frozen=True)
class AdamW:
    """Gradients are clipped by their global norm, `max_norm`; the rate follows `schedule`."""

    schedule: Callable
    b1: float
    b2: float
    weight_decay: float
    max_norm: float
    epsilon: float = 1e-8

    def init(self, params: Params) -> optax.ScaleByAdamState:
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def step(self, params: Params, moments, grads: Params, norm, sound):
        """New parameters and moments; those that it got, if not `sound` [].

        `norm` []: of all `grads` together.
        """
        turns = jnp.asarray(sound, jnp.int32)
        scale = jnp.where(norm < self.max_norm, 1.0, self.max_norm / norm)
        count = moments.count + turns
        corrections = [1 / (1 - b ** count.astype(jnp.float32)) for b in (self.b1, self.b2)]
        rate = self.schedule(moments.count)

        def move_moments(_, moments):
            def of(before, gradient):
                gradient = gradient * scale
                mu = self.b1 * before[0] + (1 - self.b1) * gradient
                return mu, self.b2 * before[1] + (1 - self.b2) * gradient * gradient

            return {name: of(before, grads[name]) for name, before in moments.items()}

        def move_params(_, params):
            def of(param, moments):
                mean, square = (x * by for x, by in zip(moments, corrections, strict=True))
                change = mean / (jnp.sqrt(square) + self.epsilon) + self.weight_decay * param
                return param - rate * change

            return {name: of(param, moved[name]) for name, param in params.items()}

        pairs = {name: (moments.mu[name], moments.nu[name]) for name in params}
        moved = jax.lax.fori_loop(0, turns, move_moments, pairs)
        params = jax.lax.fori_loop(0, turns, move_params, params)
        mu, nu = ({name: pair[n] for name, pair in moved.items()} for n in range(2))
        return params, optax.ScaleByAdamState(count, mu, nu)
