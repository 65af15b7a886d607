"""The decoder of Gemma2: its cache, its programs, and which of them a chunk needs."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from learner.policy.devices import jitted, placed, placed_params
from learner.policy.gemma_layers import fused, split_axis
from learner.policy.gemma_steps import HEADS, GemmaSteps, empty_cache
from learner.policy.model import Params, PolicyModel
from learner.policy.slots import Shape, Slots


class LeanDecoder:
    """Cache and weights of one engine; its programs are kept for the next of the same sizes."""

    def __init__(
        self, model: PolicyModel, shape: Shape, stops: tuple[int, ...], mesh: Mesh | None = None
    ):
        self._weights: Any = None
        self._cache: Any = None
        self._programs_of = partial(_compiled, model, stops=stops, mesh=mesh)
        self.use(shape)

    def use(self, shape: Shape) -> None:
        """Another shape, with an empty cache. Its programs are compiled if they are new."""
        self._shape = shape
        self._programs = self._programs_of(shape)
        self._cache = None  # there may not be room for both
        self._cache = self._programs.empty()

    def load(self, params: Params) -> None:
        """Take new weights, in the compute dtype."""
        self._weights = None  # there may not be room for both
        self._weights = self._programs.fuse(params)

    def prefill(self, prompts: Sequence[np.ndarray], rows: Sequence[int]) -> None:
        """Read prompts into these rows of the cache."""
        for length, tokens, targets in self._shape.batches(prompts, rows):
            self._cache = self._programs.prefills[length](
                self._weights, self._cache, tokens, targets
            )
        for piece in self._shape.pieces(prompts, rows):
            self._cache = self._programs.piece(self._weights, self._cache, *piece)

    def decode(self, state: Slots) -> jax.Array:
        """Sample a chunk in every live slot; see `sample_chunk`."""
        level = self._shape.level_for(state)
        reading = self._shape.reading(state, level)
        self._cache, output = self._programs.decodes[level](
            self._weights, self._cache, state, reading
        )
        return output

    def clear(self) -> None:
        """Take what is not finite out of the cache: a masked key counts 0 times its value."""
        self._cache = jax.tree.map(_finite, self._cache)


def _finite(array: jax.Array) -> jax.Array:
    return jnp.nan_to_num(array, posinf=0, neginf=0)


class Programs(NamedTuple):
    fuse: Any
    empty: Any
    prefills: dict[int, Any]  # by the length of prompts
    piece: Any  # of a longer one; None: there is none
    decodes: list[Any]  # by level


@cache
def _compiled(
    model: PolicyModel, shape: Shape, stops: tuple[int, ...], mesh: Mesh | None
) -> Programs:
    """All programs ahead of their first use: the weights may still be on their way."""
    programs = lowered(model, shape, stops, mesh)
    return Programs(
        programs.fuse.compile(),
        programs.empty.compile(),
        {length: prefill.compile() for length, prefill in programs.prefills.items()},
        programs.piece and programs.piece.compile(),
        [decode.compile() for decode in programs.decodes],
    )


def lowered(
    model: PolicyModel, shape: Shape, stops: tuple[int, ...], mesh: Mesh | None = None
) -> Programs:
    """All programs, ready to be compiled: no memory is taken."""
    steps, last = GemmaSteps(model, shape, stops, mesh), len(shape.levels) - 1
    fuse, empty = partial(fused, model), partial(empty_cache, model, shape)
    params = placed_params(model, mesh)
    weights = placed(jax.eval_shape(fuse, params), mesh, split_axis)
    kept = placed(jax.eval_shape(empty), mesh, lambda *_: HEADS)
    state = Slots.empty(shape.slots, shape.chunk)
    drawn = jax.ShapeDtypeStruct((2, shape.chunk, shape.slots), jnp.int32)

    def filling(program):
        return jitted(program, mesh, kept, (1,))

    def decode(level: int):
        program = partial(steps.decode, level == last)
        return jitted(program, mesh, (kept, drawn), (1,)).lower(
            weights, kept, state, shape.reading(state, level)
        )

    return Programs(
        jitted(fuse, mesh, weights).lower(params),
        jitted(empty, mesh, kept).lower(),
        {
            length: filling(steps.prefill).lower(weights, kept, *shape.empty_batch(length))
            for length in shape.prompt_lengths
        },
        filling(steps.prefill_piece).lower(weights, kept, *shape.empty_piece())
        if shape.places > shape.piece
        else None,
        [decode(level) for level in range(last + 1)],
    )
