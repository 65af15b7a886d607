"""Contestant: one `LearnerHost.train_step` on a given batch, from arrays to new parameters.

Run by `benchmarks/learner.py`. Also measures `gemm_share`: the floating-point operations that the
update needs, per second, as a share of those of a dense float32 product in the same process; with
`--lengths full` what the update is made of, too (`benchmarks/parts.py`).
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.parts import update_parts
from benchmarks.peers.given import Given, given, update_arguments
from benchmarks.peers.work import WORK, reserve_stdout, update_account
from configs.schema import RunConfig
from learner.batch import Batch, pad, token_weights
from learner.grpo import group_advantages
from learner.host import LearnerHost
from learner.pack import pack, shape_of
from learner.policy.model import PolicyModel
from learner.step import grpo_optimizer

PRODUCT = 2048  # rows and columns of the dense product


def settings(seed: int) -> RunConfig:
    """The race's work in the words of our configuration."""
    return RunConfig.model_validate(
        {
            "run": {"seed": seed},
            "model": {
                "layers": WORK.layers,
                "embed_dim": WORK.embed_dim,
                "hidden_dim": WORK.hidden_dim,
                "heads": WORK.heads,
                "kv_heads": WORK.kv_heads,
                "head_dim": WORK.head_dim,
                "sliding_window": WORK.sliding_window,
            },
            "rollout": {
                "group_size": WORK.siblings,
                "temperature": WORK.temperature,
                "max_prompt_tokens": WORK.max_prompt_tokens,
                "max_reasoning_tokens": WORK.max_new_tokens - 8,
                "max_answer_tokens": 8,
            },
            "loop": {"groups_per_step": WORK.prompts, "max_staleness": 0},
            "grpo": {"loss_mean": "sequence", "kl_coefficient": WORK.kl_coefficient},
            "learner": {
                "learning_rate": WORK.learning_rate,
                "final_learning_rate": WORK.learning_rate,
                "warmup_steps": 0,
                "adam_b1": WORK.adam_b1,
                "adam_b2": WORK.adam_b2,
                "max_grad_norm": WORK.max_grad_norm,
                "sentinel_every": 0,  # no engine sampled these tokens
            },
        }
    )


def arrays(batch: Given, seed: int) -> Batch:
    """The batch as the driver builds it. Sampled log-probabilities are near those of a policy that
    draws evenly, as the fresh one does."""
    rng = np.random.default_rng(seed)
    lengths = [len(tokens) for tokens in batch.completions]
    mask_BC = pad([np.ones(length, np.float32) for length in lengths], WORK.max_new_tokens)
    even = -np.log(WORK.vocabulary)
    logprobs = [rng.normal(even, 0.05, length).astype(np.float32) for length in lengths]
    rewards_PG = batch.rewards.reshape(WORK.prompts, WORK.siblings)
    advantages_PG = group_advantages(rewards_PG, np.ones_like(rewards_PG, bool), True)
    completions = [np.array(tokens, np.int32) for tokens in batch.completions]
    prompts = [np.array(tokens, np.int32) for tokens in batch.prompts]
    return Batch(
        prompts=pad(prompts, WORK.max_prompt_tokens),
        prompt_lengths=np.array([len(tokens) for tokens in prompts], np.int32),
        completions=pad(completions, WORK.max_new_tokens),
        sampled_logprobs=pad(logprobs, WORK.max_new_tokens),
        advantages=advantages_PG.reshape(-1).astype(np.float32),
        weights=token_weights(mask_BC, "sequence"),
    )


def needed_flops(model: PolicyModel, batch: Given) -> float:
    """Of the products of one update: policy forward and twice as much backward, reference forward.

    Each prompt is read once; only completion tokens are projected onto the vocabulary; a token
    attends to those before it.
    """
    sizes = {name: x.size for name, x in model.abstract_params().items()}
    matrices = sum(size for name, size in sizes.items() if name.startswith("layers."))
    completion_tokens = sum(map(len, batch.completions))
    seen = sum(_triangle(0, len(prompt)) for prompt in batch.prompts)
    for row, completion in enumerate(batch.completions):
        seen += _triangle(len(batch.prompts[row // WORK.siblings]), len(completion))
    forward = (
        2 * matrices * batch.tokens
        + 2 * WORK.embed_dim * WORK.vocabulary * completion_tokens
        + 4 * WORK.layers * WORK.heads * WORK.head_dim * seen
    )
    return 4.0 * forward


def _triangle(before: int, tokens: int) -> int:
    return tokens * before + tokens * (tokens + 1) // 2


def product_flops_per_s(repeats: int = 7) -> float:
    """Of the best of several dense float32 products."""
    matrix = jnp.ones((PRODUCT, PRODUCT))
    product = jax.jit(jnp.dot)
    product(matrix, matrix).block_until_ready()
    return 2 * PRODUCT**3 / min(timed(lambda: product(matrix, matrix)) for _ in range(repeats))


def timed(call) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def main() -> None:
    args = update_arguments(__doc__)
    print_account = reserve_stdout()
    given_batch = given(args.lengths, args.seed)
    batch = arrays(given_batch, args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        host = LearnerHost(0, 1, settings(args.seed), Path(scratch), WORK.vocabulary)
        created = host.create_state()
        host.begin_grpo()
        seconds, cpu, compiled = [], [], []
        for _ in range(args.steps):
            start = time.perf_counter()
            metrics = host.train_step(batch)
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time())
            compiled.append(metrics["compiled"])
        host.close()
    account = update_account(
        seconds,
        cpu,
        args.warmup,
        tokens=given_batch.tokens,
        parameters=created["parameters"],
        programs_compiled=sum(compiled),
        programs_compiled_after_warmup=sum(compiled[args.warmup :]),
    )
    # after the account: its matrices are no part of the peak
    rate = product_flops_per_s()
    needed = needed_flops(host.model, given_batch)
    print_account(
        account
        | {
            "gemm_gflops": round(rate / 1e9, 1),
            "gemm_share": round(needed / account["update_s"] / rate, 3),
        }
        | ({"parts": parts(host, batch)} if args.lengths == "full" else {})
    )


def parts(host: LearnerHost, batch: Batch) -> dict[str, float]:
    shape = shape_of(host.config, host.model, parts=1)
    optimizer = grpo_optimizer(host.config.learner, host.config.loop.steps)
    count = int(pack(batch, shape).count)
    found = update_parts(host.model, optimizer, host.state, shape, count)
    return {name: round(value, 4) for name, value in found.items()}


if __name__ == "__main__":
    main()
