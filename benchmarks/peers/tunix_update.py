"""Peer: the update of Tunix's `GRPOLearner` on given completions: reference, loss, optimizer.

Run by `benchmarks/learner.py`. Only sampling is left out: the cluster's `generate` hands over the
batch. What Tunix makes of it is unchanged.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TQDM_DISABLE", "1")

import time

import jax
import numpy as np
import sentencepiece as spm
from flax import nnx
from tunix.rl.rollout import base_rollout

from benchmarks.peers.given import Given, given, update_arguments
from benchmarks.peers.tunix_grpo import CompileClock, make_cluster, make_learner, watch
from benchmarks.peers.work import PAD, WORK, Step, reserve_stdout, update_account


def hand_over(batch: Given):
    """In the place of `generate`."""
    padded = np.full((WORK.samples, WORK.max_prompt_tokens), PAD, np.int32)
    for row in range(WORK.samples):
        prompt = batch.prompts[row // WORK.siblings]
        padded[row, -len(prompt) :] = prompt
    output = base_rollout.RolloutOutput(
        text=[""] * WORK.samples,
        logits=[],
        tokens=[np.array(tokens, np.int32) for tokens in batch.completions],
        left_padded_prompt_tokens=padded,
        logprobs=None,
    )
    return lambda *_, **__: output


def main() -> None:
    args = update_arguments(__doc__)
    print_account = reserve_stdout()
    compiled = CompileClock()
    batch = given(args.lengths, args.seed)
    tokenizer = spm.SentencePieceProcessor(model_file=str(args.inputs / "tokenizer.model"))
    policy, cluster = make_cluster(tokenizer, args.seed, args.steps, "even")
    cluster.generate = hand_over(batch)
    steps, programs, cpu = [Step()], [], []
    watch(cluster, steps, args.seed)
    update = cluster.update_actor

    def counted_update(*positional, **named):
        update(*positional, **named)
        programs.append(compiled.programs)
        cpu.append(time.process_time())

    cluster.update_actor = counted_update
    learner = make_learner(cluster, lambda prompts, completions, **_: batch.rewards.tolist())
    texts = [str(number) for number in range(WORK.prompts)]
    learner.train({"prompts": np.array(texts)} for _ in range(args.steps))
    print_account(
        update_account(
            [step.reference_s + step.update_s for step in steps[: args.steps]],
            cpu,
            args.warmup,
            tokens=batch.tokens,
            parameters=sum(x.size for x in jax.tree.leaves(nnx.state(policy, nnx.Param))),
            programs_compiled=compiled.programs,
            programs_compiled_after_warmup=programs[-1] - programs[args.warmup - 1],
        )
    )


if __name__ == "__main__":
    main()
