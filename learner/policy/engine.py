"""Generation with slots: continuous batching.

A slot holds one completion in progress. A prompt is read once for all its siblings, which take
slots one by one as they get free; slots decode `chunk` tokens per dispatch and are refilled in
between. All shapes are fixed when the engine is made, so each program compiles once.

What a completion is depends on the weights, its prompt, `fold_in(seed, stream, index, sibling,
token)`, and `slots`, `chunk` and lengths of the configuration; not on its slot, on the other slots,
or on the actor.

S = slots, G = siblings.
"""

import heapq
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cluster.messages import Permit
from configs.schema import RolloutSection
from learner.policy.draw import DEAD
from learner.policy.lean import LeanDecoder
from learner.policy.model import Params, PolicyModel
from learner.policy.slots import Slots, shape_of
from learner.policy.vmapped import VmappedDecoder

TextEnd = Callable[[np.ndarray, int], int]
"""(tokens, number of those that were looked at before) -> tokens up to a stop string, or 0."""


@dataclass(frozen=True)
class Sampled:
    """The completions of one permit."""

    permit: Permit
    tokens: tuple[np.ndarray, ...]  # G x [N] int32, end-of-sequence included
    logprobs: tuple[np.ndarray, ...]  # G x [N] float32, at the sampling temperature
    truncated: np.ndarray  # [G] bool
    failed: str = ""  # why there are none (each is empty then); "" when there are


@dataclass(frozen=True)
class Counts:
    """What an engine has done so far."""

    steps: int = 0  # slot-steps: decode steps times slots
    drawn: int = 0  # tokens
    begun: int = 0  # completions that have a first token


class Decoder(Protocol):
    """The part of an engine that knows the model: caches and programs."""

    def load(self, params: Params) -> None: ...

    def prefill(self, prompts: Sequence[np.ndarray], rows: Sequence[int]) -> None: ...

    def decode(self, state: Slots) -> jax.Array: ...

    def clear(self) -> None: ...


@dataclass
class _Group:
    """A permit in progress: `row` is the place of its prompt in the cache."""

    permit: Permit
    budgets: Sequence[int]
    row: int
    completions: dict[int, tuple] = field(default_factory=dict)
    """(tokens, logprobs, truncated) of each sibling that has finished."""


class Engine:
    """Decodes permits in slots. Not thread-safe; one per process.

    `section` gives slots, chunk and lengths; `stops` are the ids that end a completion, `seed` is
    the run's; `text_end` finds strings that end one.
    """

    def __init__(
        self,
        model: PolicyModel,
        section: RolloutSection,
        stops: tuple,
        seed: int,
        text_end: TextEnd | None = None,
    ):
        slots, self.shape = section.slots, shape_of(section)
        self._dtype = jnp.dtype(model.compute_dtype)
        self._text_end = text_end
        self._seed, self._stops = seed, np.array(stops, np.int32)
        self.decoder: Decoder = (
            LeanDecoder(model, self.shape, stops)
            if model.architecture.family == "gemma2"
            else VmappedDecoder(model, self.shape, stops)
        )
        self._state = Slots.empty(slots)
        self._owner: list[tuple[_Group, int] | None] = [None] * slots
        self._free_slots, self._free_rows = list(range(slots)), list(range(self.shape.rows))
        self._standing: deque[tuple[_Group, int]] = deque()  # siblings without a slot yet
        self._failed: list[Sampled] = []  # not handed out yet
        self._vocabulary = model.architecture.vocabulary
        self._tokens = np.zeros((slots, section.max_new_tokens), np.int32)
        self._logprobs = np.zeros((slots, section.max_new_tokens), np.float32)
        self.slots, self.counts = slots, Counts()
        self._running: jax.Array | None = None  # the output of the chunk that is being decoded

    def load(self, params: Params) -> None:
        """Take new weights. Only between permits: slots in use would mix two policies."""
        if self.busy:
            raise RuntimeError("weights were swapped while completions were in progress")
        self.decoder.load(self.arrived(params))

    def arrived(self, params: Params) -> Params:
        """On the device, in compute dtype: 16-bit weights travel as their bits."""
        return {
            name: jnp.asarray(
                value.view(self._dtype) if value.dtype == np.uint16 else value, self._dtype
            )
            for name, value in params.items()
        }

    @property
    def busy(self) -> bool:
        return len(self._free_rows) < self.shape.rows or bool(self._failed)

    @property
    def standing(self) -> int:
        """Siblings that wait for a slot."""
        return len(self._standing)

    @property
    def room(self) -> int:
        """Groups that may be submitted now: those that fill the free slots, or one to have work at
        hand when the next slot gets free."""
        free, standing = len(self._free_slots), len(self._standing)
        if standing > free:
            return 0
        return min(len(self._free_rows), max(1, -(-(free - standing) // self.shape.seats)))

    def submit(self, permits: Sequence[Permit], budgets: Sequence[Sequence[int]] = ()) -> None:
        """Read the prompts of whole groups; their siblings decode as slots get free.

        `budgets`: new tokens of each sibling of each permit, instead of the configured number.
        What cannot be sampled comes back from `step` with its reason; the others go on.
        """
        taken = []
        for number, permit in enumerate(permits):
            own = budgets[number] if budgets else [self.shape.new] * permit.siblings
            if reason := self._unfit(permit, own):
                self._failed.append(_failure(permit, reason))
                continue
            taken.append(_Group(permit, own, heapq.heappop(self._free_rows)))
        self._standing.extend((g, sibling) for g in taken for sibling in range(g.permit.siblings))
        self.decoder.prefill([group.permit.tokens for group in taken], [g.row for g in taken])

    def step(self) -> list[Sampled]:
        """Refill slots and decode the next chunk; the groups that finished in the one before.

        Returns while the chunk is being decoded.
        """
        finished = self._failed + self._collect()
        self._failed = []
        while self._standing and self._free_slots:
            self._occupy(heapq.heappop(self._free_slots), *self._standing.popleft())
        if self._state.live.any():
            # the decoder may still read what it was given when the next chunk is prepared
            self._running = self.decoder.decode(Slots(*(part.copy() for part in self._state)))
        return finished

    def _unfit(self, permit: Permit, budgets: Sequence[int]) -> str:
        """Why this permit cannot be sampled; "" if it can."""
        tokens, shape = permit.tokens, self.shape
        if not 0 < len(tokens) <= shape.prompt:
            return (
                f"the prompt has {len(tokens)} tokens, the engine takes 1 to {shape.prompt} "
                "(rollout.max_prompt_tokens)"
            )
        if not 0 < permit.siblings <= shape.seats:
            return (
                f"{permit.siblings} siblings were asked for, the engine takes 1 to {shape.seats} "
                "(rollout.group_size)"
            )
        wrong = tokens[(tokens < 0) | (tokens >= self._vocabulary)]
        if len(wrong):
            return f"token id {wrong[0]} is outside of the vocabulary of {self._vocabulary}"
        if not (min(budgets) > 0 and max(budgets) <= shape.new):
            return f"budgets {list(budgets)}: the engine has room for 1 to {shape.new} new tokens"
        return ""

    def _occupy(self, slot: int, group: _Group, sibling: int) -> None:
        permit, state = group.permit, self._state
        self._owner[slot] = (group, sibling)
        # the last prompt token is decoded: its logits give the first token of the completion
        state.last[slot] = permit.tokens[-1]
        state.start[slot] = state.position[slot] = len(permit.tokens) - 1
        state.limit[slot] = state.position[slot] + group.budgets[sibling]
        state.drawn[slot] = 0
        state.row[slot], state.seat[slot] = group.row, sibling
        state.name[slot] = self._seed, zlib.crc32(permit.stream.encode()), permit.index
        state.temperature[slot] = permit.temperature

    def _collect(self) -> list[Sampled]:
        """Wait for the chunk, write down what it drew, and free the slots that ended."""
        if self._running is None:
            return []
        output, self._running = np.asarray(self._running), None  # [2, T, S]
        tokens_TS, logprobs_TS = output[0], output[1].view(np.float32)
        state = self._state
        steps, slots = np.nonzero(tokens_TS != DEAD)
        places = slots, state.drawn[slots] + steps
        self._tokens[places] = tokens_TS[steps, slots]
        self._logprobs[places] = logprobs_TS[steps, slots]
        count_S = np.bincount(slots, minlength=self.shape.slots).astype(np.int32)
        live = np.flatnonzero(count_S)
        for counter in (state.position, state.drawn):
            counter += count_S
        self.counts = Counts(
            self.counts.steps + int(count_S.max()) * self.slots,
            self.counts.drawn + len(slots),
            self.counts.begun + int((state.drawn[live] == count_S[live]).sum()),
        )
        state.last[live] = self._tokens[live, state.drawn[live] - 1]
        ended = np.isin(state.last, self._stops) | (state.position >= state.limit)
        finished = self._fail(np.unique(slots[~np.isfinite(logprobs_TS[steps, slots])]))
        for slot in live.tolist():
            text_ended = self._cut_at_text(slot, int(count_S[slot]))
            owner = self._owner[slot]
            if owner and (ended[slot] or text_ended):
                stopped = text_ended or state.last[slot] in self._stops
                finished += self._end(slot, owner, not stopped)
        return finished

    def _cut_at_text(self, slot: int, fresh: int) -> bool:
        """Whether the completion has a stop string; what was drawn behind it is dropped."""
        if self._text_end is None:
            return False
        drawn = self._state.drawn[slot]
        kept = self._text_end(self._tokens[slot, :drawn], int(drawn - fresh))
        if kept:
            self._state.drawn[slot] = kept
        return bool(kept)

    def _end(self, slot: int, owner: tuple[_Group, int], truncated: bool) -> list[Sampled]:
        """Free the slot; the completions of its group if this was the last one."""
        group, sibling = owner
        drawn = slice(self._state.drawn[slot])
        completion = self._tokens[slot, drawn].copy(), self._logprobs[slot, drawn].copy(), truncated
        group.completions[sibling] = completion
        self._free(slot)
        if len(group.completions) < group.permit.siblings:
            return []
        heapq.heappush(self._free_rows, group.row)
        in_order = (group.completions[sibling] for sibling in range(group.permit.siblings))
        tokens, logprobs, cut = zip(*in_order, strict=True)
        return [Sampled(group.permit, tokens, logprobs, np.array(cut))]

    def _fail(self, slots: np.ndarray) -> list[Sampled]:
        """Give up the groups of slots whose logits are not finite; the others go on."""
        groups = {id(owner[0]): owner[0] for slot in slots if (owner := self._owner[slot])}
        for slot, owner in enumerate(self._owner):
            if owner and id(owner[0]) in groups:
                self._free(slot)
        if groups:
            self._standing = deque(one for one in self._standing if id(one[0]) not in groups)
            self.decoder.clear()
        for group in groups.values():
            heapq.heappush(self._free_rows, group.row)
        reason = "the logits are not finite: look at the weights"
        return [_failure(group.permit, reason) for group in groups.values()]

    def _free(self, slot: int) -> None:
        self._owner[slot] = None
        self._state.limit[slot] = self._state.position[slot] = 0
        heapq.heappush(self._free_slots, int(slot))


def _failure(permit: Permit, reason: str) -> Sampled:
    tokens, logprobs = ((np.zeros(0, kind),) * permit.siblings for kind in (np.int32, np.float32))
    cut = np.ones(permit.siblings, bool)
    return Sampled(permit, tokens, logprobs, cut, f"prompt {permit.key}: {reason}")
