"""What a run leaves behind for people: TensorBoard events, and every rollout as Parquet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.messages import ScoredGroup
from configs.load import dump
from configs.run_folder import RunFolder
from configs.schema import RunConfig
from configs.storage import sync
from learner.board import Board


def rollout_schema(parts: Sequence[str]) -> pa.Schema:
    """Columns of `rollouts/*.parquet`; `parts` are those of the rubric."""
    columns = [
        ("step", pa.int32()),
        ("stream", pa.string()),
        ("index", pa.int64()),
        ("question_id", pa.string()),
        ("domain", pa.string()),
        ("sibling", pa.int32()),
        ("prompt", pa.string()),
        ("prompt_tokens", pa.list_(pa.int32())),
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("reward", pa.float32()),
        *((f"part_{name}", pa.float32()) for name in parts),
        ("abstained", pa.string()),
        ("advantage", pa.float32()),
        ("trained", pa.bool_()),
        ("policy_version", pa.int32()),
        ("truncated", pa.bool_()),
        ("actor", pa.int32()),
        ("judge", pa.int32()),
    ]
    return pa.schema(columns)


class Recorder:
    """Scalars and texts to `tensorboard/`, rollouts to `rollouts/<first>-<last>.parquet`.

    Rollouts are written when the run checkpoints: a run that is cut off repeats the steps since its
    last checkpoint, so their rows must not be there twice. `resumed_step`: rows behind it, of an
    earlier sitting, are dropped. `parts`: what the verdicts of the run consist of.
    """

    def __init__(
        self, folder: RunFolder, config: RunConfig, resumed_step: int, parts: Sequence[str]
    ):
        self._schema = rollout_schema(parts)
        self._folder = folder.rollouts
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("*.parquet"):
            if int(path.stem.split("-")[0]) > resumed_step:
                path.unlink()
        self._board = Board(folder.tensorboard, resumed_step + 1)
        self._board.text(resumed_step, "hyperparameters", f"```toml\n{dump(config)}\n```")
        self._rows: list[dict[str, Any]] = []

    def step(self, step: int, scalars: Mapping[str, float], texts: Mapping[str, str]) -> None:
        self._board.scalars(step, scalars)
        for name, text in texts.items():
            self._board.text(step, name, text)

    def groups(
        self,
        step: int,
        groups: Sequence[ScoredGroup],
        advantages_PG: np.ndarray,
        trained_P: np.ndarray,
    ) -> None:
        """Keep the rollouts of a step until the next flush."""
        for group, advantages_G, trained in zip(groups, advantages_PG, trained_P, strict=True):
            for sibling, advantage in enumerate(advantages_G):
                row = rollout_row(group, sibling)
                row |= {"step": step, "advantage": float(advantage), "trained": bool(trained)}
                self._rows.append(row)

    def flush(self) -> Path | None:
        """Write what was kept, by rename; returns the new file, if there was anything."""
        self._board.flush()
        if not self._rows:
            return None
        first, last = self._rows[0]["step"], self._rows[-1]["step"]
        path = self._folder / f"{first:06d}-{last:06d}.parquet"
        unfinished = path.with_suffix(".tmp")
        table = pa.Table.from_pylist(self._rows, schema=self._schema)
        pq.write_table(table, unfinished, write_page_checksum=True)
        sync(unfinished)
        unfinished.replace(path)
        sync(self._folder)
        self._rows = []
        return path

    def close(self) -> None:
        self.flush()
        self._board.close()


def rollout_row(group: ScoredGroup, sibling: int) -> dict[str, Any]:
    """One completion with all that is known of it."""
    rollout, permit, verdict = group.rollout, group.rollout.permit, group.verdicts[sibling]
    return {
        "stream": permit.stream,
        "index": permit.index,
        "question_id": permit.question.id,
        "domain": permit.question.domain,
        "sibling": sibling,
        "prompt": permit.question.prompt,
        "prompt_tokens": permit.tokens,
        "text": rollout.texts[sibling],
        "tokens": rollout.tokens[sibling],
        "logprobs": rollout.logprobs[sibling],
        "reward": None if verdict.abstained else verdict.reward,
        **{f"part_{name}": value for name, value in verdict.parts.items()},
        "abstained": verdict.abstained,
        "policy_version": rollout.policy_version,
        "truncated": bool(rollout.truncated[sibling]),
        "actor": rollout.actor,
        "judge": group.judge,
    }


def trace_markdown(group: ScoredGroup, sibling: int) -> str:
    """One completion with its verdict, for TensorBoard's text page."""
    question, verdict = group.rollout.permit.question, group.verdicts[sibling]
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in verdict.parts.items())
    return (
        f"**{question.prompt}** (reference: {question.answer})\n\n"
        f"```\n{group.rollout.texts[sibling]}\n```\n\n"
        + (verdict.abstained or f"reward **{verdict.reward:.2f}** = {parts}")
    )
