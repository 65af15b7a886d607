"""What one device holds during an update of Gemma2-2B, from the compiler's own analysis.

  python benchmarks/memory.py [CONFIG.toml] [section.key=value ...]

Compiles the update of a configuration, by default configs/gemma2_2b_v5e8.toml (full fine-tuning,
4 x 4 completions of up to 512 tokens), for 8 virtual CPU devices. Needs no weights and some
minutes. The last line is one JSON object, in GB of 10^9 bytes: "arguments" are parameters, moments
and reference, "temporary" all that is alive besides at the worst moment; the new state takes the
place of the old one. "policies" lie beside the program: the versions that permits may still name.
"largest_scores" is the largest array with a vocabulary axis that is no parameter's or gradient's:
words of the vocabulary, and how many slots it holds.
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from configs.load import load
from configs.schema import RunConfig
from learner.footprint import footprint
from learner.pack import Packed, PackedShape, shape_of
from learner.policy.lora import Trained
from learner.policy.model import build_model
from learner.policy.sharding import PACKED_ROWS, make_mesh, row_parts
from learner.step import abstract_state, grpo_optimizer, make_grpo_step

DEVICES = 8
VOCABULARY = 256_000
CHIP_GB = 16.0


def abstract_batch(shape: PackedShape, mesh) -> Packed:
    """Shapes and places of a packed batch."""
    rows = NamedSharding(mesh, PACKED_ROWS)
    everywhere = NamedSharding(mesh, P())
    whole = (shape.micro_batches, shape.rows, shape.length)
    real = {"sampled_logprobs", "advantages", "weights"}
    shapes = {"scored": whole[:1], "count": ()}
    return Packed._make(
        jax.ShapeDtypeStruct(
            shapes.get(name, whole),
            jnp.float32 if name in real else jnp.int32,
            sharding=everywhere if name in shapes else rows,
        )
        for name in Packed._fields
    )


def lower_step(config: RunConfig, vocabulary: int):
    """The update, ready to be compiled, its model, mesh and the shape of its batches."""
    mesh = make_mesh(config.learner)
    model = build_model(config.model, vocabulary, config.learner.remat)
    optimizer = grpo_optimizer(config.learner, config.loop.steps)
    reference = abstract_state(model, optimizer, mesh).params
    state = abstract_state(Trained(model, config.lora), optimizer, mesh)
    shape = shape_of(config, model, row_parts(mesh))
    step: Any = make_grpo_step(model, config, optimizer, mesh)
    return step.lower(state, reference, abstract_batch(shape, mesh)), model, mesh, shape


def largest_scores(program: str, words: int, widths: set[int]) -> int:
    """Elements of the largest array with an axis of so many words, parameters left out."""
    sizes = [0]
    for text in set(re.findall(r"(?:f32|bf16)\[([\d,]+)\]", program)):
        axes = [int(axis) for axis in text.split(",")]
        if words in axes and not widths & set(axes):
            size = 1
            for axis in axes:
                size *= axis
            sizes.append(size)
    return max(sizes)


def main() -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", DEVICES)
    files = [name for name in sys.argv[1:] if "=" not in name]
    overrides = [name for name in sys.argv[1:] if "=" in name]
    path = Path(files[0]) if files else Path("configs/gemma2_2b_v5e8.toml")
    config = load(path, overrides)
    start = time.perf_counter()
    lowered, model, mesh, shape = lower_step(config, VOCABULARY)
    compiled = lowered.compile()
    memory = compiled.memory_analysis()
    arguments, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    total = arguments + temporary + memory.output_size_in_bytes - memory.alias_size_in_bytes
    policies = footprint(model, config, mesh.shape).policies
    words = VOCABULARY // mesh.shape["tp"] // mesh.shape["fsdp"]
    width = model.architecture.width
    widths = {width, width // mesh.shape["fsdp"]}
    result = {
        "benchmark": "memory",
        "mesh": dict(mesh.shape),
        "micro_batch": [shape.rows, shape.length],
        "arguments": round(arguments / 1e9, 2),
        "temporary": round(temporary / 1e9, 2),
        "peak": round(total / 1e9, 2),
        "policies": round(policies / 1e9, 2),
        "fits_16_gb": total + policies < CHIP_GB * 1e9,
        "largest_scores": [words, largest_scores(compiled.as_text(), words, widths) // words],
        "compile_s": round(time.perf_counter() - start, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
