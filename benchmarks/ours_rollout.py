"""Contestant: our engine in as many single-threaded processes as there are cores.

Run by `benchmarks/rollout.py`. The processes take groups from one queue, as rollout actors do.
`--bandwidth` measures instead how near a decode step comes to the memory's speed.
"""

import os

os.environ["PJRT_NPROC"] = "1"  # threads of one process; read when jax starts
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses
import multiprocessing
import queue
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.generation import (
    SIZES,
    Work,
    account,
    make_work,
    peer_arguments,
    read_weights,
    works,
)
from benchmarks.peers.tunix_grpo import CompileClock
from benchmarks.peers.work import reserve_stdout
from cluster.messages import Permit, Question
from configs.schema import ModelSection, RolloutSection
from learner.policy.endings import Budget, Endings
from learner.policy.engine import Engine
from learner.policy.model import build_model

CHUNK = 16
SLOTS = {"demo": 64, "35m": 128}
RAGGED_SLOTS = {"demo": 16, "35m": 32}
NO_MORE = None  # in a queue, for each process
NOBODY = Question("", "", "", "", "", "")
CONTEXT = multiprocessing.get_context("spawn")


def slots_of(size: str, work: Work) -> int:
    """The longest completions of ragged work are the last: fewer slots stand empty beside them.

    But the more weights there are to read for a step, the more tokens it should draw; no more of
    them than are this process's share.
    """
    ragged = work.mode.shortest < work.mode.longest
    share = max(work.siblings, work.lengths.size // (os.cpu_count() or 1))
    return min((RAGGED_SLOTS if ragged else SLOTS)[size], share)


def make_engine(size: str, work: Work, weights, slots: int, cache: str) -> Engine:
    sizes = dataclasses.asdict(SIZES[size])
    vocabulary = sizes.pop("vocabulary")
    model = build_model(ModelSection.model_validate(sizes), vocabulary)
    longest = work.mode.longest
    section = RolloutSection.model_validate(
        {
            "group_size": work.siblings,
            "max_prompt_tokens": work.mode.prompt,
            "max_reasoning_tokens": longest - 1,
            "max_answer_tokens": 1,
            "slots": slots,
            "chunk": CHUNK,
            "cache_dtype": cache,
        }
    )
    engine = Engine(model, section, Endings(), seed=0)
    engine.load(weights)
    return engine


def permit(work: Work, group: int) -> Permit:
    return Permit("train", group, NOBODY, work.prompts[group], work.siblings, 1.0, 0)


def budgets(work: Work, group: int) -> list[Budget]:
    return [Budget(0, int(length)) for length in work.lengths[group]]


def generate(engine: Engine, work: Work, groups) -> dict:
    """Groups of the queue until it is told that there are no more; what this process did."""
    first: list[float] = []
    queued = {"steps": 0, "dead": 0}  # while there was work that had no slot
    tokens, more, counted = 0, True, False
    start, used = time.perf_counter(), time.process_time()
    while more or engine.busy:
        before, done, after = engine.counts, engine.collect(), engine.counts
        first += [time.perf_counter() - start] * (after.begun - before.begun)
        if counted:
            queued["steps"] += after.steps - before.steps
            queued["dead"] += after.steps - before.steps - after.drawn + before.drawn
        taken = []
        while more and len(taken) < engine.room:
            # not `get_nowait`: that says that a queue is empty while another process reads from it
            group = groups.get()
            more = group is not NO_MORE
            taken += [group] if more else []
        if taken:
            engine.submit([permit(work, g) for g in taken], [budgets(work, g) for g in taken])
        counted = more or engine.unfilled < 0
        engine.decode()
        tokens += sum(len(row) for sampled in done for row in sampled.tokens)
    return {"tokens": tokens, "used": time.process_time() - used, "first": first, **queued}


def serve(size: str, work: Work, folder, cache: str, groups, ready, results) -> None:
    """A process: compile, generate a little, wait for the others, then work."""
    compiled = CompileClock()
    engine = make_engine(size, work, read_weights(folder), slots_of(size, work), cache)
    warm: queue.Queue = queue.Queue()
    for group in [*range(max(1, min(len(work.prompts), 3))), NO_MORE]:
        warm.put(group)
    generate(engine, work, warm)
    programs = compiled.programs
    ready.wait()
    result = generate(engine, work, groups)
    results.put(result | {"programs": programs, "recompiled": compiled.programs - programs})


def measure(size: str, work: Work, folder, cache: str) -> dict:
    processes = os.cpu_count() or 1
    groups, results = CONTEXT.Queue(), CONTEXT.Queue()
    ready = CONTEXT.Barrier(processes + 1)
    for group in [*range(len(work.prompts)), *[NO_MORE] * processes]:
        groups.put(group)
    arguments = (size, work, folder, cache, groups, ready, results)
    children = [CONTEXT.Process(target=serve, args=arguments) for _ in range(processes)]
    for child in children:
        child.start()
    ready.wait()
    start = time.perf_counter()
    parts = [results.get() for _ in children]
    seconds = time.perf_counter() - start
    for child in children:
        child.join()
    if sum(part["tokens"] for part in parts) != work.tokens:
        raise ValueError("tokens were lost")
    steps, dead = (sum(part[key] for part in parts) for key in ("steps", "dead"))
    first = [moment for part in parts for moment in part["first"]]
    return account(
        work,
        seconds,
        sum(part["used"] for part in parts),
        first,
        dead / max(1, steps),
        slots=slots_of(size, work),
        processes=processes,
        programs_compiled=sum(part["programs"] for part in parts),
        recompiled=sum(part["recompiled"] for part in parts),
    )


def copy_bandwidth(megabytes: int = 256) -> float:
    """Bytes read and written per second by a copy, in this process."""
    source = jnp.ones(megabytes * 2**18, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    copy(source).block_until_ready()
    return 2 * source.nbytes / best_of(5, lambda: copy(source).block_until_ready())


def best_of(times: int, call) -> float:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def bandwidth_shares(size: str, weights, cache: str) -> dict:
    """For 1, 16 and 64 slots: bytes of weights and used cache that a decode step reads, over its
    time, as a share of the speed of a copy in the same process. Prompts of 64, all slots alive."""
    speed, found = copy_bandwidth(), {}
    weight_bytes = sum(array.nbytes for array in weights.values())
    shape = SIZES[size]
    head_bytes = {
        "": 4 * shape.head_dim,
        "bfloat16": 2 * shape.head_dim,
        "int8": shape.head_dim + 4,
    }
    token_bytes = 2 * shape.layers * shape.kv_heads * head_bytes[cache]
    for slots in (1, 16, 64):
        siblings = min(8, max(2, slots))
        work = make_work(size, "even", siblings, siblings * -(-slots // siblings), 0)
        engine = make_engine(size, work, weights, max(slots, siblings), cache)
        used = slots * work.mode.longest // 2 + len(work.prompts) * work.mode.prompt
        seconds = step_seconds(engine, work, slots)
        read = weight_bytes + used * token_bytes
        found[f"{slots}_slots"] = {
            "step_s": round(seconds, 6),
            "megabytes": round(read / 2**20, 2),
            "bandwidth_share": round(read / seconds / speed, 3),
        }
    return found | {"copy_gb_per_s": round(speed / 1e9, 2)}


def step_seconds(engine: Engine, work: Work, slots: int) -> float:
    """Mean time of a decode step from the first token to the last, the best of three turns."""
    alone = slots == 1

    def turn() -> float:
        groups = [0] if alone else range(len(work.prompts))
        permits = [permit(work, group) for group in groups]
        if alone:
            permits = [dataclasses.replace(permits[0], siblings=1)]
        engine.submit(permits)
        engine.step()
        start, before = time.perf_counter(), engine.counts
        while engine.busy:
            engine.step()
        return (time.perf_counter() - start) / (engine.counts.steps - before.steps) * engine.slots

    return min(turn() for _ in range(3))


def main() -> None:
    parser = peer_arguments(__doc__)
    parser.add_argument("--bandwidth", action="store_true")
    parser.add_argument("--cache-dtype", default="")
    args = parser.parse_args()
    print_account = reserve_stdout()
    if args.bandwidth:
        weights = {name: np.array(value) for name, value in read_weights(args.weights).items()}
        print_account(bandwidth_shares(args.size, weights, args.cache_dtype))
        return
    print_account(
        {
            mode: measure(args.size, work, args.weights, args.cache_dtype)
            for mode, work in works(args).items()
        }
    )


if __name__ == "__main__":
    main()
