"""The synthetic data set: two Parquet files whose operands, words and phrasings never meet.

Columns: id, prompt, reasoning, answer, domain, verifier, kind, demonstration,
demonstration_quality ("clean", "slip" or "untagged"). The same arguments give the same bytes.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.data.demonstrations import demonstrate, numbered
from actors.data.questions import DOMAINS, KINDS, SyntheticQuestion

COLUMNS = (
    "id",
    "prompt",
    "reasoning",
    "answer",
    "domain",
    "verifier",
    "kind",
    "demonstration",
    "demonstration_quality",
)
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
TRAIN_SHARES = (4, 3, 3, 2)
"""Of the domains, in their order: sums are the slowest to learn, days and counts the fastest."""
DRAWS_BEFORE_REPEATING = 3000
"""The smallest share of new prompts a variant can have left is about 1/400: missing it in this many
draws is rarer than one in a thousand."""


def write_synthetic(
    folder: Path, rows: int, heldout_rows: int, seed: int, clean: float, slips: float
) -> tuple[Path, Path]:
    """Writes `train.parquet` and `heldout.parquet` into `folder` and returns their paths.

    `clean` and `slips` are shares of the training demonstrations, the rest lacks the tags;
    held-out demonstrations are all clean. A prompt repeats only where its kind has no other left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train = _table("train", rows, seed, clean, slips)
    heldout = _table("heldout", heldout_rows, seed, clean=1.0, slips=0.0)
    return _write(train, folder / "train.parquet"), _write(heldout, folder / "heldout.parquet")


def draw(
    rng: random.Random, held_out: bool, rows: int, balanced: bool = False
) -> Iterator[SyntheticQuestion]:
    """`rows` questions of one side of the split, prompts as distinct as the kinds allow.

    A domain is drawn by `TRAIN_SHARES`, or dealt in turn if `balanced`; then a kind of it by
    weight, then a variant. Distinctness is kept within a variant, so it does not shift their
    proportions.
    """
    kinds = {name: _kinds_by_weight(name) for name in DOMAINS}
    seen: set[str] = set()
    exhausted: set[tuple[str, str]] = set()
    drawn = rng.choices(DOMAINS, TRAIN_SHARES, k=rows)
    for row in range(rows):
        domain = DOMAINS[row % len(DOMAINS)] if balanced else drawn[row]
        kind = rng.choice(kinds[domain])
        variant = rng.choice(KINDS[kind].variants)
        question = _draw_side(kind, variant, rng, held_out)
        draws = 0
        while question.prompt in seen and (kind, variant) not in exhausted:
            question = _draw_side(kind, variant, rng, held_out)
            draws += 1
            if draws == DRAWS_BEFORE_REPEATING:
                exhausted.add((kind, variant))
        seen.add(question.prompt)
        yield question


def _kinds_by_weight(domain: str) -> list[str]:
    return [
        name for name, kind in KINDS.items() if kind.domain == domain for _ in range(kind.weight)
    ]


def _draw_side(kind: str, variant: str, rng: random.Random, held_out: bool) -> SyntheticQuestion:
    while True:
        question = KINDS[kind].make(variant, rng)
        if question.held_out == held_out:
            return question


def _table(side: str, rows: int, seed: int, clean: float, slips: float) -> pa.Table:
    # Text seeds hash by SHA-512: each side has its own sequence, the same everywhere.
    questions_rng = random.Random(f"{side} questions {seed}")
    demonstrations_rng = random.Random(f"{side} demonstrations {seed}")
    heldout = side == "heldout"
    columns: dict[str, list[str]] = {name: [] for name in COLUMNS}
    for row, question in enumerate(draw(questions_rng, heldout, rows, balanced=heldout)):
        text, quality = demonstrate(question, demonstrations_rng, clean, slips)
        values = (
            f"{side}-{row}",
            question.prompt,
            numbered(question.steps),
            question.answer,
            KINDS[question.kind].domain,
            question.verifier,
            question.kind,
            text,
            quality,
        )
        for name, value in zip(COLUMNS, values, strict=True):
            columns[name].append(value)
    return pa.table(columns, schema=SCHEMA)


def _write(table: pa.Table, path: Path) -> Path:
    """By rename: a reader never sees half a file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, unfinished)
    os.replace(unfinished, path)
    return path
