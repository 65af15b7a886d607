"""Peer: Tunix's `Sampler`, with all cores, in the project's environment. Run by
`benchmarks/rollout.py`."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import time

import jax.numpy as jnp
from flax import nnx
from tunix.generate import sampler as tunix_sampler
from tunix.models.gemma import model as gemma

from benchmarks.peers import tiny_gemma
from benchmarks.peers.generation import (
    SIZES,
    Size,
    Work,
    peer_arguments,
    read_weights,
    static_account,
    works,
)
from benchmarks.peers.tunix_grpo import CompileClock
from benchmarks.peers.work import reserve_stdout

BATCHES = (16, 64)


class Numbers:
    """A tokenizer whose texts are ids with spaces between: the sampler takes strings only."""

    def encode(self, text: str, **_) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids, **_) -> str:
        return ""

    def bos_id(self) -> int:
        return 2

    def eos_id(self) -> int:
        return 1

    def pad_id(self) -> int:
        return 0

    def dedup_bos_ids(self, ids: list[int]) -> list[int]:
        return ids


def build(size: Size, weights) -> tuple[gemma.ModelConfig, gemma.Gemma]:
    config = tiny_gemma.config(size)
    graph, state = nnx.split(nnx.eval_shape(lambda: gemma.Gemma(config, rngs=nnx.Rngs(params=0))))
    flat = [
        (path, variable.replace(jnp.asarray(weights[".".join(map(str, path))])))
        for path, variable in nnx.to_flat_state(state)
    ]
    return config, nnx.merge(graph, nnx.from_flat_state(flat))


def measure(config: gemma.ModelConfig, model: gemma.Gemma, work: Work, sizes) -> dict:
    longest = int(work.lengths.max())
    sampler = tunix_sampler.Sampler(
        model,
        Numbers(),
        tunix_sampler.CacheConfig(
            cache_size=work.mode.prompt + longest,
            num_layers=config.num_layers,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
        ),
    )

    def turn(size: int) -> list[tuple[float, int]]:
        start, ends = time.perf_counter(), []
        for number, (prompts, steps) in enumerate(work.batches(size)):
            # the sampler puts <bos> before a prompt itself
            sampler(
                [" ".join(map(str, prompt[1:])) for prompt in prompts],
                max_generation_steps=steps,
                max_prompt_length=work.mode.prompt,
                temperature=1.0,
                top_p=1.0,  # None would decode greedily
                eos_tokens=[config.num_embed],  # an id that is never drawn: to the budget
                seed=number,
            )
            ends.append((time.perf_counter() - start, steps))
        return ends

    return static_account(work, sizes, turn)


def main() -> None:
    args = peer_arguments(__doc__).parse_args()
    print_account = reserve_stdout()
    compiled, results = CompileClock(), {}
    config, model = build(SIZES[args.size], read_weights(args.weights))
    sizes = (args.rows,) if args.rows else BATCHES
    for mode, work in works(args).items():
        before = compiled.programs
        results[mode] = measure(config, model, work, sizes)
        results[mode]["programs_compiled"] = compiled.programs - before
    print_account(results)


if __name__ == "__main__":
    main()
