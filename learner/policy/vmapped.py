"""The decoder of any Tunix model: its single-row step, `vmap`ped over the slots.

Each slot has a cache of its own with its own position, into which the keys and values of its prompt
are copied. Gemma2 has a faster one (`lean.py`). Where keys and values are not kept in the dtype
that modules compute in, a layer's are restored for each step.

S = slots, R = prompts in progress, N = prompts of a prefill, P = prompt length, V = vocabulary.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from learner.policy.devices import jitted, placed, placed_params, whole
from learner.policy.draw import sample_chunk
from learner.policy.kept import Kept, empty, restored, write
from learner.policy.model import (
    Cache,
    Params,
    PolicyModel,
    hidden_states,
    logits,
    prompt_states,
)
from learner.policy.slots import Shape, Slots

_HEADS = 2  # the axis of a cache's heads


class VmappedDecoder:
    """Caches and weights of one engine; its programs are kept for the next of the same sizes."""

    def __init__(
        self, model: PolicyModel, shape: Shape, stops: tuple[int, ...], mesh: Mesh | None = None
    ):
        self._programs_of = partial(_compiled, model, stops=stops, mesh=mesh)
        self._params: Any = None
        self._prompts: Any = None
        self._cache: Any = None
        self.use(shape)

    def use(self, shape: Shape) -> None:
        """Another shape, with empty caches. Its programs are compiled if they are new."""
        self._shape = shape
        self._programs = self._programs_of(shape)
        self._prompts = self._cache = None  # there may not be room for both
        self._prompts, self._cache = self._programs.empty()

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
    empty: Any
    prefills: dict[int, Any]  # by the length of prompts
    piece: Any  # of a longer one; None: there is none
    decode: Any


@cache
def _compiled(
    model: PolicyModel, shape: Shape, stops: tuple[int, ...], mesh: Mesh | None
) -> _Programs:
    """All programs ahead of their first use: the weights may still be on their way."""
    params, empty = placed_params(model, mesh), partial(empty_caches, model, shape)
    kept = placed(jax.eval_shape(empty), mesh, lambda *_: _HEADS)
    prompts, completions = kept
    sample = partial(sample_chunk, shape=shape, stops=stops)
    drawn = jax.ShapeDtypeStruct((2, shape.chunk, shape.slots), jnp.int32)

    def filling(program, *given):
        program = jitted(partial(program, model), mesh, prompts, (1,))
        return program.lower(params, prompts, *given).compile()

    return _Programs(
        jitted(empty, mesh, kept).lower().compile(),
        {length: filling(prefill, *shape.empty_batch(length)) for length in shape.prompt_lengths},
        filling(prefill_piece, *shape.empty_piece()) if shape.places > shape.piece else None,
        jitted(partial(decode_chunk, sample, model, mesh), mesh, (completions, drawn), (2,))
        .lower(params, prompts, completions, Slots.empty(shape.slots, shape.chunk))
        .compile(),
    )


def empty_caches(model: PolicyModel, shape: Shape) -> tuple[Cache, Cache]:
    """Of prompts, and of slots: a prompt and its completion."""
    found = model.architecture

    def of(rows: int, length: int) -> Cache:
        sizes = (rows, length, found.kv_heads, found.head_dim)
        kept = partial(empty, sizes, shape.cache_dtype, 3)
        return {f"layer_{number}": {"k": kept(), "v": kept()} for number in range(found.layers)}

    return of(shape.rows, shape.places), of(shape.slots, shape.places + shape.new)


def prefill(model: PolicyModel, params: Params, prompts: Cache, tokens_NP, rows_N) -> Cache:
    """Write keys and values of right-padded prompts into rows of the cache; row R is nowhere.

    What the padding writes behind a prompt is overwritten or masked when a slot decodes.
    """
    length = tokens_NP.shape[1]

    def place(old, new):
        return old.at[rows_N, :length].set(new, mode="drop")

    _, filled = prompt_states(model, model.bind(params), tokens_NP)
    return {
        name: {part: write(place, layer[part], filled[name][part], axis=3) for part in ("k", "v")}
        for name, layer in prompts.items()
    }


def prefill_piece(
    model: PolicyModel, params: Params, prompts: Cache, tokens_L, row, first
) -> Cache:
    """Write keys and values of the L tokens of a prompt from position `first` on into a row, which
    holds those of the tokens before."""
    held = jax.tree.map(lambda x: x[row], prompts)
    length = jax.tree.leaves(held)[0].shape[0]
    positions_L = first + jnp.arange(len(tokens_L))
    mask_LP = jnp.arange(length) <= positions_L[:, None]
    given = {name: _given(model, layer, first) for name, layer in held.items()}
    _, filled = hidden_states(
        model.bind(params), tokens_L[None], positions_L[None], mask_LP[None], given
    )
    taken = {
        name: _taken(layer, filled[name], first, len(tokens_L)) for name, layer in held.items()
    }
    return jax.tree.map(lambda whole, one: whole.at[row].set(one), prompts, taken)


def decode_chunk(
    sample: Callable,
    model: PolicyModel,
    mesh: Mesh | None,
    params: Params,
    prompts: Cache,
    cache: Cache,
    state: Slots,
) -> tuple[Cache, jax.Array]:
    """A chunk in every live slot by `sample`; the cache, and the output of `sample_chunk`."""
    module = model.bind(params)
    length = jax.tree.leaves(cache)[0].shape[1]
    step_of_slots = jax.vmap(partial(_step_of_slot, model, module, length))

    def step(carry, tokens_S, number):
        scores_SV, carry = step_of_slots(carry, tokens_S, state.position + number)
        return whole(scores_SV, mesh), carry

    return sample(step, _seated(prompts, cache, state), state)


def _seated(prompts: Cache, cache: Cache, state: Slots) -> Cache:
    """The cache with the prompts of slots that have not drawn yet copied in."""
    new_S = (jnp.asarray(state.drawn) == 0) & (state.position < state.limit)
    slots = jnp.where(new_S, jnp.arange(new_S.shape[0]), new_S.shape[0])  # others: nowhere

    def place(own, prompt):
        return own.at[slots, : prompt.shape[1]].set(prompt[state.row], mode="drop")

    return jax.lax.cond(new_S.any(), lambda: jax.tree.map(place, cache, prompts), lambda: cache)


def _step_of_slot(model, module, length, cache, token, position):
    """Logits [V] after one token of one slot, and the slot's new keys and values."""
    layers = {name: _given(model, layer, position) for name, layer in cache.items()}
    mask = (jnp.arange(length) <= position)[None, None]
    hidden, layers = hidden_states(module, token[None, None], position[None, None], mask, layers)
    cache = {name: _taken(layer, layers[name], position, 1) for name, layer in cache.items()}
    return logits(module, hidden[0, 0]), cache


def _given(model: PolicyModel, layer: dict[str, Kept], end) -> Cache:
    """What the module of a layer takes: one row, which ends there."""
    row = {part: restored(layer[part], model.compute_dtype)[None] for part in ("k", "v")}
    return row | {"end_index": end[None]}


def _taken(layer: dict[str, Kept], filled: Cache, first, count: int) -> dict[str, Kept]:
    """The row as it is kept, with the `count` tokens from `first` on that the module wrote."""

    def place(old, new):
        return jax.lax.dynamic_update_slice_in_dim(old, new, first, 0)

    def of(part: str) -> Kept:
        whole = filled[part][0]
        if not isinstance(layer[part], tuple) and layer[part].dtype == whole.dtype:
            return whole
        fresh = jax.lax.dynamic_slice_in_dim(whole, first, count)
        return write(place, layer[part], fresh, axis=2)

    return {part: of(part) for part in ("k", "v")}
