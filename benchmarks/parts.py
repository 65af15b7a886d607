"""What an update is made of: its pieces timed alone, at the shapes of the step, in its process.

The reference's forward pass counts with the policy's. What is left of the update's time, when all
pieces are taken off, are norms, gates, rotations, the sums of gradients and waiting.
"""

import time
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp

from learner.pack import PackedShape
from learner.policy.attention import attend
from learner.policy.matmul import matmul
from learner.policy.model import PolicyModel, fan_in
from learner.step import TrainState

REPEATS = 5


def seconds(call) -> float:
    """Of the fastest of several calls, the first of which compiles."""
    jax.block_until_ready(call())
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times)


def update_parts(
    model: PolicyModel, optimizer: Any, state: TrainState, shape: PackedShape, count: int
) -> dict[str, float]:
    """Seconds of each part of an update of `count` micro-batches."""
    slots = shape.rows * shape.length
    shapes = {n: x.shape for n, x in model.abstract_params().items() if len(x.shape) > 1}
    layers = [(n, s) for n, s in shapes.items() if n.startswith("layers.")]
    matrices = Counter((fan_in(n, s), _size(s) // fan_in(n, s)) for n, s in layers)
    found = model.architecture
    words = (found.width, found.vocabulary)
    return {
        "layer_products_s": count * sum(n * _products(slots, *m) for m, n in matrices.items()),
        "vocabulary_products_s": count * _products(slots, *words),
        "attention_s": count * found.layers * _attention(model, shape),
        "optimizer_s": _optimizer(optimizer, state),
    }


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size


def _products(slots: int, inputs: int, outputs: int) -> float:
    """Forward twice, for policy and reference, and both gradients."""
    x, weight = jnp.ones((slots, inputs)), jnp.ones((inputs, outputs))
    gradient = jnp.ones((slots, outputs))
    forward = jax.jit(matmul)
    backward = jax.jit(lambda x, weight, gradient: jax.vjp(matmul, x, weight)[1](gradient))
    return 2 * seconds(lambda: forward(x, weight)) + seconds(lambda: backward(x, weight, gradient))


def _attention(model: PolicyModel, shape: PackedShape) -> float:
    """Of a layer, without its products with parameters."""
    found = model.architecture
    queries = jnp.ones((shape.rows, shape.length, found.heads, found.head_dim))
    keys = jnp.ones((shape.rows, shape.length, found.kv_heads, found.head_dim))
    seen = jnp.ones((shape.rows, shape.length, shape.length), bool)

    def read(queries, keys, values):
        return attend(queries, keys, values, seen, 50.0)

    forward = jax.jit(read)
    both = jax.jit(lambda *x: jax.vjp(read, *x)[1](x[0]))
    arrays = (queries, keys, keys)
    return seconds(lambda: forward(*arrays)) + seconds(lambda: both(*arrays))


def _optimizer(optimizer: Any, state: TrainState) -> float:
    step = jax.jit(optimizer.step, donate_argnums=(0, 1))
    held = [jax.tree.map(jnp.copy, tuple(state))]
    grads = jax.tree.map(jnp.ones_like, state.params)

    def once():
        held[0] = step(*held[0], grads, jnp.float32(1.0), jnp.bool_(True))
        return held[0]

    return seconds(once)
