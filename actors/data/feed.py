"""From rows of a data set to what the actors and the learner eat: permits and demonstrations."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from actors.data.stream import PromptStream
from actors.data.tables import can_be_imitated, demonstration, question
from cluster.messages import Permit
from configs.errors import InputError
from configs.schema import RunConfig
from learner.batch import Demonstrations, pad
from learner.grpo import token_weights
from learner.policy.chat import prompt_ids
from learner.policy.tokenizer import Tokenizer


class PermitFeed:
    """Permits of the training stream, in the stream's order.

    `first_open`: the first prompt that the run has not used up; the stream goes on with it.
    """

    def __init__(
        self,
        table: pa.Table,
        tokenizer: Tokenizer,
        config: RunConfig,
        first_open: int,
    ):
        self._table, self._tokenizer, self._config = table, tokenizer, config
        self._stream = PromptStream(table.num_rows, config.run.seed, first_open)
        self._asked: dict[int, Permit] = {}  # those that may be asked for again

    def permits(self, indices: Sequence[int], policy_version: int) -> list[Permit]:
        """For prompts to be sampled with that policy version: the next ones of the stream, or some
        that were asked for already."""
        new = sum(index >= self._stream.cursor for index in indices)
        for index, row in self._stream.take(new):
            self._asked[index] = self._permit(index, row, policy_version)
        permits = [
            replace(self._asked.get(index) or self._again(index), policy_version=policy_version)
            for index in indices
        ]
        loop = self._config.loop
        oldest = self._stream.cursor - (loop.max_staleness + 1) * loop.groups_per_step
        self._asked = {index: p for index, p in self._asked.items() if index >= oldest}
        return permits

    def _again(self, index: int) -> Permit:
        """One that was asked for long ago."""
        ((_, row),) = PromptStream(self._table.num_rows, self._config.run.seed, index).take(1)
        return self._permit(index, row, 0)

    def _permit(self, index: int, row: int, policy_version: int) -> Permit:
        asked = question(self._table, row)
        rollout = self._config.rollout
        return Permit(
            stream="train",
            index=index,
            question=asked,
            tokens=prompt_tokens(asked.prompt, self._tokenizer, self._config),
            siblings=rollout.group_size,
            temperature=rollout.temperature,
            policy_version=policy_version,
        )


def prompt_tokens(prompt: str, tokenizer: Tokenizer, config: RunConfig) -> np.ndarray:
    """[P] int32: the templated prompt."""
    return np.array(prompt_ids(prompt, tokenizer, config.data), np.int32)


def demonstration_batches(
    table: pa.Table, tokenizer: Tokenizer, config: RunConfig, done: int
) -> Iterator[Demonstrations]:
    """The cold start's batches in order, from step `done` on; for ever.

    A row's `demonstration` is imitated where the data has that column, else its trace and answer
    in the output format; rows that have neither are passed over. Demonstrations longer than the
    completion budget are cut. Raises InputError when no row has anything to imitate.
    """
    size = config.sft.batch_size
    rows = np.flatnonzero(can_be_imitated(table))
    if not len(rows):
        raise InputError(
            f"data.train = {config.data.train}: no row has a reasoning or a demonstration that a "
            "cold start could imitate; add some, or give sft.steps=0 and model.weights"
        )
    stream = PromptStream(len(rows), config.run.seed + 1, done * size)
    while True:
        chosen = [int(rows[place]) for _, place in stream.take(size)]
        yield _demonstrations([_pair(table, row, tokenizer, config) for row in chosen], config)


def _pair(
    table: pa.Table, row: int, tokenizer: Tokenizer, config: RunConfig
) -> tuple[np.ndarray, np.ndarray]:
    shown = tokenizer.encode_completion(demonstration(table, row))
    completion = np.array(shown[: config.rollout.max_new_tokens], np.int32)
    return prompt_tokens(question(table, row).prompt, tokenizer, config), completion


def _demonstrations(pairs: Sequence, config: RunConfig) -> Demonstrations:
    length = config.rollout.max_new_tokens
    mask = pad([np.ones(len(completion), np.float32) for _, completion in pairs], length)
    return Demonstrations(
        prompts=pad([prompt for prompt, _ in pairs], config.rollout.max_prompt_tokens),
        prompt_lengths=np.array([len(prompt) for prompt, _ in pairs], np.int32),
        completions=pad([completion for _, completion in pairs], length),
        weights=token_weights(mask, "token"),
    )
