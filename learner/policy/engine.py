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
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from cluster.messages import Permit, Restraint
from configs.schema import RolloutSection
from learner.policy.completions import Counts, Group, Sampled, Tape, failure, unfit
from learner.policy.devices import engine_mesh, putting
from learner.policy.draw import DEAD
from learner.policy.endings import Budget, Course, Endings
from learner.policy.lean import LeanDecoder
from learner.policy.model import Params, PolicyModel
from learner.policy.slots import Shape, Slots, shape_of
from learner.policy.vmapped import VmappedDecoder

NO_VERSION = -1  # of weights that were never loaded


class Decoder(Protocol):
    """The part of an engine that knows the model: caches and programs."""

    def load(self, params: Params) -> None: ...

    def use(self, shape: Shape) -> None: ...

    def prefill(self, prompts: Sequence[np.ndarray], rows: Sequence[int]) -> None: ...

    def decode(self, state: Slots) -> jax.Array: ...

    def clear(self) -> None: ...


class Engine:
    """Decodes permits in slots. Not thread-safe; one per process.

    `section` gives slots, chunk and lengths, `seed` is the run's.
    """

    def __init__(self, model: PolicyModel, section: RolloutSection, endings: Endings, seed: int):
        slots, self.shape = section.slots, shape_of(section, model.compute_dtype)
        self._training_shape = self.shape
        self._budget = Budget(section.max_reasoning_tokens, section.max_answer_tokens)
        self._ends_apart = section.at_reasoning_budget == "end"
        self._dtype = jnp.dtype(model.compute_dtype)
        self._seed, self._endings = seed, endings
        self._stops = np.array(endings.stops, np.int32)
        lean = model.architecture.family == "gemma2"
        decoder = LeanDecoder if lean else VmappedDecoder
        mesh = engine_mesh(section.tp)
        self.decoder: Decoder = decoder(model, self.shape, endings.stops, mesh)
        self._put = putting(model, mesh)
        self._state = Slots.empty(slots, self.shape.chunk)
        self._courses: list[Course | None] = [None] * slots
        self._owner: list[tuple[Group, int] | None] = [None] * slots
        self._free_slots, self._free_rows = list(range(slots)), list(range(self.shape.rows))
        self._standing: deque[tuple[Group, int]] = deque()  # siblings without a slot yet
        self._failed: list[Sampled] = []  # not handed out yet
        self._vocabulary = model.architecture.vocabulary
        self._tape = Tape(slots, section.max_new_tokens)
        self.slots, self.counts, self.version = slots, Counts(), NO_VERSION
        self._running: tuple[jax.Array, int] | None = None  # a chunk's output, its weights' version

    def load(self, params: Params, version: int = 0) -> None:
        """Take new weights, from the next chunk on.

        What is in progress goes on with them: its keys and values are kept, and each token is
        stamped with the version that drew it. Who wants one policy in a completion loads when the
        engine is not `busy`.
        """
        self.version = version
        self.decoder.load(self.arrived(params))

    def arrived(self, params: Params) -> Params:
        """On the device or devices, in compute dtype: 16-bit weights travel as their bits."""
        return {
            name: self._put(
                name,
                jnp.asarray(
                    value.view(self._dtype) if value.dtype == np.uint16 else value, self._dtype
                ),
            )
            for name, value in params.items()
        }

    @property
    def busy(self) -> bool:
        return len(self._free_rows) < self.shape.rows or bool(self._failed)

    def turn_to(self, permit: Permit) -> bool:
        """Be ready for permits of this kind; False while others are in progress.

        There are programs for groups, for prompts of one completion, and for both with a restraint,
        and a permit is always decoded by those of its kind: others give other bits.
        """
        shape = self._shape_for(permit)
        if shape == self.shape:
            return True
        if self.busy:
            return False
        self.decoder.use(shape)
        self.shape, self._free_rows = shape, list(range(shape.rows))
        return True

    def _shape_for(self, permit: Permit) -> Shape:
        return self._training_shape.kind(permit.siblings == 1, permit.restraint != Restraint())

    @property
    def unfilled(self) -> int:
        """Slots that the next chunk leaves empty, if nothing is submitted; below 0: siblings that
        wait for one."""
        return len(self._free_slots) - len(self._standing)

    @property
    def room(self) -> int:
        """Groups that may be submitted now: those that fill the free slots, or one to have work at
        hand when the next slot gets free."""
        if self.unfilled < 0:
            return 0
        return min(len(self._free_rows), max(1, -(-self.unfilled // self.shape.seats)))

    def submit(self, permits: Sequence[Permit], budgets: Sequence[Sequence[Budget]] = ()) -> None:
        """Read the prompts of whole groups; their siblings decode as slots get free.

        `budgets`: of each sibling of each permit, instead of the configured ones. What cannot be
        sampled comes back from `collect` with its reason; the others go on. All permits that are in
        progress together are of one kind (`turn_to`).
        """
        if not all(self.turn_to(permit) for permit in permits):
            raise RuntimeError("permits of two kinds were submitted together")
        taken = []
        for number, permit in enumerate(permits):
            own = budgets[number] if budgets else [self._budget] * permit.siblings
            if reason := unfit(permit, own, self.shape, self._vocabulary):
                self._failed.append(failure(permit, reason))
                continue
            taken.append(Group(permit, own, heapq.heappop(self._free_rows)))
        self._standing.extend((g, sibling) for g in taken for sibling in range(g.permit.siblings))
        self.decoder.prefill([group.permit.tokens for group in taken], [g.row for g in taken])

    def step(self) -> list[Sampled]:
        """`collect`, then `decode`: who has more to submit does so before, or in between."""
        finished = self.collect()
        self.decode()
        return finished

    def collect(self) -> list[Sampled]:
        """Wait for the chunk in progress; the groups that finished in it."""
        finished, self._failed = self._failed + self._read(), []
        return finished

    def decode(self) -> None:
        """Refill slots and begin the next chunk; returns while it is being decoded."""
        while self._standing and self._free_slots:
            self._occupy(heapq.heappop(self._free_slots), *self._standing.popleft())
        if self._state.live.any():
            if self.shape.restrained:
                self._write_given()
            # the decoder may still read what it was given when the next chunk is prepared
            output = self.decoder.decode(Slots(*(part.copy() for part in self._state)))
            self._running = output, self.version

    def _occupy(self, slot: int, group: Group, sibling: int) -> None:
        permit, self._owner[slot] = group.permit, (group, sibling)
        budget, write = group.budgets[sibling], permit.restraint.close_reasoning
        course = Course(budget, self._endings, write) if self._ends_apart or write else None
        self._courses[slot] = course
        self._state.occupy(slot, permit, sibling, course.limit if course else budget.total)
        self._state.row[slot] = group.row
        self._state.name[slot, 0] = self._seed

    def _write_given(self) -> None:
        for slot, course in enumerate(self._courses):
            if course:
                drawn = int(self._state.drawn[slot])
                self._state.given[slot] = course.given(drawn, self.shape.chunk)

    def _read(self) -> list[Sampled]:
        """Wait for the chunk, write down what it drew, and free the slots that ended."""
        if self._running is None:
            return []
        (running, version), self._running = self._running, None
        output = np.asarray(running)  # [2, T, S]
        tokens_TS, logprobs_TS = output[0], output[1].view(np.float32)
        state = self._state
        steps, slots = np.nonzero(tokens_TS != DEAD)
        places = slots, state.drawn[slots] + steps
        drawn, logprobs = tokens_TS[steps, slots], logprobs_TS[steps, slots]
        self._tape.write(places, drawn, logprobs, version)
        count_S = np.bincount(slots, minlength=self.shape.slots).astype(np.int32)
        live = np.flatnonzero(count_S)
        for counter in (state.position, state.drawn):
            counter += count_S
        self.counts = Counts(
            self.counts.steps + int(count_S.max()) * self.slots,
            self.counts.drawn + len(slots),
            self.counts.begun + int((state.drawn[live] == count_S[live]).sum()),
        )
        state.last[live] = self._tape.tokens[live, state.drawn[live] - 1]
        stopped_S, spent_S = np.isin(state.last, self._stops), ~state.live
        finished = self._fail(np.unique(slots[~np.isfinite(logprobs)]))
        if not self._reads_text:
            live = live[(stopped_S | spent_S)[live]]
        for slot in live.tolist():
            if owner := self._owner[slot]:
                stopped, spent = self._ends(slot, int(count_S[slot]), bool(stopped_S[slot]))
                if stopped or spent:
                    finished += self._end(slot, owner, not stopped)
        return finished

    @property
    def _reads_text(self) -> bool:
        """Whether completions may end where neither their last token nor their room says so."""
        return bool(self._endings.text_end) or self._ends_apart or self.shape.restrained

    def _ends(self, slot: int, fresh: int, stopped: bool) -> tuple[bool, bool]:
        """Whether the completion was stopped, and whether its budget is spent.

        What was drawn behind its end is dropped.
        """
        state, course = self._state, self._courses[slot]
        drawn = int(state.drawn[slot])
        if kept := self._endings.cut_at(self._tape.tokens[slot, :drawn], drawn - fresh):
            stopped, state.drawn[slot] = True, kept
        if course:
            tokens = self._tape.tokens[slot, : state.drawn[slot]]
            counted = course.follow(tokens, drawn - fresh)
            stopped &= counted == len(tokens)
            state.drawn[slot] = counted
            spent = counted >= course.limit
            if not (stopped or spent):
                self._go_on(slot, course)
            return stopped, spent
        return stopped, bool(state.position[slot] >= state.limit[slot])

    def _go_on(self, slot: int, course: Course) -> None:
        """Give a slot the room that its course has. One that stopped inside of a chunk, for want of
        it, begins that chunk again, since the cache is written chunk by chunk: it draws the same.
        """
        state, owner = self._state, self._owner[slot]
        assert owner is not None
        state.limit[slot] = state.start[slot] + course.limit
        drawn = int(state.drawn[slot])
        if over := drawn % self.shape.chunk:
            text = np.concatenate([owner[0].permit.tokens, self._tape.tokens[slot, :drawn]])
            state.rewind(slot, over, text[-1 - over])
            again = drawn == over
            self.counts = replace(
                self.counts, drawn=self.counts.drawn - over, begun=self.counts.begun - again
            )

    def _end(self, slot: int, owner: tuple[Group, int], truncated: bool) -> list[Sampled]:
        """Free the slot; the completions of its group if this was the last one."""
        group, sibling = owner
        completion = self._tape.completion(slot, self._state.drawn[slot])
        group.completions[sibling] = (*completion, truncated)
        self._free(slot)
        if not group.whole:
            return []
        heapq.heappush(self._free_rows, group.row)
        return [group.sampled()]

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
        return [failure(group.permit, reason) for group in groups.values()]

    def _free(self, slot: int) -> None:
        self._owner[slot] = self._courses[slot] = None
        self._state.limit[slot] = self._state.position[slot] = 0
        heapq.heappush(self._free_slots, int(slot))
