"""Gemma2 2B with random weights on this machine's accelerator: one update, and generation.

  python benchmarks/learner.py --model gemma2-2b [section.key=value ...]
  python benchmarks/rollout.py --model gemma2-2b [section.key=value ...]

Both take configs/gemma2_2b_gpu.toml as it is but for its files; `lora.rank=16` trains an adapter.
All rows are full. "mfu": operations that the update needs (what is computed again to save memory
does not count) per second, as a share of the chip's published peak. "bandwidth_share": bytes of
weights and of the used cache that a decode step has to read, over its time, as a share of the
memory's published speed. Both are null on a device whose figures are not in `learner.budget`.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import race
from cluster.messages import Permit, Question
from configs.load import load
from configs.schema import RunConfig
from learner.batch import Batch, token_weights
from learner.budget import DEVICES, Device, budget_of
from learner.initial import initial_params
from learner.pack import pack, shape_of
from learner.policy.endings import Endings
from learner.policy.engine import Engine
from learner.policy.lora import Trained
from learner.policy.model import build_model
from learner.policy.sharding import PACKED_ROWS, make_mesh, place, row_parts
from learner.step import abstract_state, fresh_state, grpo_optimizer, make_grpo_step

VOCABULARY = 256_000
CONFIG = Path("configs") / "gemma2_2b_gpu.toml"
KINDS = {"TPU v5 lite": "v5e", "H100": "h100"}  # how jax calls them
WARMUP, STEPS = 2, 5


def configured(settings: Sequence[str]) -> RunConfig:
    return load(race.ROOT / CONFIG, ["model.weights=", "model.tokenizer=", *settings])


def this_device() -> Device | None:
    kind = jax.devices()[0].device_kind
    return next((DEVICES[name] for part, name in KINDS.items() if part in kind), None)


def update(settings: Sequence[str]) -> dict:
    """The JSON object of one update: from tokens and advantages to new parameters."""
    config = configured(settings)
    model = build_model(config.model, VOCABULARY, config.learner.remat)
    mesh, optimizer = make_mesh(config.learner), grpo_optimizer(config.learner, config.loop.steps)
    whole = abstract_state(model, optimizer, mesh).params
    reference = initial_params(model, config, whole)
    trained = Trained(model, config.lora)
    state = fresh_state(trained, optimizer, mesh, reference, config.run.seed)
    packed = pack(_full_batch(config), shape_of(config, model, row_parts(mesh)))
    rows = place(packed, mesh, PACKED_ROWS)
    step = make_grpo_step(model, config, optimizer, mesh)
    seconds = []
    for _ in range(WARMUP + STEPS):
        start = time.perf_counter()
        state, metrics = step(state, reference, rows)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - start)
        race.say(f"update {len(seconds)}: {seconds[-1]:.3f} s")
    median = statistics.median(seconds[WARMUP:])
    # passes that are made again to save memory are no part of what is needed
    needed = config.model_copy(
        update={"learner": config.learner.model_copy(update={"remat": "none"})}
    )
    flops = budget_of(model, needed, mesh.size).learner_flops
    peak = this_device()
    ours = {
        "update_s": round(median, 4),
        "first_s": round(seconds[0], 1),
        "tokens_per_s": round(int((packed.prompts > 0).sum()) / median, 1),
        "tflops_needed": round(flops / 1e12, 2),
        "peak_gb": _peak_gb(),
        "sound": bool(np.all(metrics["sound"])),
    }
    return _result("learner", config, ours, {
        "mfu": round(flops / median / (mesh.size * peak.flops), 3) if peak else None
    })  # fmt: skip


def generation(settings: Sequence[str]) -> dict:
    """The JSON object of generation: twice as many completions as there are slots, all full."""
    config = configured(settings)
    section, model = config.rollout, build_model(config.model, VOCABULARY)
    engine = Engine(model, section, Endings(), config.run.seed)
    weights = jax.jit(model.init)(config.run.seed)
    engine.load(weights)
    del weights
    groups = -(-2 * section.slots // section.group_size)
    _sample(engine, config, range(1))
    before, start = engine.counts, time.perf_counter()
    tokens = _sample(engine, config, range(1, 1 + groups))
    seconds = time.perf_counter() - start
    # all slots are alive but for the last of them
    step_s = seconds / (engine.counts.steps - before.steps) * section.slots
    found = budget_of(model, config, 1)
    like = model.architecture
    item = jnp.dtype(section.cache_dtype or config.model.compute_dtype).itemsize
    token_bytes = 2 * like.layers * like.kv_heads * like.head_dim * item
    prompts = section.slots / section.group_size * section.max_prompt_tokens
    used = token_bytes * (prompts + section.slots * section.max_new_tokens / 2)
    peak = this_device()
    ours = {
        "tokens_per_s": round(tokens / seconds, 1),
        "decode_step_s": round(step_s, 5),
        "slots": section.slots,
        "read_gb": round((found.weight_bytes + used) / 1e9, 3),
        "peak_gb": _peak_gb(),
    }
    share = (found.weight_bytes + used) / step_s
    return _result("rollout", config, ours, {
        "bandwidth_share": round(share / peak.bandwidth, 3) if peak else None
    })  # fmt: skip


def _full_batch(config: RunConfig) -> Batch:
    rng = np.random.default_rng(config.run.seed)
    section, prompts = config.rollout, config.trained_groups
    rows, length = prompts * section.group_size, section.max_new_tokens
    return Batch(
        prompts=rng.integers(4, VOCABULARY, (prompts, section.max_prompt_tokens), np.int32),
        prompt_lengths=np.full(prompts, section.max_prompt_tokens, np.int32),
        completions=rng.integers(4, VOCABULARY, (rows, length), np.int32),
        sampled_logprobs=np.full((rows, length), -np.log(VOCABULARY), np.float32),
        advantages=rng.standard_normal(rows, np.float32),
        weights=token_weights(np.ones((rows, length), np.float32), config.grpo.loss_mean),
    )


def _sample(engine: Engine, config: RunConfig, groups: range) -> int:
    """How many tokens were drawn for one prompt a group."""
    section, tokens = config.rollout, 0
    rng = np.random.default_rng(0)
    waiting = [
        Permit("train", n, Question("", "", "", "", "", ""),
               rng.integers(4, VOCABULARY, section.max_prompt_tokens, np.int32),
               section.group_size, section.temperature, 0)
        for n in groups
    ]  # fmt: skip
    while waiting or engine.busy:
        taken, waiting = waiting[: engine.room], waiting[engine.room :]
        if taken:
            engine.submit(taken)
        tokens += sum(len(row) for sampled in engine.step() for row in sampled.tokens)
    return tokens


def _peak_gb() -> float | None:
    """Of the first device, where its allocator counts."""
    peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return round(peak / 1e9, 2) if peak else None


def _result(name: str, config: RunConfig, ours: dict, ratios: dict) -> dict:
    return {
        "benchmark": name,
        "model": config.model.preset or "as configured",
        "ours": ours,
        "peers": {},
        "ratios": ratios,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "environment": race.environment(),
    }
