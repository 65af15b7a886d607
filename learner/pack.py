"""Rows without padding between them: what one optimizer step reads, in arrays of one fixed shape.

A packed row holds completions of one or several prompts, and each of those prompts once:

  completion 1 | completion 2 | ... | prompt | prompt | ... | padding

A completion of n tokens takes n slots: the last token of its prompt and all tokens but its own
last, so that every slot predicts exactly one of them; a prompt takes its other slots. A token sees
its own prompt and its own completion up to itself, whatever else lies in its row. Scored slots come
first: nothing else is projected onto the vocabulary.

Rows are read in micro-batches. Their shapes depend on the configuration alone and only their number
on the batch, so that one compiled program does every step.

K = micro-batches there is room for, R = rows of one, L = slots of a row, B = completions.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from configs.schema import RunConfig
from learner.batch import Batch
from learner.policy.model import PolicyModel

_MULTIPLE = 16  # row lengths are rounded up to it: vector units work on whole blocks


class Packed(NamedTuple):
    """The micro-batches of one optimizer step. All [K, R, L] but the two counts."""

    tokens: np.ndarray  # int32
    positions: np.ndarray  # int32: place in prompt and completion, from 0
    prompts: np.ndarray  # int32: which prompt of the row a slot belongs to, from 1; 0: padding
    completions: np.ndarray  # int32: which completion of the row, from 1; 0: prompt or padding
    targets: np.ndarray  # int32: the token that a scored slot predicts
    sampled_logprobs: np.ndarray  # float32, of the targets
    advantages: np.ndarray  # float32
    weights: np.ndarray  # float32, sum to 1 over the step; 0 where nothing is scored
    scored: np.ndarray  # [K] int32: slots up to the last scored one of any row
    count: np.ndarray  # [] int32: micro-batches that hold anything

    def micro_batch(self, number) -> "Packed":
        """One of them, in a program: fields [R, L], `scored` []. `number` may be data."""
        parts = {name: x[number] for name, x in self._asdict().items() if name != "count"}
        return Packed(**parts, count=self.count)


@dataclass(frozen=True)
class PackedShape:
    """Sizes of the arrays: a function of the configuration, never of a batch."""

    micro_batches: int
    rows: int
    length: int


def row_length(prompt: int, completion: int, siblings: int, reading: float) -> int:
    """Slots of a row for prompts and completions of up to so many tokens.

    A longer row repeats a prompt less often; a shorter one spends less on attention, which looks
    at every pair of its slots. `reading`: how many slots cost as much to attend to as all else
    that is done for a token. Repeating costs prompt / length of the work, attention length /
    reading; their sum is least at the square root of prompt x reading. Of the lengths that hold a
    prompt and a whole number of the longest completions, the nearest to it is taken.
    """
    wanted = round((math.sqrt(prompt * reading) - (prompt - 1)) / completion)
    held = min(max(wanted, 1), siblings)
    return _MULTIPLE * math.ceil((prompt - 1 + held * completion) / _MULTIPLE)


def packed_shape(length: int, completions: int, parts: int, tokens: int) -> PackedShape:
    """Room for so many completions, whatever their lengths: in the worst case a row holds one.

    A micro-batch has about `tokens` slots on each of the `parts` devices that share its rows.
    """
    rows = parts * max(1, tokens // length)
    return PackedShape(math.ceil(completions / rows), rows, length)


def shape_of(config: RunConfig, model: PolicyModel, parts: int) -> PackedShape:
    """The shape that a run's batches are packed into, on `parts` devices that share rows."""
    found, rollout = model.architecture, config.rollout
    sizes = {name: x.size for name, x in model.abstract_params().items()}
    layers = sum(size for name, size in sizes.items() if name.startswith("layers."))
    # products with the parameters cost 2 operations each, a pair of slots 4 for each head's width;
    # soft-cap, softmax and masks make a pair twice as dear (measured on a CPU)
    reading = 2 * layers / (8 * found.layers * found.heads * found.head_dim)
    completion = rollout.max_new_tokens
    length = row_length(rollout.max_prompt_tokens, completion, rollout.group_size, reading)
    completions = config.trained_groups * rollout.group_size
    return packed_shape(length, completions, parts, config.learner.micro_batch_tokens)


def pack(batch: Batch, shape: PackedShape) -> Packed:
    """The batch in packed rows. Completions without any weight are left out.

    Raises ValueError for a prompt and completion that are longer than a row together.
    """
    lengths = _lengths(batch)
    plan = _plan(batch, lengths, shape.length)
    rows = shape.micro_batches * shape.rows
    fields = {
        name: np.zeros((rows, shape.length), np.int32)
        for name in ("tokens", "positions", "prompts", "completions", "targets")
    } | {
        name: np.zeros((rows, shape.length), np.float32)
        for name in ("sampled_logprobs", "advantages", "weights")
    }
    ends = np.zeros(rows, np.int32)
    for number, row in enumerate(plan):
        ends[number] = _fill({name: x[number] for name, x in fields.items()}, row, batch, lengths)
    split = (shape.micro_batches, shape.rows)
    return Packed(
        **{name: x.reshape(*split, shape.length) for name, x in fields.items()},
        scored=ends.reshape(split).max(axis=1),
        count=np.asarray(math.ceil(len(plan) / shape.rows), np.int32),
    )


class _Row:
    """Completions by prompt, while a row is filled."""

    def __init__(self, length: int):
        self.room = length
        self.members: dict[int, list[int]] = {}  # prompt -> its completions

    def cost(self, prompt: int, prompt_slots: int, slots: int) -> int:
        return slots + (0 if prompt in self.members else prompt_slots)


def _plan(batch: Batch, lengths: np.ndarray, length: int) -> list[_Row]:
    """First fit, prompts with most tokens first: where its prompt lies already, else anywhere."""
    siblings = len(batch.completions) // len(batch.prompts)
    lengths_NG = lengths.reshape(-1, siblings)
    rows: list[_Row] = []
    for prompt in np.argsort(-lengths_NG.sum(axis=1), kind="stable"):
        prompt_slots = int(batch.prompt_lengths[prompt]) - 1
        for sibling in np.argsort(-lengths_NG[prompt], kind="stable"):
            slots = int(lengths_NG[prompt, sibling])
            if not slots:
                continue
            if prompt_slots + slots > length:
                raise ValueError(f"{prompt_slots + slots} tokens do not fit a row of {length}")
            fitting = [row for row in rows if row.room >= row.cost(prompt, prompt_slots, slots)]
            if not fitting:
                fitting = [_Row(length)]
                rows += fitting
            row = next((row for row in fitting if prompt in row.members), fitting[0])
            row.room -= row.cost(prompt, prompt_slots, slots)
            row.members.setdefault(int(prompt), []).append(int(prompt) * siblings + int(sibling))
    return rows


def _lengths(batch: Batch) -> np.ndarray:
    """[B] tokens of each completion up to its last one that has a weight."""
    slots = np.arange(1, batch.weights.shape[1] + 1)
    return ((batch.weights > 0) * slots).max(axis=1)


def _fill(row: dict[str, np.ndarray], plan: _Row, batch: Batch, lengths: np.ndarray) -> int:
    """Write a planned row; returns how many of its slots are scored."""
    end = completion_number = 0
    for prompt_number, (prompt, completions) in enumerate(plan.members.items(), 1):
        prompt_length = int(batch.prompt_lengths[prompt])
        for completion in completions:
            completion_number += 1
            count = int(lengths[completion])
            here = slice(end, end + count)
            row["tokens"][end] = batch.prompts[prompt, prompt_length - 1]
            row["tokens"][end + 1 : end + count] = batch.completions[completion, : count - 1]
            row["positions"][here] = prompt_length - 1 + np.arange(count)
            row["prompts"][here], row["completions"][here] = prompt_number, completion_number
            row["targets"][here] = batch.completions[completion, :count]
            row["weights"][here] = batch.weights[completion, :count]
            row["sampled_logprobs"][here] = batch.sampled_logprobs[completion, :count]
            row["advantages"][here] = batch.advantages[completion]
            end += count
    scored = end
    for prompt_number, prompt in enumerate(plan.members, 1):
        count = int(batch.prompt_lengths[prompt]) - 1
        here = slice(end, end + count)
        row["tokens"][here] = batch.prompts[prompt, :count]
        row["positions"][here] = np.arange(count)
        row["prompts"][here] = prompt_number
        end += count
    return scored
