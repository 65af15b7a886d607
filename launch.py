"""Showwork: teach a language model to show its work, with GRPO on Ray and JAX.

  launch.py                         the demo: cold start, GRPO, evaluation before and after
  launch.py --hosts 4               the same on four (local) hosts
  launch.py train --config FILE --run DIR loop.steps=200
                                    train; the same --run again resumes
  launch.py sft --config FILE       the cold start alone; its folder serves as model.weights
  launch.py eval --run DIR          evaluate the newest checkpoint of a run
  launch.py audit RUN [--json]      does the run folder bear out what the run claims?
  launch.py replay RUN --step N     do a recorded step again: are the parameters the same?
  launch.py chaos                   a run whose processes are killed and stopped, and its audit
  launch.py status RUN              where a run stands, from another terminal
  launch.py plan --cluster FILE     who would do what, mesh, memory, bytes per weight sync
  launch.py doctor FILE             is a cluster file right? each line to change, and to what
  launch.py data [DIR]              write the synthetic data set (Parquet) to DIR
  launch.py judge --report          how well judge.rubric ranks labelled completions
  launch.py judge --fit             fit a learned judge to them
  launch.py compare RUN RUN         two evaluations, question by question
  launch.py export RUN --to hf      the policy as a Hugging Face folder (weights smollm2: get one)

Any setting of the configuration can be given as section.key=value.
"""

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors import model_commands
from cluster.command_line import add_commands, add_run_arguments
from configs.errors import InputError, RunError
from configs.load import load
from configs.schema import RunConfig
from configs.storage import storage_errors

_CHECKS = ("audit", "replay", "chaos", "status", "plan", "doctor")
COMMANDS = ("train", "sft", "eval", "data", "judge", *_CHECKS, *model_commands.NAMES)
DEMO = Path(__file__).parent / "configs" / "demo.toml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    0: done; 1: it failed; 2: bad input; 75: stopped early, the same command with --run goes on;
    130: interrupted with nothing to save.
    """
    started = time.monotonic()
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        args = parse(with_command(argv))
        return args.command(args, started)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def with_command(argv: list[str]) -> list[str]:
    """The arguments with `train` before them where no command is given."""
    first = argv[0] if argv else ""
    if first in (*COMMANDS, "-h", "--help"):
        return argv
    if first and "=" not in first and not first.startswith("-"):
        raise InputError(f"unknown command {first!r}; commands are {', '.join(COMMANDS)}")
    return ["train", *argv]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="launch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar=f"{{{','.join(COMMANDS)}}}")
    for name, command, text in (
        ("train", train, "cold start where needed, then GRPO; evaluates before and after"),
        ("sft", sft, "the cold start alone"),
        ("eval", evaluate, "evaluate the newest checkpoint of --run on the held-out rows"),
        ("data", data, "write the synthetic data set"),
        ("judge", judge, "measure the rubric on labelled completions (--report)"),
    ):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        if name == "data":
            sub.add_argument("folder", nargs="?", default="data", help="default: data")
        elif name == "judge":
            sub.add_argument("--report", action="store_true", help="print pairwise accuracies")
            sub.add_argument("--fit", action="store_true", help="fit a learned judge: judge.head")
        else:
            add_run_arguments(sub)
        sub.add_argument(
            "--config",
            type=Path,
            default=None,
            help=f"default: {DEMO.relative_to(DEMO.parents[1])}",
        )
        sub.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings")
    _checking_commands(commands)
    _chaos_command(commands)
    add_commands(commands)
    model_commands.add_commands(commands)
    args = parser.parse_args(argv)
    if args.command is data and "=" in args.folder:  # `data run.seed=3`: no folder given
        args.overrides.insert(0, args.folder)
        args.folder = "data"
    if getattr(args, "hosts", 1) < 1:
        raise InputError(f"--hosts = {args.hosts}: a run needs at least 1 host")
    return args


def _checking_commands(commands: Any) -> None:
    """Those that read a run folder and take no settings."""
    for name, command, text in (
        ("audit", audit, "recompute from the files of a run what became of every prompt"),
        ("replay", replay, "do a recorded step again and compare"),
    ):
        text += "; exit code 1 when it does not hold"
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        sub.add_argument("run", type=Path, metavar="RUN", help="the run folder")
        sub.add_argument("--json", action="store_true", help="one JSON object instead of a table")
        if name == "replay":
            sub.add_argument("--step", type=int, required=True, help="the step to do again")


def _chaos_command(commands: Any) -> None:
    text = "kill, stop and cut what a run needs, at random; then audit it"
    sub = commands.add_parser("chaos", help=text, description=f"{text}; exit code 1 when it failed")
    sub.set_defaults(command=chaos)
    sub.add_argument("--faults", type=int, default=50, help="how many (default 50)")
    sub.add_argument("--minutes", type=float, default=60.0, help="none after that (default 60)")
    sub.add_argument("--seed", type=int, default=0, help="of their choice and times (default 0)")
    sub.add_argument("--run", type=Path, default=Path("runs/chaos"), help="default: runs/chaos")
    sub.add_argument("--json", action="store_true", help="one JSON object at the end")
    sub.add_argument("--config", type=Path, default=DEMO, help="default: configs/demo.toml")
    sub.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings")


def train(args: argparse.Namespace, started: float) -> int:
    from cluster.run import train_run

    config = load(args.config or DEMO, args.overrides)
    return _on_cluster(args, config, started, train_run)


def sft(args: argparse.Namespace, started: float) -> int:
    from cluster.run import sft_run

    config = load(args.config or DEMO, args.overrides)
    if not config.sft.steps:
        raise InputError("sft.steps = 0: there is no cold start to run; give sft.steps=600, say")
    return _on_cluster(args, config, started, sft_run)


def evaluate(args: argparse.Namespace, started: float) -> int:
    from cluster.run import eval_run

    if args.run is None:
        raise InputError("eval needs --run DIR, the folder of the run to evaluate")
    written = args.run / "config.toml"
    if args.config is None and not written.exists():
        raise InputError(f"--run {args.run}: no run folder, {written} is missing")
    config = load(args.config or written, args.overrides)
    return _on_cluster(args, config, started, eval_run)


def data(args: argparse.Namespace, started: float) -> int:
    from actors.data.prepare import data_paths
    from actors.data.tables import load_table

    overrides = ["data.train=synthetic", "data.heldout=synthetic", *args.overrides]
    config = load(args.config or DEMO, overrides)
    folder = Path(args.folder)
    if any(folder.glob("*.parquet")):
        raise InputError(f"{folder} holds Parquet files already: give another folder")
    for path in data_paths(folder, config):
        table = load_table(path)
        counts = Counter(table["domain"].to_pylist())
        domains = ", ".join(f"{domain} {count}" for domain, count in sorted(counts.items()))
        print(f"{path}: {table.num_rows} rows ({domains})")
    return 0


def judge(args: argparse.Namespace, started: float) -> int:
    from actors.judge_report import fit_lines, report

    if args.report == args.fit:
        raise InputError(
            "judge needs --report, to print how well judge.rubric ranks, or --fit, to fit a "
            "learned judge"
        )
    config = load(args.config or DEMO, args.overrides)
    print("\n".join(report(config.judge) if args.report else fit_lines(config.judge)))
    return 0


def audit(args: argparse.Namespace, started: float) -> int:
    # arrays are read and summed here: never on an accelerator that a run may be using
    os.environ["JAX_PLATFORMS"] = "cpu"
    from actors.verify import audit_run

    return audit_run(args.run, args.json)


def chaos(args: argparse.Namespace, started: float) -> int:
    os.environ["JAX_PLATFORMS"] = "cpu"
    from cluster.chaos import SETTINGS, chaos_run

    settings = [*SETTINGS, *args.overrides]
    load(args.config, settings)
    arguments = ["--hosts", "2", "--config", str(args.config.absolute()), *settings]
    return chaos_run(
        args.run.absolute(), arguments, args.faults, args.minutes, args.seed, args.json
    )


def replay(args: argparse.Namespace, started: float) -> int:
    from actors.verify import replay_run

    return replay_run(args.run, args.step, args.json)


def _on_cluster(
    args: argparse.Namespace, config: RunConfig, started: float, command: Callable
) -> int:
    """Prepare everything that can be wrong, then start Ray and run `command` on it."""
    from actors.bench import load_judging
    from actors.data.prepare import prepare
    from cluster.again import run_job
    from cluster.connect import leaving
    from cluster.job import Job
    from cluster.join import check_local, find_cluster, hosts_for
    from cluster.stopper import Stopper
    from configs.run_folder import open_run
    from learner.policy.folder import with_architecture

    config = with_architecture(config)
    address = find_cluster(args.address)
    check_local(args.hosts, config, address)
    path = args.run or new_run_folder(args.config or DEMO)
    with nothing_left_behind(path):
        judging = load_judging(config.judge, path / "rubric.toml")
        folder = open_run(path, config, alone=True)
        corpus = prepare(folder, config, judging)
        print(f"run folder  {folder.path}   (TensorBoard: tensorboard --logdir {folder.path})")
        rows = f"{corpus.train.num_rows} rows to train, {corpus.heldout.num_rows} held out"
        print(f"data        {rows}")
        print(f"cluster     {address or 'hosts on this machine'}", flush=True)
        stopper = Stopper(started + config.loop.time_budget_s)
        with hosts_for(args.hosts, config, address) as (connection, planned):
            print("\n".join(planned.lines(connection.addresses)), flush=True)
            stopper.install()  # Ray installs handlers of its own when it starts
            stopper.watch(lambda: leaving(connection, planned))
            with storage_errors(folder.path, "the run"):
                return run_job(
                    lambda: Job(config, folder, corpus, planned, connection, stopper.check),
                    lambda job: command(job, stopper),
                )


@contextmanager
def nothing_left_behind(path: Path) -> Iterator[None]:
    """Take a new run folder away again when its input is refused; never one in which work was kept,
    which an error of the disk may end, too."""
    new = not path.exists()
    try:
        yield
    except InputError:
        if new and not any(path.glob("checkpoints/*/*")):
            shutil.rmtree(path, ignore_errors=True)
        raise


def new_run_folder(config_file: Path) -> Path:
    """The next free `runs/<configuration>-<number>`."""
    number = 1
    while (folder := Path("runs") / f"{config_file.stem}-{number:03d}").exists():
        number += 1
    return folder


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # leave at once: Ray's threads may wait on processes that are gone already
    os._exit(code)
