"""What XLA says a configuration needs: its programs compiled for virtual devices, without weights.

    python -m benchmarks.compiled --config configs/gemma2_2b_v5e8.toml --devices 8

Prints the budget that is computed from shapes, the sharding table, and the compiled memory of a
train step, a prefill and a decode chunk. XLA:CPU keeps and fuses other things than the compiler of
an accelerator: of its figures those of arguments are exact, those of temporaries are its own.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=256_000)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    args = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    jax.config.update("jax_num_cpu_devices", args.devices)
    from configs.load import load
    from learner.budget import budget, budget_lines, sharding_lines
    from learner.policy.model import build_model

    config = load(args.config, args.overrides)
    print("\n".join(budget_lines(config, args.devices, args.vocabulary)))
    model = build_model(config.model, args.vocabulary, config.learner.remat)
    mesh = budget(config, args.devices, args.vocabulary).mesh
    print("\n".join(sharding_lines(model, mesh)), flush=True)
    result: dict[str, Any] = {"benchmark": "compiled", "config": str(args.config)}
    for name, lower in programs(config, args.vocabulary).items():
        started = time.perf_counter()
        memory = lower().compile().memory_analysis()
        result[name] = {
            "arguments_gib": round(memory.argument_size_in_bytes / 2**30, 3),
            "temporaries_gib": round(memory.temp_size_in_bytes / 2**30, 3),
            "compile_s": round(time.perf_counter() - started, 1),
        }
        print(name, result[name], flush=True)
    print(json.dumps(result))


def programs(config, vocabulary: int) -> dict[str, Callable]:
    """Each program, ready to be compiled from shapes."""
    from benchmarks.memory import lower_step
    from learner.policy.lean import lowered
    from learner.policy.model import build_model
    from learner.policy.slots import shape_of

    shape = shape_of(config.rollout, config.model.compute_dtype)

    def rollout():
        return lowered(build_model(config.model, vocabulary), shape, (1,))

    return {
        "decode": lambda: rollout().decodes[-1],
        "prefill": lambda: rollout().prefills[shape.prompt_lengths[-1]],
        "train_step": lambda: lower_step(config, vocabulary)[0],
    }


if __name__ == "__main__":
    main()
