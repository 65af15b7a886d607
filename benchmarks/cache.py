"""What a cache of fewer bits takes, and what it does to log-probabilities: `rollout.cache_dtype`.

  python benchmarks/cache.py runs/demo

The last policy of a run draws completions for the prompts of its last stored steps, once for each
kind of cache, and the trainer's forward pass reads them. "nats_mean", "nats_most": how far the
log-probabilities of the tokens that were drawn are apart; the learner's sentinel has its band
(`learner.sentinel_band`) around the mean. One thread decodes. Ratios: the bytes of the cache that
is kept as it was computed over those of the others; their tokens per processor second over its.

The last line of stdout is one JSON object, written to --out too.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ["PJRT_NPROC"] = "1"  # threads; read when jax starts
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

from actors.stopping import endings_of
from benchmarks import race
from cluster.messages import Permit
from configs.errors import InputError
from configs.load import load
from configs.run_folder import RunFolder
from configs.schema import RunConfig
from learner.batch import Demonstrations, pad
from learner.export import chosen_step, read_params
from learner.policy.engine import Engine, Sampled
from learner.policy.logprobs import completion_logprobs
from learner.policy.model import Params, PolicyModel, build_model
from learner.policy.room import room_of
from learner.policy.tokenizer import load_tokenizer
from learner.stored import groups_of, rollout_files, stored_steps

KINDS = {"as_computed": "", "bfloat16": "bfloat16", "int8": "int8"}
STEPS = 10  # whose prompts are asked again


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a run that took steps")
    parser.add_argument("--out", type=Path, help="file for the JSON object")
    args = parser.parse_args()
    return race.contest(lambda: measured(RunFolder(args.run.absolute())), args.out)


def measured(folder: RunFolder) -> tuple[dict, list[str]]:
    """The JSON object, and the lines of a table. Raises InputError for what is no such run."""
    config, tokenizer = load(folder.config_file), load_tokenizer(folder.path)
    if config.lora.rank:
        raise InputError(
            f"{folder.path}: the policy is an adapter; measure a run without lora.rank"
        )
    step = chosen_step(folder.checkpoints, "last")
    model = build_model(config.model, tokenizer.vocabulary)
    params = read_params(folder.checkpoints, step)
    permits = last_permits(folder, step, config.rollout.temperature)
    if not permits:
        raise InputError(f"{folder.path}: no steps are stored before its last checkpoint, {step}")
    ours = {}
    for name, dtype in KINDS.items():
        section = config.rollout.model_copy(update={"cache_dtype": dtype})
        engine = Engine(model, section, endings_of(config, tokenizer), config.run.seed)
        engine.load(params)
        draw(engine, permits[:1])
        used = time.process_time()
        sampled = draw(engine, permits)
        used = time.process_time() - used
        tokens = sum(len(row) for one in sampled for row in one.tokens)
        ours[name] = {
            "cache_mb": round(room_of(model, section).cache / 2**20, 3),
            "tokens_per_cpu_s": round(tokens / used, 1),
            "tokens": tokens,
            **differences(model, params, config, sampled),
        }
        race.say(f"{name:<12}{ours[name]}")
    return result(ours, step), []


def last_permits(folder: RunFolder, step: int, temperature: float) -> list[Permit]:
    """Of the prompts of the steps up to this one; the temperature is not stored with them."""
    steps = range(max(0, step - STEPS), step)
    return [
        replace(group.rollout.permit, temperature=temperature)
        for path in rollout_files(folder.rollouts, steps)
        for number, rows in stored_steps(path)
        if number in steps
        for group in groups_of(rows)
    ]


def draw(engine: Engine, permits: Sequence[Permit]) -> list[Sampled]:
    waiting, done = list(permits), []
    while waiting or engine.busy:
        done += engine.collect()
        room = engine.room
        engine.submit(waiting[:room])
        waiting = waiting[room:]
        engine.decode()
    return done


def differences(
    model: PolicyModel, params: Params, config: RunConfig, sampled: Sequence[Sampled]
) -> dict[str, float]:
    """Of the log-probabilities of all tokens, group by group, in nats."""
    temperature, chunk = config.rollout.temperature, config.learner.logits_chunk

    @jax.jit
    def reread(params, rows):
        return completion_logprobs(model, params, rows, temperature, chunk)[0]

    found = []
    for one in sampled:
        lengths = [len(row) for row in one.tokens]
        mask = pad([np.ones(n, np.float32) for n in lengths], config.rollout.max_new_tokens)
        prompts = [one.permit.tokens] * len(lengths)
        rows = Demonstrations(
            pad(prompts, config.rollout.max_prompt_tokens),
            np.array([len(prompt) for prompt in prompts]),
            pad(one.tokens, config.rollout.max_new_tokens),
            mask,
        )
        theirs = np.asarray(reread(params, rows))
        found.append(np.abs(theirs[mask > 0] - np.concatenate(one.logprobs)))
    gaps = np.concatenate(found)
    return {"nats_mean": float(f"{gaps.mean():.3g}"), "nats_most": float(f"{gaps.max():.3g}")}


def result(ours: dict[str, dict], step: int) -> dict:
    base = ours["as_computed"]
    ratios = {}
    for name in ("bfloat16", "int8"):
        ratios[f"cache_bytes_{name}"] = round(base["cache_mb"] / ours[name]["cache_mb"], 3)
        ratios[f"speed_{name}"] = round(
            ours[name]["tokens_per_cpu_s"] / base["tokens_per_cpu_s"], 3
        )
    return {
        "benchmark": "cache",
        "step": step,
        "ours": ours,
        "peers": {},
        "ratios": ratios,
        "environment": race.environment(),
    }


if __name__ == "__main__":
    sys.exit(main())
