"""One update on the same batch: this learner against Tunix's GRPOLearner and TRL's GRPOTrainer.

  python benchmarks/learner.py                        three rounds of each, in turn
  python benchmarks/learner.py --sizes demo --rounds 1
  python benchmarks/learner.py --model gemma2-2b      ours alone, on an accelerator: gemma2_2b.py

An update goes from tokens and rewards to new parameters: the reference's log-probabilities, loss,
gradient and optimizer. Sizes (benchmarks/peers/work.py): "demo", the model of configs/demo.toml
with 8 x 8 completions of 1 to 24 tokens; "35m", 35M parameters with a vocabulary of 8,192 and
4 x 4 completions of 1 to 128 tokens; "64k", for memory, a vocabulary of 65,536. Each turn is a
fresh process; its first steps are left out. TRL has an environment of its own, as in
benchmarks/grpo.py.

A table goes to stderr; the last line of stdout is one JSON object, written to --out too. Ratios of
time and memory are ours to the peer's: below 1 means that Showwork needs less. "gemm_share" is of
full rows at 35M parameters: operations that the update needs, per second, as a share of those of a
dense float32 product in the same process; what that update is made of (`benchmarks/parts.py`) is
printed with the table. "update_cpu_s" is processor time, which other load on the machine disturbs
less than "update_s". Turns beside which other processes used the machine are
listed under "disturbed": their ratios of time are not to be quoted.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import race
from benchmarks.grpo import Contestant, prepare

LOGS = race.ROOT / ".bench" / "logs"
MODULES = {
    "ours": "benchmarks.ours_update",
    "tunix": "benchmarks.peers.tunix_update",
    "trl": "benchmarks.peers.trl_update",
}
PEERS = {"trl": Contestant("", ("torch==2.13.0", "trl==1.16.0"))}  # environments of their own
RACES = {
    "demo": ("ours", "tunix", "trl"),
    "35m": ("ours", "tunix", "trl"),
    "64k": ("ours", "tunix"),
}
COLUMNS = (("update s", "update_s", 4), ("cpu s", "update_cpu_s", 4), ("MB", "peak_rss_mb", 0))


def main() -> int:
    args = parse()
    if args.model:
        from benchmarks.gemma2_2b import update

        return race.contest(lambda: (update(args.settings), []), args.out)

    def play():
        found, missing = prepare(PEERS, list(PEERS), args.skip_missing)
        results, full = run(args, found.get("trl"))
        result = verdict(results, full, missing) | {"settings": {"rounds": args.rounds}}
        return result, table(results) + profile(full)

    return race.contest(play, args.out)


def parse() -> argparse.Namespace:
    parser = race.parser(__doc__, 3, "TRL")
    parser.add_argument("--steps", type=int, default=8, help="of each turn, two left out")
    parser.add_argument("--sizes", default=",".join(RACES), help="of demo, 35m, 64k")
    args = race.parse(parser)
    args.sizes = args.sizes.split(",")
    if args.rounds < 1 or args.steps < 3 or not set(args.sizes) <= set(RACES):
        parser.error("--rounds from 1, --steps from 3, --sizes among " + ",".join(RACES))
    return args


def run(args: argparse.Namespace, trl_python: str | None):
    """Accounts by size and contestant, and ours of full rows at 35M parameters."""
    results, full = {}, None
    with tempfile.TemporaryDirectory(prefix="race-") as scratch:
        for size in args.sizes:
            inputs = Path(scratch) / size
            write = f"from benchmarks.inputs import *; write_inputs(Path({str(inputs)!r}), 0)"
            environment = {"BENCHMARK_WORK": size}
            race.run_child([sys.executable, "-c", write], LOGS / "inputs.log", environment)
            names = [name for name in RACES[size] if name != "trl" or trl_python]
            accounts: dict[str, list[dict]] = {name: [] for name in names}
            for number, name in race.turns(names, args.rounds):
                python = trl_python if name == "trl" else sys.executable
                accounts[name].append(turn(args, size, name, str(python), inputs, number))
            results[size] = {name: race.summarize(rounds) for name, rounds in accounts.items()}
            if size == "35m":
                account = turn(args, size, "ours", sys.executable, inputs, 0, "--lengths=full")
                full = race.summarize([account])
    return results, full


def turn(args, size: str, name: str, python: str, inputs: Path, number: int, *extra: str) -> dict:
    command = [python, "-m", MODULES[name], f"--inputs={inputs}", f"--steps={args.steps}"]
    log = LOGS / f"learner-{size}-{name}-{number}.log"
    before = race.busy_cores()
    output = race.run_child([*command, f"--seed={number}", *extra], log, {"BENCHMARK_WORK": size})
    account = race.last_json(output) | {"other_cores": [before, race.busy_cores()]}
    race.say(f"{size:<6}{name:<7}{account['update_s']:.4f} s {account['update_cpu_s']:.4f} cpu s")
    return account


def verdict(results: dict, full: dict | None, missing: dict[str, str]) -> dict:
    """The JSON object. What did not run is null, or says why under "missing"."""
    ratios: dict[str, float | None] = {}
    for key in ("update_s", "update_cpu_s"):
        for size, ending in (("demo", ""), ("35m", "_35m")):
            for peer in ("tunix", "trl"):
                name = f"{key.removesuffix('_s')}_vs_{peer}{ending}"
                ratios[name] = share(results.get(size, {}), peer, key)
    ratios["peak_memory_vs_tunix_64k"] = share(results.get("64k", {}), "tunix", "peak_rss_mb")
    ratios["gemm_share"] = full["gemm_share"]["median"] if full else None
    return {
        "benchmark": "learner",
        "ours": {size: by_name["ours"] for size, by_name in results.items()} | {"35m_full": full},
        "peers": {
            size: {name: summary for name, summary in by_name.items() if name != "ours"}
            for size, by_name in results.items()
        }
        | ({"missing": missing} if missing else {}),
        "ratios": ratios,
        "disturbed": [
            f"{size} {name} {number + 1}"
            for size, by_name in results.items()
            for name, summary in by_name.items()
            for number, account in enumerate(summary["rounds"])
            if race.is_disturbed(account)
        ],
        "environment": race.environment(),
    }


def share(accounts: dict, peer: str, key: str) -> float | None:
    """Ours to the peer's, of medians."""
    if peer not in accounts:
        return None
    return round(accounts["ours"][key]["median"] / accounts[peer][key]["median"], 3)


def table(results: dict) -> list[str]:
    lines = ["\n" + " " * 14 + "".join(f"{head:>12}" for head, _, _ in COLUMNS)]
    for size, by_name in results.items():
        for name, summary in by_name.items():
            cells = "".join(f"{summary[key]['median']:>12.{n}f}" for _, key, n in COLUMNS)
            lines.append(f"{size:<7}{name:<7}{cells}")
    return lines


def profile(full: dict | None) -> list[str]:
    """What the update of full rows is made of."""
    if not full:
        return []
    account = full["rounds"][0]
    update = account["update_s"]
    rest = update - sum(account["parts"].values())
    parts = account["parts"] | {"rest_s": rest}
    lines = [f"\n35m, full rows: {update:.3f} s, gemm_share {account['gemm_share']:.3f}"]
    return lines + [f"{n:<24}{s:>8.3f} s {s / update:>6.0%}" for n, s in parts.items()]


if __name__ == "__main__":
    sys.exit(main())
