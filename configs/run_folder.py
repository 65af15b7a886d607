"""The folder of a run: where its files lie, and whether it may be used."""

import fcntl
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import InputError
from configs.load import differences, dump, load
from configs.schema import RunConfig

MAY_DIFFER = (
    *("loop.steps", "loop.time_budget_s", "loop.wait_timeout_s"),
    *("loop.silence_s", "loop.max_losses", "learner.max_skipped"),
    *("rollout.actors", "judge.actors", "judge.rubric", "judge.max_abstain", "judge.endpoint"),
    *("judge.deadline_s", "judge.in_flight", "judge.requests_per_s"),
    *("judge.second_rubric", "judge.second_share", "judge.canary_steps"),
    *("checkpoint.", "eval."),
)
"""Settings that do not change what a step computes, only how many there are, how fast and what is
kept of them: a run may be resumed with others. (`loop.steps` also stretches the learning-rate
schedule. Of the rubric, what its file says is compared, not where it lies.)"""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run; `path` is absolute."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.toml"

    @property
    def summary_file(self) -> Path:
        return self.path / "summary.json"

    @property
    def ledger_file(self) -> Path:
        return self.path / "ledger.sqlite"

    @property
    def rubric_file(self) -> Path:
        return self.path / "rubric.toml"

    @property
    def verdicts_file(self) -> Path:
        """Scores that this host's judges got from a language model: SQLite is for one host."""
        return self.path / f"verdicts-{socket.gethostname()}.sqlite"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def epochs(self) -> Path:
        """Which learner may write: see `learner.epoch`."""
        return self.path / "epochs"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts"


_held: dict[Path, int] = {}  # lock files of this process, open until it ends


def open_run(path: Path, config: RunConfig, alone: bool = False) -> RunFolder:
    """A new run folder, or that of the same run to go on with.

    Raises InputError when it belongs to another run or to something else, or cannot be written; and
    if this process wants it `alone`, when another one has it.
    """
    folder = RunFolder(path.absolute())
    if folder.config_file.exists():
        _check_same(folder, config)
    elif path.is_dir() and any(path.iterdir()):
        raise InputError(
            f"--run {path}: the folder is not empty and holds no run (no config.toml); "
            "give a new one"
        )
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if alone:
            _hold(folder.path)
        write_text(folder.config_file, dump(config))
    except OSError as error:
        raise InputError(
            f"--run {path}: cannot be written ({error.strerror}); give another folder"
        ) from error
    return folder


def _hold(path: Path) -> None:
    """Lock the folder for the life of this process: the system gives it back however that ends."""
    if path in _held:
        return
    file = os.open(path / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(file, 200).decode(errors="replace") or "another process"
        os.close(file)
        raise InputError(
            f"--run {path} is in use by {owner}: wait until it ends, or give another folder"
        ) from None
    os.truncate(file, 0)
    os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
    _held[path] = file


def write_text(path: Path, text: str) -> None:
    """By rename: a reader sees the old file or the new one, never half of one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """By rename, too."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def _check_same(folder: RunFolder, config: RunConfig) -> None:
    changed = [
        line
        for line in differences(load(folder.config_file), config)
        if not line.startswith(MAY_DIFFER)
    ]
    if changed:
        raise InputError(
            "\n  ".join([f"--run {folder.path} was made with other settings:", *changed])
            + "\n  Give the same settings to go on with it, or another folder for a new run."
        )
