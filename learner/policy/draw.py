"""Drawing tokens: exact, and cheap beside a decode step.

The Gumbel trick needs a random number and two logarithms for every id of the vocabulary: more time
on a CPU than all matrix products of a small model. Inverting the distribution function needs two
random numbers a token: the vocabulary is cut into about sqrt(V) columns, one is drawn by its total,
then an id inside it.

S = slots, V = vocabulary, W = columns, I = ids of a column, T = tokens of a chunk.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from learner.policy.slots import Slots

DEAD = -1  # in place of a token: the slot did not draw in this step


def sample_chunk(
    step: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]],
    carry: Any,
    state: Slots,
    chunk: int,
    stops: tuple[int, ...],
) -> tuple[Any, jax.Array]:
    """Sample up to `chunk` tokens in every slot whose position is below its limit.

    `step(carry, tokens_S, number)` gives (logits [S, V], carry) after the `number`-th token of the
    chunk. Returns the carry and int32 [2, chunk, S]: tokens (`DEAD` where none was drawn), and the
    bits of their float32 log-probabilities. A slot's live steps are its first ones: it dies after a
    stop token or at its limit. Temperature 0 is greedy; its log-probabilities are those of
    temperature 1. Ends early when no slot is alive.
    """
    random_STU = _uniforms(state, chunk)

    def body(loop):
        number, carry, last_S, live_S, output = loop
        scores_SV, carry = step(carry, last_S, number)
        uniform_SU = jax.lax.dynamic_index_in_dim(random_STU, number, 1, keepdims=False)
        token_S, logprob_S = draw(scores_SV, uniform_SU, state.temperature)
        bits_S = jax.lax.bitcast_convert_type(logprob_S, jnp.int32)
        output = output.at[:, number].set(jnp.stack([jnp.where(live_S, token_S, DEAD), bits_S]))
        stopped_S = jnp.isin(token_S, jnp.array(stops, jnp.int32))
        live_S = live_S & ~stopped_S & (state.position + number + 1 < state.limit)
        return number + 1, carry, token_S, live_S, output

    def unfinished(loop):
        return (loop[0] < chunk) & loop[3].any()

    slots = state.last.shape[0]
    output = jnp.full((2, chunk, slots), DEAD, jnp.int32)
    loop = (jnp.int32(0), carry, state.last, state.position < state.limit, output)
    _, carry, _, _, output = jax.lax.while_loop(unfinished, body, loop)
    return carry, output


def draw(
    scores_SV: jax.Array, uniform_SU: jax.Array, temperature_S: jax.Array | np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """Tokens [S] of softmax(scores / temperature), and their log-probabilities [S] float32.

    `uniform_SU` [S, 2] holds numbers in [0, 1).
    """
    greedy_S = jnp.asarray(temperature_S == 0)
    scores_SV = scores_SV / jnp.where(greedy_S, 1.0, temperature_S)[:, None]
    highest_S1 = scores_SV.max(axis=-1, keepdims=True)
    shifted_SV = scores_SV - highest_S1
    slots, vocabulary = scores_SV.shape
    columns = _columns(vocabulary)
    padding = -vocabulary % columns
    # id v is number v // W of column v % W: sums over columns run along contiguous memory
    padded_SV = jnp.pad(shifted_SV, ((0, 0), (0, padding)), constant_values=-jnp.inf)
    weights_SIW = jnp.exp(padded_SV).reshape(slots, -1, columns)
    sums_SW = weights_SIW.sum(axis=1)
    column_S, total_S = _invert(sums_SW, uniform_SU[:, 0])
    column_SI = jnp.take_along_axis(weights_SIW, column_S[:, None, None], axis=2)[:, :, 0]
    within_S, _ = _invert(column_SI, uniform_SU[:, 1])
    token_S = within_S * columns + column_S
    best_S = jax.lax.cond(
        greedy_S.any(), lambda: jnp.argmax(shifted_SV, axis=-1), lambda: jnp.zeros_like(token_S)
    )
    token_S = jnp.where(greedy_S, best_S, token_S)
    chosen_S = jnp.take_along_axis(shifted_SV, token_S[:, None], axis=1)[:, 0]
    return token_S, chosen_S - jnp.log(total_S)


def _invert(weights_SN: jax.Array, uniform_S: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The number [S] at which the running sum passes `uniform` of the total, and the total [S]."""
    running_SN = jnp.cumsum(weights_SN, axis=1)
    total_S = running_SN[:, -1]
    number_S = (running_SN <= (uniform_S * total_S)[:, None]).sum(axis=1).astype(jnp.int32)
    number_S = jnp.minimum(number_S, weights_SN.shape[1] - 1)
    # rounding of a running sum may point at what has no weight at all
    sound_S = jnp.take_along_axis(weights_SN, number_S[:, None], axis=1)[:, 0] > 0
    return jnp.where(sound_S, number_S, jnp.argmax(weights_SN, axis=1).astype(jnp.int32)), total_S


def _columns(vocabulary: int) -> int:
    """A power of two near the square root."""
    return 1 << max(0, (vocabulary - 1).bit_length() // 2)


def _uniforms(state: Slots, chunk: int) -> jax.Array:
    """[S, chunk, 2] in [0, 1): `fold_in(seed, stream, index, sibling, number of the token)`."""

    def of_token(key, number):
        return jax.random.uniform(jax.random.fold_in(key, number), (2,))

    def of_slot(name_3, seat, drawn):
        key = jax.random.key(name_3[0])
        for part in (name_3[1], name_3[2], seat):
            key = jax.random.fold_in(key, part)
        return jax.vmap(of_token, (None, 0))(key, drawn + jnp.arange(chunk))

    return jax.vmap(of_slot)(state.name, state.seat, state.drawn)
