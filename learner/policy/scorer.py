"""Log-probabilities of the next token after prompts that share a beginning, without decoding.

The shared beginning is prefilled once and its keys and values are every row's; each row then
prefills its own end, and only its last position is projected onto the vocabulary. A trunk that
many beginnings share is kept from call to call. Lengths are padded up to a few sizes and rows to a
fixed number, so that few programs are compiled, and so that the bits of a result depend on its own
prompt, and on where it is cut, but not on the rows beside it.

P = tokens of the beginning, B = rows, T = tokens of an end, V = vocabulary.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from learner.policy.model import (
    Params,
    PolicyModel,
    empty_cache,
    hidden_states,
    logits,
    prompt_states,
)

SHORTEST = 16  # bucket of a length
ROWS = 2  # that are computed together, B: with more, most rows of the few of a group are padding
TRUNKS = 4  # that are kept


class Scorer:
    """A model with its weights (cast to the compute dtype). Not thread-safe."""

    def __init__(self, model: PolicyModel, params: Params):
        self.model = model
        self._params = {name: jnp.asarray(w, model.compute_dtype) for name, w in params.items()}
        self._begin = jax.jit(partial(begin, model))
        self._branch = jax.jit(partial(_branch, model))
        self._trunks: OrderedDict[tuple[int, ...], dict] = OrderedDict()
        self._end = jax.jit(partial(_end, model))

    def next_logprobs(
        self, beginning: Sequence[int], ends: Sequence[Sequence[int]], trunk: int = 0
    ) -> list[np.ndarray]:
        """[V] float32 for each end: log-probabilities of the token behind beginning and end.

        Beginning and ends have one token or more. `trunk`: tokens of the beginning, fewer than all
        of them, that other beginnings share.
        """
        cache = self._beginning(beginning, trunk)
        by_bucket: dict[int, list[int]] = defaultdict(list)
        for number, end in enumerate(ends):
            by_bucket[bucket(len(end))].append(number)
        found: dict[int, np.ndarray] = {}
        for length, numbers in by_bucket.items():
            for start in range(0, len(numbers), ROWS):
                some = numbers[start : start + ROWS]
                rows_BT = padded([ends[n] for n in some], ROWS, length)
                lengths_B = np.ones(ROWS, np.int32)
                lengths_B[: len(some)] = [len(ends[n]) for n in some]
                shared = np.int32(len(beginning))
                logprobs_BV = self._end(self._params, cache, shared, rows_BT, lengths_B)
                found |= zip(some, np.asarray(logprobs_BV), strict=False)
        return [found[number] for number in range(len(ends))]

    def _beginning(self, beginning: Sequence[int], trunk: int) -> dict:
        """Its keys and values."""
        if not trunk:
            return self._begin(self._params, padded([beginning], 1, bucket(len(beginning))))[1]
        stem, rest = tuple(beginning[:trunk]), beginning[trunk:]
        if stem not in self._trunks:
            self._trunks[stem] = self._beginning(stem, 0)
            if len(self._trunks) > TRUNKS:
                self._trunks.popitem(last=False)
        self._trunks.move_to_end(stem)
        rest_1T = padded([rest], 1, bucket(len(rest)))
        return self._branch(self._params, self._trunks[stem], np.int32(trunk), rest_1T)


def bucket(length: int) -> int:
    """What a length is padded to: a power of two, or three quarters of one."""
    power = 1 << (length - 1).bit_length()
    return max(SHORTEST, power * 3 // 4 if 4 * length <= 3 * power else power)


def padded(rows: Sequence[Sequence[int]], count: int, length: int) -> np.ndarray:
    """[count, length] int32."""
    padded = np.zeros((count, length), np.int32)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def begin(model: PolicyModel, params: Params, beginning_1P: jax.Array) -> tuple[jax.Array, dict]:
    """States [1, P, D], keys and values of the beginning, the padding's behind them."""
    hidden_1PD, cache = prompt_states(model, model.bind(params), beginning_1P)
    return hidden_1PD, _keys_and_values(cache)


def _branch(
    model: PolicyModel, params: Params, cache: dict, shared: jax.Array, rest_1T: jax.Array
) -> dict:
    """Keys and values of a trunk and what comes behind it."""
    return _keys_and_values(go_on(model, model.bind(params), cache, shared, rest_1T)[1])


def _keys_and_values(cache: dict) -> dict:
    return {name: {part: layer[part] for part in ("k", "v")} for name, layer in cache.items()}


def go_on(
    model: PolicyModel, module: Any, cache: dict, shared: jax.Array, ends_BT: jax.Array
) -> tuple[jax.Array, dict]:
    """States [B, T, D] of ends whose tokens stand from position `shared` on, behind a beginning;
    and the cache of both."""
    rows, length = ends_BT.shape
    beginning = next(iter(cache.values()))["k"].shape[1]
    whole = empty_cache(model, rows, beginning + length)
    start_B = jnp.full(rows, shared, jnp.int32)
    # what the beginning's padding wrote is written over, or behind what any token may see
    whole = {
        name: {part: layer[part].at[:, :beginning].set(cache[name][part]) for part in layer}
        | {"end_index": start_B}
        for name, layer in whole.items()
    }
    positions_BT = start_B[:, None] + jnp.arange(length)
    mask_BTS = jnp.arange(beginning + length) <= positions_BT[:, :, None]
    return hidden_states(module, ends_BT, positions_BT, mask_BTS, whole)


def _end(
    model: PolicyModel,
    params: Params,
    cache: dict,
    shared: jax.Array,
    ends_BT: jax.Array,
    lengths_B: jax.Array,
) -> jax.Array:
    """[B, V] log-probabilities behind the ends."""
    module = model.bind(params)
    hidden_BTD, _ = go_on(model, module, cache, shared, ends_BT)
    last_BD = jnp.take_along_axis(hidden_BTD, (lengths_B - 1)[:, None, None], axis=1)[:, 0]
    return jax.nn.log_softmax(logits(module, last_BD), axis=-1)
