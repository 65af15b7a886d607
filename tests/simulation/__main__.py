"""Runs seeds by hand: `uv run python -m tests.simulation --seeds 100000 [--first 0] [--trace]`."""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from tests.simulation.storm import BUGS, planted, storm


@contextmanager
def _pool(processes: int) -> Iterator[Callable]:
    """`map`, in as many processes."""
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes) as pool:
        yield pool.map


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--bug", choices=BUGS, help="plant this bug into the loop")
    parser.add_argument("--trace", action="store_true", help="of the first seed that breaks")
    args = parser.parse_args()
    started = time.perf_counter()
    seeds = range(args.first, args.first + args.seeds)
    broken, sittings, faults = {}, 0, {}
    with planted(args.bug), _pool(args.processes) as each:
        step = max(1, min(500, len(seeds) // args.processes))
        parts = [seeds[start : start + step] for start in range(0, len(seeds), step)]
        for result in each(storm, parts):
            broken |= result.broken
            sittings += result.sittings
            for kind, count in result.faults.items():
                faults[kind] = faults.get(kind, 0) + count
    seconds = round(time.perf_counter() - started, 1)
    found = {seed: what.line for seed, what in broken.items()}
    print(
        json.dumps(
            {
                "seeds": args.seeds,
                "seconds": seconds,
                "sittings": sittings,
                "faults": faults,
                "broken": found,
            }
        )
    )
    if args.trace and broken:
        print("\n".join(broken[min(broken)].trace))
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
