"""GRPO end to end: Showwork against Tunix's GRPOLearner and TRL's GRPOTrainer, on the same work.

  python benchmarks/grpo.py                          three rounds of each, in turn
  python benchmarks/grpo.py --contestants tunix,trl --steps 8 --rounds 1

The work (benchmarks/peers/work.py): a Gemma2 of 1M random parameters in float32, 4 prompts x 4
siblings a step, prompts of up to 64 tokens, up to 128 new ones, one optimizer step per 16 samples
with a KL term to a reference model. "even": every completion has 128 tokens; "ragged": geometric
lengths of mean about 46. Each turn is a fresh process; its first steps are left out.

Tunix runs in the project's environment. TRL gets its own below .bench/trl, made by the first run
with pip and used again later. It needs the CPU build of torch: where pip finds the CUDA build
instead, point pip at an index that has the CPU build (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL).

Ours runs twice: as it comes, with rollouts one update ahead of the learner ("ours"), and strictly
on-policy like the peers ("synchronous").

A table goes to stderr; the last line of stdout is one JSON object, written to --out too. Ratios
are of the medians of samples per second; above 1 means that Showwork is faster. Turns beside which
other processes used the machine are listed under "disturbed": their ratios are not to be quoted.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import race
from benchmarks.environments import PeerMissing, environment_python
from benchmarks.inputs import write_inputs
from benchmarks.peers.work import WORK

HERE = Path(__file__).resolve().parent
LENGTHS = ("even", "ragged")
LOGS = race.ROOT / ".bench" / "logs"


@dataclass(frozen=True)
class Contestant:
    """A script that prints one account; `packages` of the environment of its own, if it has one,
    which is below .bench under the contestant's name or that of `environment`."""

    script: str
    packages: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: str = ""


CONTESTANTS = {
    "ours": Contestant("ours_grpo.py"),
    "synchronous": Contestant("ours_grpo.py", arguments=("--staleness=0",)),
    "tunix": Contestant("peers/tunix_grpo.py"),
    "trl": Contestant("peers/trl_grpo.py", ("torch==2.13.0", "trl==1.16.0")),
}
COLUMNS = (  # head, key, width, digits
    ("step s", "step_s_median", 9, 3),
    ("generate", "generate_s", 10, 3),
    ("reference", "reference_s", 11, 3),
    ("update", "update_s", 9, 3),
    ("tokens", "mean_completion_tokens", 8, 1),
    ("MB", "peak_rss_mb", 7, 0),
)
Results = dict[str, dict[str, dict]]  # contestant -> lengths -> summary


def main() -> int:
    args = parse()

    def play():
        interpreters, missing = prepare(CONTESTANTS, args.contestants, args.skip_missing)
        results = run(args, interpreters)
        result = verdict(results, missing) | {"settings": settings(args)}
        return result, table(results, missing)

    return race.contest(play, args.out)


def parse() -> argparse.Namespace:
    parser = race.parser(__doc__, 3, "a peer")
    parser.add_argument("--steps", type=int, default=20, help="of each turn, warmup included")
    parser.add_argument("--warmup", type=int, default=3, help="first steps that are left out")
    parser.add_argument(
        "--contestants", type=names(tuple(CONTESTANTS)), default=",".join(CONTESTANTS)
    )
    parser.add_argument("--lengths", type=names(LENGTHS), default="even,ragged")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.rounds < 1 or not 0 <= args.warmup < args.steps:
        parser.error(
            "--rounds must be at least 1, and --steps above --warmup, which is not below 0"
        )
    return args


def names(known: tuple[str, ...]):
    """A comma-separated choice among `known`, in the order given."""

    def choice(text: str) -> list[str]:
        chosen = list(dict.fromkeys(text.split(",")))
        wrong = [name for name in chosen if name not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(known)}")
        return chosen

    return choice


def prepare(
    known: dict[str, Contestant], contestants: list[str], skip_missing: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """The interpreter of each contestant that can run; the reason of each that can't."""
    interpreters, missing = {}, {}
    for name in contestants:
        packages = known[name].packages
        try:
            folder = known[name].environment or name
            python = environment_python(folder, packages) if packages else sys.executable
        except PeerMissing as error:
            if not skip_missing:
                raise
            race.say(f"WITHOUT {name}: {error}")
            missing[name] = str(error)
        else:
            interpreters[name] = str(python)
    return interpreters, missing


def run(args: argparse.Namespace, interpreters: dict[str, str]) -> Results:
    accounts = {name: {lengths: [] for lengths in args.lengths} for name in interpreters}
    with tempfile.TemporaryDirectory(prefix="race-") as scratch:
        inputs = Path(scratch)
        write_inputs(inputs, args.steps * WORK.prompts, args.seed)
        for lengths in args.lengths:
            for number, name in race.turns(list(interpreters), args.rounds):
                command = [
                    interpreters[name],
                    str(HERE / CONTESTANTS[name].script),
                    f"--inputs={inputs}",
                    f"--lengths={lengths}",
                    f"--steps={args.steps}",
                    f"--warmup={args.warmup}",
                    f"--seed={args.seed + number}",
                    *CONTESTANTS[name].arguments,
                ]
                log = LOGS / f"grpo-{name}-{lengths}-{number}.log"
                before = race.busy_cores()
                account = race.last_json(race.run_child(command, log))
                account["other_cores"] = [before, race.busy_cores()]
                accounts[name][lengths].append(account)
                disturbed = "  DISTURBED by other processes" * race.is_disturbed(account)
                race.say(
                    f"{lengths:<7}round {number + 1}/{args.rounds}  {name:<12}"
                    f"{account['samples_per_s']:8.2f} samples/s{disturbed}"
                )
    return {
        name: {lengths: race.summarize(rounds) for lengths, rounds in by_lengths.items()}
        for name, by_lengths in accounts.items()
    }


def verdict(results: Results, missing: dict[str, str]) -> dict:
    """The JSON object. What did not run is null, or says why under "missing"."""
    ours = {name: results[name] for name in ("ours", "synchronous") if name in results}
    peers = {name: result for name, result in results.items() if name not in ours}
    ratios = {}
    for mode, ending in (("ours", ""), ("synchronous", "_synchronous")):
        for lengths, suffix in (("even", ""), ("ragged", "_ragged")):
            for peer in ("tunix", "trl"):
                ratios[f"samples_per_s_vs_{peer}{suffix}{ending}"] = race.ratio(
                    ours.get(mode, {}).get(lengths),
                    peers.get(peer, {}).get(lengths),
                    "samples_per_s",
                )
    return {
        "benchmark": "grpo",
        "ours": ours.get("ours"),
        "ours_synchronous": ours.get("synchronous"),
        "peers": peers | {name: {"missing": reason} for name, reason in missing.items()},
        "ratios": ratios,
        "disturbed": disturbed_turns(results),
        "environment": race.environment(),
    }


def disturbed_turns(results: Results) -> list[str]:
    """Turns whose figures say as much about other processes as about the contestant."""
    return [
        f"{name} {lengths} {number + 1}"
        for name, by_lengths in results.items()
        for lengths, summary in by_lengths.items()
        for number, account in enumerate(summary["rounds"])
        if race.is_disturbed(account)
    ]


def settings(args: argparse.Namespace) -> dict:
    return {name: getattr(args, name) for name in ("rounds", "steps", "warmup", "seed")}


def table(results: Results, missing: dict[str, str]) -> list[str]:
    heads = "".join(f"{head:>{width}}" for head, _, width, _ in COLUMNS)
    lines = [f"\n{'':<20}{'samples/s (min-max)':>24}{heads}"]
    for lengths in LENGTHS:
        for name, by_lengths in results.items():
            if row := by_lengths.get(lengths):
                rate = row["samples_per_s"]
                span = f"{rate['median']:.2f} ({rate['min']:.2f}-{rate['max']:.2f})"
                lines.append(f"{name:<13}{lengths:<7}{span:>24}{_cells(row)}")
    lines += [f"{name:<8}missing: {why.splitlines()[0]}" for name, why in missing.items()]
    if turns := disturbed_turns(results):
        lines.append(f"NOT QUIET, don't quote: {', '.join(turns)}")
    return lines


def _cells(row: dict) -> str:
    """A part that a contestant can't tell apart is left empty."""
    return "".join(
        f"{row[key]['median']:>{width}.{digits}f}" if key in row else " " * width
        for _, key, width, digits in COLUMNS
    )


if __name__ == "__main__":
    sys.exit(main())
