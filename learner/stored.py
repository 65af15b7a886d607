"""Reading back what a run left in its folder: groups, events, checkpoints. Nothing is written."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pyarrow.parquet as pq
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cluster.messages import Permit, Question, RolloutGroup, ScoredGroup, Verdict

Row = Mapping[str, Any]  # of a rollouts file: see `learner.recorder.rollout_schema`


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint as numpy arrays, whatever devices it was written from."""

    step: int
    trees: dict[str, Any]  # "state", and "policies" where it has some
    record: dict[str, Any]  # "ledger", "checksum"

    @property
    def params(self) -> dict[str, np.ndarray]:
        return self.trees["state"]["params"]


def rollout_files(rollouts: Path, steps: range) -> list[Path]:
    """Those that hold any of these steps, in order."""
    found = []
    for path in sorted(rollouts.glob("*.parquet")):
        first, last = (int(number) for number in path.stem.split("-"))
        if first < steps.stop and last >= steps.start:
            found.append(path)
    return found


def stored_steps(path: Path) -> Iterator[tuple[int, list[Row]]]:
    """Each step of a file with its rows. Raises OSError or ValueError when it is damaged."""
    rows = pq.read_table(path, page_checksum_verification=True).to_pylist()
    for step, of_step in groupby(rows, lambda row: row["step"]):
        yield step, list(of_step)


def groups_of(rows: Sequence[Row]) -> list[ScoredGroup]:
    """The scored groups of a step, as the learner got them.

    Raises ValueError when siblings are missing, doubled or out of order.
    """
    groups = []
    for place, of_group in groupby(rows, lambda row: row["index"]):
        siblings = list(of_group)
        if [row["sibling"] for row in siblings] != list(range(len(siblings))):
            raise ValueError(f"the siblings of prompt {place} are not all there, once, in order")
        groups.append(_group(siblings))
    return groups


def stored_scalars(tensorboard: Path, tags: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of all sittings for each tag, as TensorBoard shows them."""
    # it warns of each sitting that took up a run before the end of the one before
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(tensorboard), size_guidance={"scalars": 0}).Reload()
    known = set(events.scalars.Keys())
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] if tag in known else []
        for tag in tags
    }


def checkpoint_steps(checkpoints: Path) -> list[int]:
    """The complete ones of GRPO: unfinished ones have other names."""
    return sorted(int(p.name) for p in (checkpoints / "grpo").glob("*") if p.name.isdigit())


def read_checkpoint(checkpoints: Path, step: int) -> StoredCheckpoint:
    """Raises whatever Orbax raises for damaged files: many kinds."""
    record = read_record(checkpoints, step)
    return StoredCheckpoint(step, read_trees(checkpoints / "grpo" / str(step)), record)


def read_record(checkpoints: Path, step: int) -> dict[str, Any]:
    """What lies beside the arrays: "ledger", "checksum"."""
    return json.loads((checkpoints / "grpo" / str(step) / "record" / "metadata").read_text())


def read_trees(place: Path, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Those of a checkpoint as numpy arrays, by name, read by this process alone.

    `arguments`: `restore_arguments` of a checkpoint of the same trees, where there is one.
    """
    arguments = arguments or restore_arguments(place)
    with _reader() as reader:
        return {
            name: reader.restore(place / name, restore_args=tree)
            for name, tree in arguments.items()
        }


def restore_arguments(place: Path) -> dict[str, Any]:
    """How Orbax is to restore each tree of a checkpoint as numpy arrays.

    Who reads many alike asks once: tensorstore keeps 5 kB for each array that it is asked about.
    """
    found = {}
    with _reader() as reader:
        for name in ("state", "policies"):
            if (place / name).exists():
                metadata: Any = reader.metadata(place / name).item_metadata
                found[name] = jax.tree.map(
                    lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata.tree
                )
    return found


def _reader() -> ocp.Checkpointer:
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix="read"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _group(rows: Sequence[Row]) -> ScoredGroup:
    first = rows[0]
    question = Question(first["question_id"], first["prompt"], "", "", first["domain"], "")
    permit = Permit(
        first["stream"],
        first["index"],
        question,
        np.array(first["prompt_tokens"], np.int32),
        siblings=len(rows),
        temperature=float("nan"),  # not stored: it is the configuration's
        policy_version=first["policy_version"],
    )
    rollout = RolloutGroup(
        permit,
        first["policy_version"],
        tokens=tuple(np.array(row["tokens"], np.int32) for row in rows),
        logprobs=tuple(np.array(row["logprobs"], np.float32) for row in rows),
        texts=tuple(row["text"] for row in rows),
        truncated=np.array([row["truncated"] for row in rows]),
        actor=first["actor"],
        finished_at=0.0,
    )
    verdicts = tuple(
        Verdict.abstain(row["abstained"]) if row["abstained"] else Verdict(row["reward"], {})
        for row in rows
    )
    return ScoredGroup(rollout, verdicts, first["judge"], 0.0, 0.0)
