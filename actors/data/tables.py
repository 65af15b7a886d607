"""Reading a data set: checked completely before a run starts, so that no row can fail later.

    .jsonl     one object a line, read in batches, so that an error names its line
    .parquet   memory-mapped; an error names the row, the first one is row 1

    or a benchmark's own file: see benchmarks.py

Required columns: prompt, reasoning, answer. Optional: id, domain, verifier, demonstration; others
are ignored. Every refusal is an InputError with file, row, column, reason and way out.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.data.benchmarks import benchmark_table
from actors.data.lines import ROW, read_lines
from actors.rewards.format import render
from actors.rewards.verifiers import read_verifier
from cluster.messages import Question
from configs.errors import InputError

call = pc.call_function  # kernels by name: pyarrow makes their functions where no checker sees them
REQUIRED = ("prompt", "reasoning", "answer")
NOT_BLANK = ("prompt", "answer")
DEFAULTS = {"domain": "general", "verifier": "auto", "demonstration": ""}
COLUMNS = ("id", *REQUIRED, *DEFAULTS)


def load_table(path: str | Path) -> pa.Table:
    """All rows: the string columns of COLUMNS without nulls, and ROW; raises InputError.

    A missing id becomes the row's number (the line's, in .jsonl), a missing domain "general", a
    missing verifier "auto", a missing demonstration "".
    """
    path = Path(path)
    _check_file(path)
    table = benchmark_table(path)
    if table is None:
        lines = path.suffix == ".jsonl"
        table = read_lines(path, COLUMNS, REQUIRED) if lines else _read_parquet(path)
    if table.num_rows == 0:
        raise InputError(f"{path}: has no rows; give a file with at least one question")
    for name in REQUIRED:
        if name not in table.column_names:
            raise InputError(
                f"{path}: column {name!r} is missing; every row needs {', '.join(REQUIRED)}"
            )
    columns = {name: _column(table, name, path) for name in COLUMNS}
    _check_verifiers(columns["verifier"], table[ROW], path)
    return pa.table({**columns, ROW: table[ROW]})


def question(table: pa.Table, row: int) -> Question:
    """Row `row`, from 0 on."""
    fields = ("id", "prompt", "reasoning", "answer", "domain", "verifier")
    return Question(**{name: table[name][row].as_py() for name in fields})


def demonstration(table: pa.Table, row: int) -> str:
    """What a cold start imitates in this row: its own text, else its reference trace, else ""."""
    own = table["demonstration"][row].as_py()
    reasoning = table["reasoning"][row].as_py()
    if own or not reasoning.strip():
        return own
    return render(reasoning, table["answer"][row].as_py())


def can_be_imitated(table: pa.Table) -> np.ndarray:
    """[rows] bool: where `demonstration` gives a text."""
    own = pc.not_equal(table["demonstration"], "")
    traced = pc.not_equal(pc.utf8_trim_whitespace(table["reasoning"]), "")
    return pc.or_(own, traced).to_numpy()


def check_prompt_lengths(
    table: pa.Table, path: str | Path, count_tokens: Callable[[str], int], limit: int
) -> None:
    """Raises InputError for the first prompt of more than `limit` tokens."""
    for row, prompt in zip(table[ROW], table["prompt"], strict=True):
        tokens = count_tokens(prompt.as_py())
        if tokens > limit:
            raise InputError(
                f"{path}: row {row}: the prompt has {tokens} tokens with its template, above "
                f"rollout.max_prompt_tokens = {limit}; raise that key or shorten the prompt"
            )


def _check_file(path: Path) -> None:
    if path.suffix not in (".jsonl", ".parquet"):
        raise InputError(f"{path}: unknown suffix {path.suffix!r}; give a .jsonl or .parquet file")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give one .jsonl or .parquet file")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check data.train and data.heldout") from None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check its permissions"
        ) from error
    if empty:
        raise InputError(f"{path}: is empty; give a file with at least one question")


def _read_parquet(path: Path) -> pa.Table:
    """The columns that we know, and ROW."""
    try:
        file = pq.ParquetFile(path, memory_map=True)
        table = file.read(columns=[name for name in file.schema_arrow.names if name in COLUMNS])
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: is no readable Parquet file ({error}); write it again, or give .jsonl"
        ) from error
    return table.append_column(ROW, pa.array(np.arange(1, file.metadata.num_rows + 1)))


def _column(table: pa.Table, name: str, path: Path) -> pa.ChunkedArray:
    """One checked column of strings, its gaps filled."""
    rows = table[ROW]
    default = pc.cast(rows, pa.string()) if name == "id" else DEFAULTS.get(name, "")
    if name not in table.column_names:
        return default if name == "id" else pa.chunked_array([pa.repeat(default, len(rows))])
    column = _strings(table[name], name, path)
    if name not in REQUIRED:
        return call("if_else", [_blank(column), default, column])

    def refuse(bad: pa.ChunkedArray, reason: str) -> None:
        place = pc.index(bad, True).as_py()
        if place >= 0:
            raise InputError(f"{path}: row {rows[place]}, column {name!r}: {reason}")

    refuse(column.is_null(), 'is null; give a text ("" for a row without reasoning)')
    if name in NOT_BLANK:
        refuse(_blank(column), "is blank; fill it or remove the row")
    return column


def _blank(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """True where there is no text but whitespace."""
    trimmed = call("utf8_trim_whitespace", [pc.fill_null(column, "")])
    return call("equal", [trimmed, pa.scalar("")])


def _strings(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    kind = column.type
    if name == "id" and pa.types.is_integer(kind):
        return pc.cast(column, pa.string())
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"{path}: row 1, column {name!r}: holds {kind}, not text; write it as strings"
        )
    try:
        column = pc.cast(column, pa.string())
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}: column {name!r}: is not valid UTF-8 ({error}); write it as UTF-8"
        ) from error
    return column


def _check_verifiers(column: pa.ChunkedArray, rows: pa.ChunkedArray, path: Path) -> None:
    for name in column.unique().to_pylist():
        try:
            read_verifier(name)
        except InputError as error:
            row = rows[pc.index(column, name).as_py()]
            raise InputError(f"{path}: row {row}, column 'verifier': {error}") from None
