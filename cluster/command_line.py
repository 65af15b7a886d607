"""The commands of `launch.py` that look at clusters and start no run."""

import argparse
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    """Register them with the subparsers of `launch.py`."""
    text = "check a cluster file; exit code 1: lines of yours are open, 2: something is wrong"
    sub = commands.add_parser("doctor", help=text, description=text)
    sub.set_defaults(command=doctor)
    sub.add_argument("file", type=Path, metavar="FILE", help="such as cluster/tpu.yaml")


def doctor(args: argparse.Namespace, started: float) -> int:
    from cluster.doctor.check_file import report_file

    return report_file(args.file)
