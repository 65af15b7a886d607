"""The sections about generating: for training, and for an evaluation."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from configs.section import Count, Section, Share, from_list


class RolloutSection(Section):
    actors: Count = 1
    group_size: Annotated[int, Field(ge=2)] = 8
    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    max_prompt_tokens: Count = 32
    max_reasoning_tokens: Count = 16
    max_answer_tokens: Count = 8
    stop_tokens: Annotated[tuple[str, ...], BeforeValidator(from_list)] = ()
    """Pieces that end a completion besides the end of sequence, such as Gemma's <end_of_turn>."""
    stop_strings: Annotated[tuple[str, ...], BeforeValidator(from_list)] = ()
    """Texts that end a completion, such as </answer>; looked for between chunks, and what was drawn
    behind one is dropped."""
    ignore_eos: bool = False
    """Sample to the budget whatever is drawn: for measuring throughput."""
    slots: Count = 128
    """Sequences that decode together in one actor. Part of what a sample's bits depend on."""
    chunk: Count = 8
    """Tokens decoded per dispatch; finished slots are refilled between chunks."""
    threads: Count = 1
    at_reasoning_budget: Literal["go_on", "end"] = "go_on"
    """A completion that has not closed its reasoning after `max_reasoning_tokens` takes the tokens
    of the answer too, or ends there; then the answer's are counted from where reasoning closed."""
    new_weights: Literal["drained", "in_flight"] = "drained"
    """A new policy waits until nothing is in progress; or completions go on with it from the next
    chunk, and a run is not the same run bit for bit any more."""

    cache_dtype: Literal["", "bfloat16", "int8"] = ""
    """Of the keys and values that are kept; "": `model.compute_dtype`. Others take less memory and
    change log-probabilities (docs/engine.md). Part of what a sample's bits depend on."""

    tp: Count = 1
    """Devices of a host that share the weights and the cache of one actor (docs/engine.md). Part of
    what a sample's bits depend on."""

    @property
    def max_new_tokens(self) -> int:
        return self.max_reasoning_tokens + self.max_answer_tokens

    @model_validator(mode="after")
    def _group_fits(self):
        if self.slots < self.group_size:
            raise ValueError(
                f"slots = {self.slots} cannot hold one group of group_size = {self.group_size}; "
                "raise slots"
            )
        return self


class EvalSection(Section):
    rows: Annotated[int, Field(ge=0)] = 400
    """Held-out rows of the evaluation before and after; 0: no evaluation."""
    samples: Count = 1
    """Completions of each question in the sampled mode; from 2 on with pass@k and maj@k."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """The sampled mode draws from this many likeliest tokens only; 0: from all. Training always
    samples the whole distribution, which is what its objective assumes."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """... from the fewest likeliest tokens that have this probability together ..."""
    min_p: Share = 0.0
    """... and from those that are at least this share as probable as the likeliest one."""
    close_reasoning: bool = False
    """Write </reasoning><answer> for a completion that has not closed its reasoning after
    `rollout.max_reasoning_tokens`, out of the answer's tokens. Never done while training."""
