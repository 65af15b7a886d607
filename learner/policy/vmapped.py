"""The decoder of any Tunix model: its single-row step, `vmap`ped over the slots.

Each slot has a cache of its own with its own position, into which the keys and values of its prompt
are copied. Gemma2 has a faster one (`lean.py`).

S = slots, R = prompts in progress, N = prompts of a prefill, P = prompt length, V = vocabulary.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from learner.policy.draw import sample_chunk
from learner.policy.model import (
    Cache,
    Params,
    PolicyModel,
    empty_cache,
    hidden_states,
    logits,
    prompt_states,
)
from learner.policy.slots import Shape, Slots


class VmappedDecoder:
    """Caches and weights of one engine; its programs are kept for the next of the same sizes."""

    def __init__(self, model: PolicyModel, shape: Shape, stops: tuple[int, ...]):
        self._model, self._stops = model, stops
        self._params: Any = None
        self._prompts: Any = None
        self._cache: Any = None
        self.use(shape)

    def use(self, shape: Shape) -> None:
        """Another shape, with empty caches. Its programs are compiled if they are new."""
        self._shape = shape
        self._programs = _compiled(self._model, shape, self._stops)
        self._prompts = self._cache = None  # there may not be room for both
        self._prompts, self._cache = empty_caches(self._model, shape)

    def load(self, params: Params) -> None:
        """Take new weights, in the compute dtype."""
        self._params = params

    def prefill(self, prompts: Sequence[np.ndarray], rows: Sequence[int]) -> None:
        """Read prompts into these rows of the cache."""
        for length, tokens, targets in self._shape.batches(prompts, rows):
            fill = self._programs.prefills[length]
            self._prompts = fill(self._params, self._prompts, tokens, targets)
        for piece in self._shape.pieces(prompts, rows):
            self._prompts = self._programs.piece(self._params, self._prompts, *piece)

    def decode(self, state: Slots) -> jax.Array:
        """Sample a chunk in every live slot; see `sample_chunk`."""
        self._cache, output = self._programs.decode(self._params, self._prompts, self._cache, state)
        return output

    def clear(self) -> None:
        """Take what is not finite out of the cache: a masked key counts 0 times its value."""
        self._prompts = jax.tree.map(_finite, self._prompts)
        self._cache = jax.tree.map(_finite, self._cache)


def _finite(array: jax.Array) -> jax.Array:
    return jnp.nan_to_num(array, posinf=0, neginf=0)


class _Programs(NamedTuple):
    prefills: dict[int, Any]  # by the length of prompts
    piece: Any  # of a longer one; None: there is none
    decode: Any


@cache
def _compiled(model: PolicyModel, shape: Shape, stops: tuple[int, ...]) -> _Programs:
    """All programs ahead of their first use: the weights may still be on their way."""
    params = {
        name: jax.ShapeDtypeStruct(value.shape, model.compute_dtype)
        for name, value in model.abstract_params().items()
    }
    prompts, completions = jax.eval_shape(partial(empty_caches, model, shape))
    chunk = partial(decode_chunk, partial(sample_chunk, shape=shape, stops=stops), model)
    return _Programs(
        {
            length: jax.jit(partial(prefill, model), donate_argnums=1)
            .lower(params, prompts, *shape.empty_batch(length))
            .compile()
            for length in shape.prompt_lengths
        },
        jax.jit(partial(prefill_piece, model), donate_argnums=1)
        .lower(params, prompts, *shape.empty_piece())
        .compile()
        if shape.places > shape.piece
        else None,
        jax.jit(chunk, donate_argnums=2)
        .lower(params, prompts, completions, Slots.empty(shape.slots, shape.chunk))
        .compile(),
    )


def empty_caches(model: PolicyModel, shape: Shape) -> tuple[Cache, Cache]:
    """Of prompts, and of slots: a prompt and its completion."""
    return (
        empty_cache(model, shape.rows, shape.places),
        empty_cache(model, shape.slots, shape.places + shape.new),
    )


def prefill(model: PolicyModel, params: Params, prompts: Cache, tokens_NP, rows_N) -> Cache:
    """Write keys and values of right-padded prompts into rows of the cache; row R is nowhere.

    What the padding writes behind a prompt is overwritten or masked when a slot decodes.
    """
    length = tokens_NP.shape[1]
    _, filled = prompt_states(model, model.bind(params), tokens_NP)
    return {
        name: {
            part: layer[part].at[rows_N, :length].set(filled[name][part], mode="drop")
            for part in ("k", "v")
        }
        for name, layer in prompts.items()
    }


def prefill_piece(
    model: PolicyModel, params: Params, prompts: Cache, tokens_L, row, first
) -> Cache:
    """Write keys and values of the L tokens of a prompt from position `first` on into a row, which
    holds those of the tokens before."""
    held = {
        name: {part: layer[part][row][None] for part in ("k", "v")} | {"end_index": first[None]}
        for name, layer in prompts.items()
    }
    length = next(iter(held.values()))["k"].shape[1]
    positions_L = first + jnp.arange(len(tokens_L))
    mask_LP = jnp.arange(length) <= positions_L[:, None]
    _, filled = hidden_states(
        model.bind(params), tokens_L[None], positions_L[None], mask_LP[None], held
    )
    return {
        name: {part: layer[part].at[row].set(filled[name][part][0]) for part in ("k", "v")}
        for name, layer in prompts.items()
    }


def decode_chunk(
    sample: Callable, model: PolicyModel, params: Params, prompts: Cache, cache: Cache, state: Slots
) -> tuple[Cache, jax.Array]:
    """A chunk in every live slot by `sample`; the cache, and the output of `sample_chunk`."""
    module = model.bind(params)
    length = next(iter(cache.values()))["k"].shape[1]
    step_of_slots = jax.vmap(partial(_step_of_slot, module, length))

    def step(carry, tokens_S, number):
        return step_of_slots(carry, tokens_S, state.position + number)

    return sample(step, _seated(prompts, cache, state), state)


def _seated(prompts: Cache, cache: Cache, state: Slots) -> Cache:
    """The cache with the prompts of slots that have not drawn yet copied in."""
    new_S = (jnp.asarray(state.drawn) == 0) & (state.position < state.limit)
    slots = jnp.where(new_S, jnp.arange(new_S.shape[0]), new_S.shape[0])  # others: nowhere

    def copied():
        return {
            name: {
                part: layer[part]
                .at[slots, : prompts[name][part].shape[1]]
                .set(prompts[name][part][state.row], mode="drop")
                for part in ("k", "v")
            }
            for name, layer in cache.items()
        }

    return jax.lax.cond(new_S.any(), copied, lambda: cache)


def _step_of_slot(module, length, cache, token, position):
    """Logits [V] after one token of one slot, and the slot's new keys and values."""
    layers = {
        name: {part: layer[part][None] for part in ("k", "v")} | {"end_index": position[None]}
        for name, layer in cache.items()
    }
    mask = (jnp.arange(length) <= position)[None, None]
    hidden, layers = hidden_states(module, token[None, None], position[None, None], mask, layers)
    cache = {name: {part: layer[part][0] for part in ("k", "v")} for name, layer in layers.items()}
    return logits(module, hidden[0, 0]), cache
