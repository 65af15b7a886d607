"""Generation: our engine against Tunix's `Sampler` and Hugging Face `generate`, on the same work.

  python benchmarks/rollout.py                   the demo's model, one round, 8 siblings
  python benchmarks/rollout.py --sizes demo,35m --siblings 4,8,16 --rounds 3 --bandwidth
  python benchmarks/rollout.py --model gemma2-2b    ours alone, on an accelerator: gemma2_2b.py

The work (benchmarks/peers/generation.py): a Gemma2 with the same random weights in float32, the
same prompts, and a length for every completion, at temperature 1. "prompt_heavy": 512 + 64 tokens;
"even": 64 + 128; "long_tail": 64 + 8 to 512, evenly drawn. Each contestant has the whole machine:
ours runs one single-threaded process a core, the peers use all cores at once. A static batch
decodes until its longest completion ends; Tunix's batch is the better of 16 and 64 rows, Hugging
Face's has 64 (35M: the better of 64 and 128); our engine has 64 slots, or 16 where lengths are
ragged (35M: 128, or 32). What is counted are the tokens of the lengths that were asked for, after
everything is compiled. Time to first token: until the caller has the first token of a completion,
all being asked for at once; neither peer hands out tokens before its batch ends. Dead share: slot-
steps that drew nothing useful; ours while work is queued, theirs over the whole turn. Tokens per
processor second hardly change with what else runs.

Tunix runs in the project's environment; Hugging Face in .bench/trl, which `benchmarks/grpo.py` uses
too (torch 2.13.0: a CPU build is needed, see there).

A table goes to stderr; the last line of stdout is one JSON object, written to --out too. Ratios of
tokens per second are above 1 where Showwork is faster.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks import race
from benchmarks.grpo import Contestant, names, prepare
from benchmarks.peers.generation import MODES, SIZES

HERE = Path(__file__).resolve().parent
LOGS = race.ROOT / ".bench" / "logs"
CONTESTANTS = {
    "ours": Contestant("ours_rollout.py"),
    "tunix": Contestant("peers/tunix_rollout.py"),
    "hf": Contestant("peers/hf_rollout.py", ("torch==2.13.0", "trl==1.16.0"), environment="trl"),
}
COMPLETIONS = {  # of a turn: enough that filling and draining do not decide
    "demo": {"prompt_heavy": 256, "even": 256, "long_tail": 192},
    "35m": {"prompt_heavy": 128, "even": 256, "long_tail": 128},
}
_SPEED = ("tokens_per_s", "tokens_per_cpu_s")
COLUMNS = (*_SPEED, "first_token_s", "dead_share", "programs_compiled")
Results = dict[str, dict[str, dict]]  # contestant -> "size mode G" -> summary


def main() -> int:
    args = parse()
    if args.model:
        from benchmarks.gemma2_2b import generation

        return race.contest(lambda: (generation(args.settings), []), args.out)

    def play():
        interpreters, missing = prepare(CONTESTANTS, args.contestants, args.skip_missing)
        results, shares = run(args, interpreters)
        return verdict(results, missing) | {"bandwidth": shares}, table(results, shares)

    return race.contest(play, args.out)


def parse() -> argparse.Namespace:
    parser = race.parser(__doc__, 1, "a peer")
    parser.add_argument("--sizes", type=names(tuple(SIZES)), default="demo")
    parser.add_argument("--modes", type=names(tuple(MODES)), default=",".join(MODES))
    parser.add_argument("--siblings", type=names(("4", "8", "16")), default="8")
    parser.add_argument(
        "--contestants", type=names(tuple(CONTESTANTS)), default=",".join(CONTESTANTS)
    )
    parser.add_argument(
        "--completions", type=int, help="of a turn of every mode, in place of this file's"
    )
    parser.add_argument("--rows", type=int, help="of a peer's batch, in place of the better of two")
    parser.add_argument("--cache-dtype", default="", help="our rollout.cache_dtype")
    parser.add_argument("--bandwidth", action="store_true", help="measure bandwidth_share too")
    parser.add_argument("--seed", type=int, default=0)
    args = race.parse(parser)
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    most = max(map(int, args.siblings))
    if args.completions is not None and args.completions < most:
        parser.error(f"--completions = {args.completions} is not a group of {most}")
    return args


def run(args: argparse.Namespace, interpreters: dict[str, str]) -> tuple[Results, dict]:
    accounts: dict[str, dict[str, list]] = {name: {} for name in interpreters}
    shares = {}
    with tempfile.TemporaryDirectory(prefix="race-") as scratch:
        for size in args.sizes:
            weights = Path(scratch) / size
            write_weights(weights, size)
            for siblings in args.siblings:
                for number, name in race.turns(list(interpreters), args.rounds):
                    before = race.busy_cores()
                    found = turn(args, interpreters[name], name, (size, siblings, number), weights)
                    others = [before, race.busy_cores()]
                    for mode, account in found.items():
                        account["other_cores"] = others
                        key = f"{size} {mode} {siblings}"
                        accounts[name].setdefault(key, []).append(account)
                        race.say(f"{key:<22}{name:<7}{account['tokens_per_s']:10.1f} tokens/s")
            if args.bandwidth:
                shares[size] = bandwidth(args, size, weights)
    return {
        name: {key: race.summarize(rounds) for key, rounds in by_key.items()}
        for name, by_key in accounts.items()
    }, shares


def turn(args, interpreter: str, name: str, which: tuple[str, str, int], weights: Path) -> dict:
    size, siblings, number = which
    command = [
        interpreter,
        str(HERE / CONTESTANTS[name].script),
        f"--weights={weights}",
        f"--size={size}",
        f"--siblings={siblings}",
        "--modes="
        + ",".join(f"{mode}:{args.completions or COMPLETIONS[size][mode]}" for mode in args.modes),
        f"--seed={args.seed + number}",
        *([f"--cache-dtype={args.cache_dtype}"] if name == "ours" else []),
        *([f"--rows={args.rows}"] if args.rows and name != "ours" else []),
    ]
    log = LOGS / f"rollout-{name}-{size}-{siblings}-{number}.log"
    return race.last_json(race.run_child(command, log))


def bandwidth(args: argparse.Namespace, size: str, weights: Path) -> dict:
    script = str(HERE / CONTESTANTS["ours"].script)
    command = [sys.executable, script, f"--weights={weights}", f"--size={size}", "--modes="]
    command += ["--bandwidth", f"--cache-dtype={args.cache_dtype}"]
    return race.last_json(race.run_child(command, LOGS / f"rollout-bandwidth-{size}.log"))


def write_weights(folder: Path, size: str) -> None:
    """Random parameters, one .npy file each, and their names."""
    shape = SIZES[size]
    d, f, h = shape.embed_dim, shape.hidden_dim, shape.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "embedder.input_embedding": (shape.vocabulary, d),
        "final_norm.scale": (d,),
    }
    for number in range(shape.layers):
        own: dict[str, tuple[int, ...]] = {
            "attn.q_einsum.w": (shape.heads, d, h),
            "attn.kv_einsum.w": (2, shape.kv_heads, d, h),
            "attn.attn_vec_einsum.w": (shape.heads, h, d),
            "mlp.gate_proj.kernel": (d, f),
            "mlp.up_proj.kernel": (d, f),
            "mlp.down_proj.kernel": (f, d),
        }
        for norm in ("pre_attention_norm", "post_attn_norm", "pre_ffw_norm", "post_ffw_norm"):
            own[f"{norm}.scale"] = (d,)
        shapes |= {f"layers.{number}.{name}": value for name, value in own.items()}
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number, value in enumerate(shapes.values()):
        array = 0.05 * rng.standard_normal(value, np.float32)
        np.save(folder / f"{number}.npy", np.zeros_like(array) if len(value) == 1 else array)
    files = {name: f"{number}.npy" for number, name in enumerate(shapes)}
    (folder / "names.json").write_text(json.dumps(files))


def verdict(results: Results, missing: dict[str, str]) -> dict:
    """The JSON object; a ratio is of the demo's size unless its name says another."""
    ours = results.get("ours", {})
    peers = {name: found for name, found in results.items() if name != "ours"}
    ratios = {}
    for key, summary in ours.items():
        size, mode, siblings = key.split()
        suffix = "" if size == "demo" else f"_{size}"
        for peer, found in peers.items():
            ratios[f"{mode}_vs_{peer}{suffix}_g{siblings}"] = race.ratio(
                summary, found.get(key), "tokens_per_s"
            )
    for mode in MODES:  # without a suffix: the demo's size at the first number of siblings
        for peer in peers:
            named = [v for k, v in ratios.items() if k.startswith(f"{mode}_vs_{peer}_g")]
            if named:
                ratios[f"{mode}_vs_{peer}"] = named[0]
    return {
        "benchmark": "rollout",
        "ours": ours,
        "peers": peers | {name: {"missing": reason} for name, reason in missing.items()},
        "ratios": ratios,
        "disturbed": [
            f"{name} {key} {number + 1}"
            for name, by_key in results.items()
            for key, summary in by_key.items()
            for number, account in enumerate(summary["rounds"])
            if race.is_disturbed(account)
        ],
        "environment": race.environment(),
    }


def table(results: Results, shares: dict) -> list[str]:
    lines = [
        f"\n{'':<29}{'tokens/s':>10}{'/cpu s':>10}{'first token s':>15}{'dead':>7}{'programs':>10}"
    ]
    for name, by_key in results.items():
        for key, row in by_key.items():
            rate, used, first, dead, programs = (row[column]["median"] for column in COLUMNS)
            lines.append(
                f"{name:<7}{key:<22}{rate:10.1f}{used:10.1f}{first:15.3f}{dead:7.3f}"
                f"{programs:10.0f}"
            )
    for size, found in shares.items():
        lines += [f"bandwidth {size:<6}{slots:<10}{value}" for slots, value in found.items()]
    return lines


if __name__ == "__main__":
    sys.exit(main())
