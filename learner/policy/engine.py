"""Generation with slots: continuous batching over an unmodified Tunix model.

A slot holds one completion in progress with its own cache position: the model's single-row step is
`vmap`ped over the slots. Groups are admitted whole, their prompt is prefilled once and its keys and
values copied to the siblings' slots; slots decode `chunk` tokens per dispatch and are refilled in
between. All shapes are fixed when the engine is made, so each program compiles once.

What a completion is depends on the weights, its prompt, `fold_in(seed, stream, index, sibling,
token)` and the number of slots; not on its slot, on the other slots, or on the actor.

S = slots, C = cache length, n = prompts of a prefill.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cluster.messages import Permit
from configs.schema import RolloutSection
from learner.policy.model import (
    Cache,
    Params,
    PolicyModel,
    empty_cache,
    hidden_states,
    logits,
    prompt_states,
)


@dataclass(frozen=True)
class Sampled:
    """The completions of one permit."""

    permit: Permit
    tokens: tuple[np.ndarray, ...]  # G x [N] int32, end-of-sequence included
    logprobs: tuple[np.ndarray, ...]  # G x [N] float32, at the sampling temperature
    truncated: np.ndarray  # [G] bool


@dataclass
class _Progress:
    """A permit whose siblings are being decoded."""

    permit: Permit
    tokens: list[list[int]] = field(init=False)
    logprobs: list[list[float]] = field(init=False)
    unfinished: int = field(init=False)

    def __post_init__(self):
        self.unfinished = self.permit.siblings
        self.tokens = [[] for _ in range(self.unfinished)]
        self.logprobs = [[] for _ in range(self.unfinished)]


class Slots(NamedTuple):
    """What the device needs to know of each slot; a slot is dead when position >= limit."""

    last: np.ndarray  # [S] int32, the token that it reads next
    position: np.ndarray  # [S] int32, where that token stands
    limit: np.ndarray  # [S] int32, the position at which its budget ends
    drawn: np.ndarray  # [S] int32, tokens sampled so far
    keys: np.ndarray  # [S, 2] uint32, the random key of its completion
    temperature: np.ndarray  # [S] float32


class Engine:
    """Decodes permits in slots. Not thread-safe; one per process.

    `section` gives slots, chunk and lengths; `stops` are the ids that end a completion, `seed` is
    the run's.
    """

    def __init__(self, model: PolicyModel, section: RolloutSection, stops: tuple, seed: int):
        slots = section.slots
        self.model, self.slots, self.stops, self.seed = model, slots, stops, seed
        self.max_prompt, self.max_new = section.max_prompt_tokens, section.max_new_tokens
        self.prefill_rows = max(1, slots // section.group_size)
        self._params: Params | None = None
        self._cache: Cache = empty_cache(model, slots, self.max_prompt + self.max_new)
        self._owner: list[tuple[_Progress, int] | None] = [None] * slots
        self._state = _idle(slots)
        self._decode, self._prefill = _compiled(model, section, stops)

    def load(self, params: dict[str, np.ndarray]) -> None:
        """Take new weights. Only between permits: slots in use would mix two policies."""
        if self.busy:
            raise RuntimeError("weights were swapped while completions were in progress")
        dtype = jnp.dtype(self.model.compute_dtype)
        # 16-bit weights travel as their bits
        self._params = {
            name: jnp.asarray(value.view(dtype) if value.dtype == np.uint16 else value, dtype)
            for name, value in params.items()
        }

    @property
    def busy(self) -> bool:
        return self.free_slots < self.slots

    @property
    def free_slots(self) -> int:
        return sum(owner is None for owner in self._owner)

    def admit(self, permits: list[Permit]) -> None:
        """Put whole groups into free slots. Raises ValueError for a prompt that cannot fit."""
        for start in range(0, len(permits), self.prefill_rows):
            self._admit_rows(permits[start : start + self.prefill_rows])

    def step(self) -> list[Sampled]:
        """Decode one chunk in every live slot; return the groups that finished in it."""
        if not self.busy:
            return []
        self._cache, outputs = self._decode(self._params, self._cache, self._state)
        tokens, logprobs, live = jax.device_get(outputs)  # [chunk, S] each
        return list(self._collect(tokens, logprobs, live))

    def _admit_rows(self, permits: list[Permit]) -> None:
        rows = np.zeros((self.prefill_rows, self.max_prompt), np.int32)
        source = np.zeros(self.slots, np.int32)
        target = np.full(self.slots, self.slots, np.int32)  # out of range: copied nowhere
        free = (number for number, owner in enumerate(self._owner) if owner is None)
        copies = 0
        for row, permit in enumerate(permits):
            length = len(permit.tokens)
            if not 0 < length <= self.max_prompt:
                raise ValueError(
                    f"prompt {permit.key} has {length} tokens; the engine takes 1 to "
                    f"{self.max_prompt}"
                )
            rows[row, :length] = permit.tokens
            progress = _Progress(permit)
            keys = completion_keys(self.seed, permit)
            for sibling in range(permit.siblings):
                slot = next(free)
                source[copies], target[copies] = row, slot
                copies += 1
                self._occupy(slot, progress, sibling, keys[sibling])
        self._cache = self._prefill(self._params, self._cache, rows, source, target)

    def _occupy(self, slot: int, progress: _Progress, sibling: int, key: np.ndarray) -> None:
        permit, state = progress.permit, self._state
        self._owner[slot] = (progress, sibling)
        # the last prompt token is decoded again: its logits give the first token of the completion
        state.last[slot] = permit.tokens[-1]
        state.position[slot] = len(permit.tokens) - 1
        state.limit[slot] = state.position[slot] + self.max_new
        state.drawn[slot] = 0
        state.keys[slot] = key
        state.temperature[slot] = permit.temperature

    def _collect(self, tokens, logprobs, live) -> Iterator[Sampled]:
        counts, state = live.sum(axis=0), self._state
        for slot, owner in enumerate(self._owner):
            if owner is None:
                continue
            progress, sibling = owner
            count = int(counts[slot])
            progress.tokens[sibling].extend(tokens[:count, slot].tolist())
            progress.logprobs[sibling].extend(logprobs[:count, slot].tolist())
            state.last[slot] = tokens[count - 1, slot]
            state.position[slot] += count
            state.drawn[slot] += count
            if state.last[slot] in self.stops or state.position[slot] >= state.limit[slot]:
                self._owner[slot] = None
                state.limit[slot] = state.position[slot] = 0
                progress.unfinished -= 1
                if not progress.unfinished:
                    yield self._sampled(progress)

    def _sampled(self, progress: _Progress) -> Sampled:
        return Sampled(
            progress.permit,
            tuple(np.array(row, np.int32) for row in progress.tokens),
            tuple(np.array(row, np.float32) for row in progress.logprobs),
            np.array([row[-1] not in self.stops for row in progress.tokens]),
        )


@cache
def _compiled(model: PolicyModel, section: RolloutSection, stops: tuple):
    """Decode and prefill ahead of their first use: the weights may still be on their way."""
    slots, length = section.slots, section.max_prompt_tokens
    params = {
        name: jax.ShapeDtypeStruct(shape.shape, model.compute_dtype)
        for name, shape in model.abstract_params().items()
    }
    cache = jax.eval_shape(lambda: empty_cache(model, slots, length + section.max_new_tokens))
    rows = jax.ShapeDtypeStruct((max(1, slots // section.group_size), length), np.int32)
    ids = jax.ShapeDtypeStruct((slots,), np.int32)
    decode = jax.jit(partial(decode_chunk, model, section.chunk, stops), donate_argnums=1)
    fill = jax.jit(partial(prefill, model), donate_argnums=1)
    return (
        decode.lower(params, cache, _idle(slots)).compile(),
        fill.lower(params, cache, rows, ids, ids).compile(),
    )


def _idle(slots: int) -> Slots:
    counts = (np.zeros(slots, np.int32) for _ in range(4))
    keys, ones = np.zeros((slots, 2), np.uint32), np.ones(slots, np.float32)
    return Slots(*counts, keys=keys, temperature=ones)


def completion_keys(seed: int, permit: Permit) -> np.ndarray:
    """[G, 2] uint32: one random key for each sibling, a function of seed, stream and index only."""
    stream = np.uint32(zlib.crc32(permit.stream.encode()))
    return np.asarray(_completion_keys(seed, stream, permit.index, permit.siblings))


@partial(jax.jit, static_argnums=3)
def _completion_keys(seed, stream, index, siblings: int):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), stream), index)
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(siblings))
    return jax.random.key_data(keys)


def prefill(model: PolicyModel, params: Params, cache: Cache, rows_nP, source_S, target_S) -> Cache:
    """Write keys and values of prompts [n, P] (right padded) into the slots `target` [S].

    Slot `target[i]` gets those of prompt `source[i]`; a target of S is nowhere. What the padding
    writes behind a prompt is overwritten or masked when the slot decodes.
    """
    length = rows_nP.shape[1]
    _, filled = prompt_states(model, model.bind(params), rows_nP)
    return {
        name: {
            part: layer[part].at[target_S, :length].set(filled[name][part][source_S], mode="drop")
            for part in ("k", "v")
        }
        for name, layer in cache.items()
    }


def decode_chunk(
    model: PolicyModel, chunk: int, stops: tuple, params: Params, cache: Cache, state: Slots
) -> tuple[Cache, tuple[jax.Array, jax.Array, jax.Array]]:
    """Sample up to `chunk` tokens in every slot whose position is below its limit.

    Returns the cache and (tokens, log-probabilities, live), each [chunk, S]. A slot's live steps
    are its first ones: it dies after a stop token or at its limit. Temperature 0 is
    greedy; its log-probabilities are those of temperature 1. Stops early when no slot is alive.
    """
    module = model.bind(params)
    slots, length = state.last.shape[0], next(iter(cache.values()))["k"].shape[1]
    step_of_slots = jax.vmap(partial(_step_of_slot, module, length))
    draw_of_slots = jax.vmap(_draw)

    def body(carry):
        number, cache, last_S, position_S, live_S, outputs = carry
        scores_SV, cache = step_of_slots(cache, last_S, position_S)
        token_S, logprob_S = draw_of_slots(
            scores_SV, state.keys, state.drawn + number, state.temperature
        )
        new = (token_S, logprob_S, live_S)
        outputs = tuple(out.at[number].set(row) for out, row in zip(outputs, new, strict=True))
        position_S = jnp.where(live_S, position_S + 1, position_S)
        stopped_S = jnp.isin(token_S, jnp.array(stops, jnp.int32))
        live_S = live_S & ~stopped_S & (position_S < state.limit)
        return number + 1, cache, token_S, position_S, live_S, outputs

    def unfinished(carry):
        return (carry[0] < chunk) & carry[4].any()

    outputs = (
        jnp.zeros((chunk, slots), jnp.int32),
        jnp.zeros((chunk, slots), jnp.float32),
        jnp.zeros((chunk, slots), bool),
    )
    live_S = state.position < state.limit
    carry = (jnp.int32(0), cache, state.last, state.position, live_S, outputs)
    _, cache, _, _, _, outputs = jax.lax.while_loop(unfinished, body, carry)
    return cache, outputs


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


def _draw(scores_V, key_2, index, temperature):
    """A token of softmax(scores / temperature) by the Gumbel trick, and its log-probability."""
    greedy = temperature == 0
    scores_V = scores_V / jnp.where(greedy, 1.0, temperature)
    key = jax.random.fold_in(jax.random.wrap_key_data(key_2), index)
    noise_V = jnp.where(greedy, 0.0, jax.random.gumbel(key, scores_V.shape, scores_V.dtype))
    token = jnp.argmax(scores_V + noise_V).astype(jnp.int32)
    return token, scores_V[token] - jax.nn.logsumexp(scores_V)
