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

from learner.policy.slots import NOT_GIVEN, Shape, Slots

Filters = tuple[Any, Any, Any]  # top_k [S] int32, top_p [S] and min_p [S] float32
DEAD = -1  # in place of a token: the slot did not draw in this step


def sample_chunk(
    step: Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]],
    carry: Any,
    state: Slots,
    shape: Shape,
    stops: tuple[int, ...],
) -> tuple[Any, jax.Array]:
    """Sample up to a chunk of tokens in every slot whose position is below its limit.

    `step(carry, tokens_S, number)` gives (logits [S, V], carry) after the `number`-th token of the
    chunk. Returns the carry and int32 [2, chunk, S]: tokens (`DEAD` where none was drawn), and the
    bits of their float32 log-probabilities. A slot's live steps are its first ones: it dies after a
    stop token or at its limit. Temperature 0 is greedy; its log-probabilities are those of
    temperature 1. Ends early when no slot is alive.

    Where the shape is `restrained`, probabilities are those behind the filters of each slot, and a
    token that is written, not drawn, has a log-probability of 0.
    """
    chunk = shape.chunk
    random_STU = _uniforms(state, chunk)
    filters = (state.top_k, state.top_p, state.min_p) if shape.restrained else None

    def body(loop):
        number, carry, last_S, live_S, output = loop
        scores_SV, carry = step(carry, last_S, number)
        uniform_SU = jax.lax.dynamic_index_in_dim(random_STU, number, 1, keepdims=False)
        token_S, logprob_S = draw(scores_SV, uniform_SU, state.temperature, filters)
        if shape.restrained:
            given_S = jax.lax.dynamic_index_in_dim(state.given, number, 1, keepdims=False)
            token_S = jnp.where(given_S == NOT_GIVEN, token_S, given_S)
            logprob_S = jnp.where(given_S == NOT_GIVEN, logprob_S, 0)
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
    scores_SV: jax.Array,
    uniform_SU: jax.Array,
    temperature_S: jax.Array | np.ndarray,
    filters: Filters | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Tokens [S] of softmax(scores / temperature), and their log-probabilities [S] float32.

    `uniform_SU` [S, 2] holds numbers in [0, 1). `filters`: see `filtered`.
    """
    greedy_S = jnp.asarray(temperature_S == 0)
    scores_SV = scores_SV / jnp.where(greedy_S, 1.0, temperature_S)[:, None]
    highest_S1 = scores_SV.max(axis=-1, keepdims=True)
    shifted_SV = scores_SV - highest_S1
    if filters is not None:
        shifted_SV = jnp.where(filtered(jnp.exp(shifted_SV), *filters), shifted_SV, -jnp.inf)
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


def filtered(weights_SV: jax.Array, top_k_S, top_p_S, min_p_S) -> jax.Array:
    """[S, V] bool: the ids that may be drawn.

    The `top_k` likeliest (0: all); of those the fewest likeliest that have `top_p` of their
    probability; of those the ones with at least `min_p` of the highest probability. Ids that are
    equally likely stay or go together. `weights_SV` are probabilities over the highest of a slot.
    No filter sorts the vocabulary: each is a threshold, found by bisection.
    """
    top_k_S, top_p_S, min_p_S = (jnp.asarray(part) for part in (top_k_S, top_p_S, min_p_S))
    fewest_S = jnp.where(top_k_S > 0, top_k_S, weights_SV.shape[1])
    of_k_S = _threshold(weights_SV, lambda kept_SV: kept_SV.sum(axis=1) >= fewest_S)
    weights_SV = jnp.where(weights_SV >= of_k_S[:, None], weights_SV, 0)
    # all of the probability is everything, whatever a sum in another order rounds to
    wanted_S = jnp.where(top_p_S < 1, top_p_S * weights_SV.sum(axis=1), 0)
    of_p_S = _threshold(
        weights_SV, lambda kept_SV: jnp.where(kept_SV, weights_SV, 0).sum(axis=1) >= wanted_S
    )
    of_p_S = jnp.where(top_p_S < 1, of_p_S, 0)
    lowest_S = jnp.maximum(jnp.maximum(of_k_S, of_p_S), min_p_S)
    return weights_SV >= lowest_S[:, None]


def _threshold(weights_SV: jax.Array, enough: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The highest number [S] so that the weights from it on are `enough`; 0 if all are needed.

    Weights lie in [0, 1], where the bits of float32 numbers are in the order of the numbers.
    """

    def halve(_, low_high):
        low_S, high_S = low_high
        middle_S = (low_S + high_S + 1) // 2
        bound_S = jax.lax.bitcast_convert_type(middle_S, jnp.float32)
        holds_S = enough(weights_SV >= bound_S[:, None])
        return jnp.where(holds_S, middle_S, low_S), jnp.where(holds_S, high_S, middle_S - 1)

    low_S = jnp.zeros(weights_SV.shape[0], jnp.int32)
    high_S = jnp.full_like(low_S, np.float32(1).view(np.int32))
    found_S, _ = jax.lax.fori_loop(0, 31, halve, (low_S, high_S))
    return jax.lax.bitcast_convert_type(found_S, jnp.float32)


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
