"""What every benchmark shares: turns, medians, ratios, the environment, child processes."""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import psutil

from configs.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("google-tunix", "jax", "jaxlib", "flax", "optax", "ray", "numpy")
QUIET_CORES = 0.25  # what other processes may use before a turn counts as disturbed
_GRACE_S = 15.0  # a child that is asked to end may save first


class ContestantFailed(Exception):
    """A contestant's process ended without a result; the message says where its output is."""


def turns(contestants: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """a, b, c, a, b, c, ...: slow changes of the machine's load meet all of them alike."""
    for number in range(rounds):
        for name in contestants:
            yield number, name


def busy_cores(seconds: float = 1.0) -> float:
    """Cores in use over the next `seconds`. Between two turns, that is by other processes."""
    return round(psutil.cpu_percent(seconds) / 100 * (os.cpu_count() or 1), 2)


def is_disturbed(account: Mapping) -> bool:
    """Whether others used the machine just before or just after a turn. Contestants need not suffer
    alike from that, so taking turns does not make up for it. What comes and goes in between is not
    seen."""
    return max(account["other_cores"]) > QUIET_CORES


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarize(rounds: Sequence[Mapping]) -> dict:
    """Median and extremes over the rounds of each number that all of them have, and the rounds."""
    keys = [key for key in rounds[0] if all(_is_number(one.get(key)) for one in rounds)]
    return {key: spread([one[key] for one in rounds]) for key in keys} | {"rounds": list(rounds)}


def ratio(ours: Mapping | None, peer: Mapping | None, key: str, higher_is_better=True):
    """Of medians; above 1 means that ours is better. None where either did not run."""
    if not ours or not peer:
        return None
    a, b = ours[key]["median"], peer[key]["median"]
    better, worse = (a, b) if higher_is_better else (b, a)
    return round(better / worse, 3) if worse else None


def parser(description: str, rounds: int, without: str) -> argparse.ArgumentParser:
    """With the options that every race has. `without`: what --skip-missing goes on without."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=rounds)
    options.add_argument("--out", type=Path, help="file for the JSON object")
    options.add_argument(
        "--skip-missing",
        action="store_true",
        help=f"go on without {without} if it can't be installed",
    )
    return options


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """With what turns a race into a measurement of ours alone, at a published model's size."""
    parser.add_argument("--model", choices=["gemma2-2b"], help="random weights, ours alone")
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help="with --model")
    args = parser.parse_args()
    if args.settings and not args.model:
        parser.error(f"{args.settings[0]}: settings go with --model")
    return args


def contest(play: Callable[[], tuple[dict, Sequence[str]]], out: Path | None) -> int:
    """Run a race, which gives its JSON object and the lines of its table; returns the exit code."""
    try:
        with terminable():
            result, table = play()
    except ContestantFailed as error:
        say(f"error: {error}")
        return 1
    except InputError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted; every contestant was ended")
        return 130
    say("\n".join(table))
    if out:
        write_json(out, result)
    print(json.dumps(result))
    return 0


def run_child(command: Sequence[str], log: Path, extra_env: Mapping[str, str] | None = None) -> str:
    """The stdout of `command`; its stderr goes to `log`. Whatever ends us ends its children too."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # not the folder of a script: what lies there is not what the packages of that name are
    paths = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    env = {**os.environ, **paths, **(extra_env or {})}
    with log.open("w") as stderr:
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=env,
            cwd=ROOT,
            start_new_session=True,  # a process group of its own, which can be ended as a whole
        )
        try:
            stdout, _ = child.communicate()
        finally:
            end_group(child)
    if child.returncode:
        tail = "".join(f"\n    {line}" for line in log.read_text().splitlines()[-8:])
        raise ContestantFailed(
            f"{' '.join(command[:3])} ended with code {child.returncode}; see {log}{tail}"
        )
    return stdout


def end_group(child: subprocess.Popen) -> None:
    """End the child, first politely, and everything that it left in its process group."""
    try:
        if child.poll() is None:
            _signal_group(child, signal.SIGTERM)
            child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        say(f"process {child.pid} did not end within {_GRACE_S:g} s: killed")
    finally:  # a second Ctrl-C, too, leaves nothing behind
        _signal_group(child, signal.SIGKILL)
        child.wait()


def last_json(text: str) -> dict:
    """The object on the last line that is not empty."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ContestantFailed("no result was printed")
    return json.loads(lines[-1])


@contextmanager
def terminable():
    """SIGTERM raises like Ctrl-C inside, so that `finally` blocks end the children."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def write_json(path: Path, value: dict) -> None:
    """By rename: a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.rename(path)


def environment() -> dict:
    """Where and when this was measured."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git_commit": git_commit(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_commit() -> str:
    """With "+changes" when tracked files differ from it; "" outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    changed = commit and _git("status", "--porcelain", "--untracked-files=no")
    return commit + ("+changes" if changed else "")


def say(text: str) -> None:
    """Progress goes to stderr: stdout ends with the result."""
    print(text, file=sys.stderr, flush=True)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _signal_group(child: subprocess.Popen, number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:  # the group is empty
        return


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git on this machine
        return ""
