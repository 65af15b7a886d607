"""Checking a run folder against itself and its data: `launch.py audit` and `launch.py replay`."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.data.prepare import data_paths
from actors.data.stream import PromptStream
from actors.data.tables import load_table, question
from cluster.messages import Question
from configs.errors import InputError
from configs.load import load
from configs.run_folder import RunFolder
from configs.schema import RunConfig
from learner.audit import audit
from learner.policy.tokenizer import load_tokenizer
from learner.replay import replay, replay_lines
from learner.summary import audit_lines


def audit_run(path: Path, as_json: bool) -> int:
    """Print what the folder bears out; 0 when everything holds, else 1."""
    # Orbax warns of metadata that only a folder of one tree has
    logging.getLogger("absl").setLevel(logging.ERROR)
    result = audit_of(path)
    print(json.dumps(result) if as_json else "\n".join(audit_lines(result)))
    return 0 if result["ok"] else 1


def audit_of(path: Path) -> dict[str, Any]:
    folder, config = existing_run(path)
    return audit(folder, config, questions_in_order(folder, config))


def replay_run(path: Path, step: int, as_json: bool) -> int:
    """Print how a step done again compares with the recorded one; 0 when it is the same, else 1."""
    folder, config = existing_run(path)
    # before any device is used: the bits of a step depend on how many threads share it
    os.environ["PJRT_NPROC"] = os.environ["OMP_NUM_THREADS"] = str(config.learner.threads)
    tokenizer = load_tokenizer(config.model.tokenizer or folder.path)
    result = replay(folder, config, step, tokenizer.vocabulary)
    print(json.dumps(result) if as_json else "\n".join(replay_lines(result)))
    return 0 if result["ok"] else 1


def existing_run(path: Path) -> tuple[RunFolder, RunConfig]:
    """A run folder and its configuration. Raises InputError when there is none."""
    folder = RunFolder(path.absolute())
    if not folder.config_file.exists():
        raise InputError(f"{path}: no run folder, {folder.config_file} is missing")
    return folder, load(folder.config_file)


def questions_in_order(folder: RunFolder, config: RunConfig) -> Callable[[int], Question]:
    """The question at a place of the training stream, from the data and the seed alone."""
    train, _ = data_paths(folder.data, config)
    table = load_table(train)
    stream = PromptStream(table.num_rows, config.run.seed)
    rows: list[int] = []

    def question_at(place: int) -> Question:
        while place >= len(rows):
            rows.extend(row for _, row in stream.take(1024))
        return question(table, rows[place])

    return question_at
