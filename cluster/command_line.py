"""The commands of `launch.py` that look at clusters and start no run."""

import argparse
import os
from pathlib import Path
from typing import Any

DEMO = Path(__file__).parents[1] / "configs" / "demo.toml"


def add_commands(commands: Any) -> None:
    """Register them with the subparsers of `launch.py`."""
    text = "check a cluster file; without one, the cluster that a run would join"
    sub = commands.add_parser(
        "doctor",
        help=text,
        description=f"{text}. Exit code 1: a run would fail, or lines of the file are still the "
        "example's; 2: something in the file is wrong, or there are too few hosts",
    )
    sub.set_defaults(command=doctor)
    sub.add_argument("file", type=Path, nargs="?", metavar="FILE", help="such as cluster/tpu.yaml")
    sub.add_argument("--hosts", type=int, default=1, help="hosts of the run (default 1)")
    sub.add_argument("--address", default="", help="the cluster to join, as for train")
    sub.add_argument("--config", type=Path, default=DEMO, help="default: configs/demo.toml")
    sub.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs: runs")
    text = "print who would do what, mesh, memory and bytes per weight sync; start nothing"
    sub = commands.add_parser("plan", help=text, description=f"{text}; exit code 1: does not fit")
    sub.set_defaults(command=plan)
    sub.add_argument("--hosts", type=int, default=1, help="hosts of the run (default 1)")
    sub.add_argument("--cluster", type=Path, default=None, metavar="FILE", help="a cluster file")
    sub.add_argument("--config", type=Path, default=DEMO, help="default: configs/demo.toml")
    sub.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings")
    text = "where a run stands, from another terminal"
    sub = commands.add_parser("status", help=text, description=text)
    sub.set_defaults(command=status)
    sub.add_argument("run", type=Path, metavar="RUN", help="the run folder")


def add_run_arguments(sub: argparse.ArgumentParser) -> None:
    """Of the commands that start a run, or go on with one."""
    sub.add_argument(
        "--hosts",
        type=int,
        default=1,
        help="hosts of the run (default 1): those of a cluster, else local Ray nodes",
    )
    sub.add_argument(
        "--address",
        default="",
        help="the cluster to join (default: RAY_ADDRESS, or one that runs on this host); "
        "local: none",
    )
    sub.add_argument(
        "--run",
        type=Path,
        default=None,
        help="run folder (default: a new one below runs/); an existing one is resumed",
    )


def doctor(args: argparse.Namespace, started: float) -> int:
    from cluster.doctor.check_file import report_file

    if args.file is not None:
        return report_file(args.file)
    os.environ["JAX_PLATFORMS"] = "cpu"  # of this process: it needs shapes alone
    from cluster.doctor.live import report_cluster
    from configs.load import load

    return report_cluster(load(args.config), args.hosts, args.address, args.runs)


def plan(args: argparse.Namespace, started: float) -> int:
    os.environ["JAX_PLATFORMS"] = (
        "cpu"  # shapes alone: never an accelerator that a run may be using
    )
    from cluster.plan import plan_run
    from configs.load import load

    return plan_run(load(args.config, args.overrides), args.hosts, args.cluster)


def status(args: argparse.Namespace, started: float) -> int:
    from cluster.status import status_run

    return status_run(args.run)
