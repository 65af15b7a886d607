"""Peer: Tunix's `GRPOLearner` with its own rollout, in the project's environment.

Run by `benchmarks/grpo.py`. Timing wraps the cluster's methods and waits for their results, so
parts do not bleed into each other; what Tunix computes is unchanged.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TQDM_DISABLE", "1")

import time
from collections.abc import Iterator
from importlib.metadata import version

import jax
import numpy as np
import optax
import sentencepiece as spm
from flax import nnx
from tunix.rl import rl_cluster
from tunix.rl.grpo import grpo_learner
from tunix.rl.rl_learner import TrainingInputT
from tunix.rl.rollout import base_rollout

from benchmarks.peers import tiny_gemma
from benchmarks.peers.work import (
    WORK,
    Step,
    account,
    check_ids,
    peer_arguments,
    read_prompts,
    reserve_stdout,
    reward,
)


class CompileClock:
    """Seconds and programs XLA compiled in this process."""

    def __init__(self):
        self.seconds, self.programs = 0.0, 0
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            self.seconds += duration_secs
            self.programs += 1


def cluster_config(mesh: jax.sharding.Mesh, steps: int, lengths: str):
    optimizer = optax.chain(
        optax.clip_by_global_norm(WORK.max_grad_norm),
        optax.adamw(WORK.learning_rate, b1=WORK.adam_b1, b2=WORK.adam_b2, weight_decay=0.0),
    )
    # An id outside the vocabulary is never drawn; an empty list would mean the tokenizer's <eos>.
    stop_ids = WORK.stop_ids(lengths) or [WORK.vocabulary]
    roles = (rl_cluster.Role.ACTOR, rl_cluster.Role.REFERENCE, rl_cluster.Role.ROLLOUT)
    return rl_cluster.ClusterConfig(
        role_to_mesh=dict.fromkeys(roles, mesh),
        rollout_engine="vanilla",
        offload_to_cpu=False,
        training_config=rl_cluster.RLTrainingConfig(
            actor_optimizer=optimizer,
            eval_every_n_steps=10**9,
            max_steps=steps,
            mini_batch_size=WORK.prompts,
            train_micro_batch_size=WORK.prompts,
        ),
        rollout_config=base_rollout.RolloutConfig(
            max_tokens_to_generate=WORK.max_new_tokens,
            max_prompt_length=WORK.max_prompt_tokens,
            kv_cache_size=WORK.max_prompt_tokens + WORK.max_new_tokens,
            temperature=WORK.temperature,
            top_p=1.0,  # None would decode greedily
            top_k=None,
            eos_tokens=stop_ids,
        ),
    )


def watch(cluster: rl_cluster.RLCluster, steps: list[Step], seed: int) -> None:
    """Fill the last of `steps` from the cluster's calls; a finished update opens the next one."""
    generate, reference = cluster.generate, cluster.get_ref_per_token_logps
    update = cluster.update_actor
    rollout_config = cluster.cluster_config.rollout_config
    assert isinstance(rollout_config, base_rollout.RolloutConfig)
    began = time.perf_counter()

    def timed_generate(*args, **kwargs):
        # Without a seed of its own each step would draw the same noise again.
        rollout_config.seed = jax.random.PRNGKey(seed * 100_003 + len(steps))
        start = time.perf_counter()
        output = generate(*args, **kwargs)
        steps[-1].generate_s = time.perf_counter() - start
        # Tunix cuts the stop id off; it was drawn all the same.
        steps[-1].lengths = [min(len(ids) + 1, WORK.max_new_tokens) for ids in output.tokens]
        return output

    def timed_reference(*args, **kwargs):
        start = time.perf_counter()
        logprobs = jax.block_until_ready(reference(*args, **kwargs))
        steps[-1].reference_s = time.perf_counter() - start
        return logprobs

    def timed_update(*args, **kwargs):
        nonlocal began
        start = time.perf_counter()
        update(*args, **kwargs)
        jax.block_until_ready(nnx.state(cluster.actor_trainer.model, nnx.Param))
        now = time.perf_counter()
        steps[-1].update_s, steps[-1].wall_s = now - start, now - began
        began = now
        steps.append(Step())

    cluster.generate = timed_generate
    cluster.get_ref_per_token_logps = timed_reference
    cluster.update_actor = timed_update


def batches(prompts: list[dict], steps: int) -> Iterator[TrainingInputT]:
    texts = [row["prompt"] for row in prompts]
    for i in range(steps):
        first = i * WORK.prompts
        yield {"prompts": np.array(texts[first : first + WORK.prompts])}


def make_cluster(tokenizer, seed: int, steps: int, lengths: str):
    """A random policy, and a cluster that trains it against itself."""
    # Tunix fails on the Explicit axes that jax.make_mesh gives by default.
    auto = (jax.sharding.AxisType.Auto,) * 2
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=auto, devices=jax.devices()[:1])
    policy = tiny_gemma.build(mesh, seed)
    cluster = rl_cluster.RLCluster(
        actor=policy,
        reference=tiny_gemma.build(mesh, seed),
        tokenizer=tokenizer,
        cluster_config=cluster_config(mesh, steps, lengths),
    )
    return policy, cluster


def make_learner(cluster, reward_fn):
    return grpo_learner.GRPOLearner(
        rl_cluster=cluster,
        algo_config=grpo_learner.GRPOConfig(
            num_generations=WORK.siblings,
            num_iterations=1,
            beta=WORK.kl_coefficient,
            kl_loss_mode="low_var_kl",  # the estimator that TRL uses
            epsilon=WORK.clip,
        ),
        reward_fns=reward_fn,
    )


def main() -> None:
    args = peer_arguments(__doc__)
    print_account = reserve_stdout()
    compiled = CompileClock()
    prompts = read_prompts(args.inputs)
    tokenizer = spm.SentencePieceProcessor(model_file=str(args.inputs / "tokenizer.model"))
    check_ids(prompts, [[tokenizer.bos_id(), *tokenizer.encode(p["prompt"])] for p in prompts])
    policy, cluster = make_cluster(tokenizer, args.seed, args.steps, args.lengths)
    steps = [Step()]
    watch(cluster, steps, args.seed)
    learner = make_learner(cluster, lambda prompts, completions, **_: reward(completions))
    learner.train(batches(prompts, args.steps))
    print_account(
        account(
            steps[: args.steps],
            args.warmup,
            parameters=sum(x.size for x in jax.tree.leaves(nnx.state(policy, nnx.Param))),
            versions={p: version(p) for p in ("google-tunix", "jax", "flax", "optax")},
            compile_s=round(compiled.seconds, 2),
            programs_compiled=compiled.programs,
        )
    )


if __name__ == "__main__":
    main()
