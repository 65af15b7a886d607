"""A policy small enough to compile in a second, and groups made by hand."""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import pytest

from cluster.messages import Permit, Question, RolloutGroup, ScoredGroup, Verdict
from configs.schema import RunConfig
from learner.policy.logprobs import completion_logprobs
from learner.policy.model import build_model

VOCABULARY = 36


class Rows(NamedTuple):
    """Prompt n belongs to completions n B/N to (n + 1) B/N - 1; right padded."""

    prompts: np.ndarray  # [N, P]
    prompt_lengths: np.ndarray  # [N]
    completions: np.ndarray  # [B, C]


@partial(jax.jit, static_argnums=0)
def trainer_logprobs(model, params, rows, temperature=1.0):
    """[B, C] under the trainer's forward pass: op by op it would take ten times as long."""
    return completion_logprobs(model, params, rows, temperature, chunk=64)[0]


def make_config(**sections) -> RunConfig:
    tree = {
        "model": {
            "layers": 2,
            "embed_dim": 16,
            "hidden_dim": 32,
            "heads": 4,
            "kv_heads": 2,
            "head_dim": 4,
        },
        "rollout": {
            "group_size": 4,
            "max_prompt_tokens": 8,
            "max_reasoning_tokens": 6,
            "max_answer_tokens": 4,
            "slots": 8,
            "chunk": 4,
        },
        "loop": {"groups_per_step": 2, "steps": 8},
        "learner": {"logits_chunk": 16, "learning_rate": 1e-3, "warmup_steps": 0},
        "sft": {"batch_size": 8},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}
    return RunConfig.model_validate(tree)


def make_permit(index: int, tokens=(5, 6, 7), siblings: int = 4, **fields) -> Permit:
    question = Question(str(index), "What is 1 + 2?", "1. 1 + 2 = 3", "3", "math", "number")
    defaults = {"stream": "train", "temperature": 1.0, "policy_version": 0}
    return Permit(
        index=index,
        question=question,
        tokens=np.array(tokens, np.int32),
        siblings=siblings,
        **(defaults | fields),
    )


def make_group(index: int, rewards, lengths=(3, 5, 1, 10), abstained=(), seed=0, version=0):
    """A ScoredGroup of random tokens with the given rewards and completion lengths."""
    rng = np.random.default_rng((seed, index))
    verdicts = tuple(
        Verdict.abstain("judge was down") if sibling in abstained else Verdict(reward, {})
        for sibling, reward in enumerate(rewards)
    )
    rollout = RolloutGroup(
        permit=make_permit(index, rng.integers(4, VOCABULARY, rng.integers(2, 8)), len(rewards)),
        policy_version=version,
        tokens=tuple(rng.integers(4, VOCABULARY, n).astype(np.int32) for n in lengths),
        logprobs=tuple(-rng.gamma(2.0, 0.8, n).astype(np.float32) for n in lengths),
        texts=("",) * len(rewards),
        truncated=np.zeros(len(rewards), bool),
        actor=0,
        finished_at=0.0,
    )
    return ScoredGroup(rollout, verdicts, judge=0, judge_s=0.0, finished_at=0.0)


@pytest.fixture(scope="session")
def config() -> RunConfig:
    return make_config()


@pytest.fixture(scope="session")
def model(config):
    return build_model(config.model, VOCABULARY)


@pytest.fixture(scope="session")
def params(model):
    return jax.jit(model.init)(0)
