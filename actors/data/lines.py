"""JSON lines into an Arrow table, batch by batch: a file of any size, never as Python objects."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from configs.errors import InputError

ROW = "row"  # the int64 column beside the data: each row's place in its file, from 1 on
BATCH_LINES = 4096


def read_lines(path: Path, columns: tuple[str, ...], required: tuple[str, ...]) -> pa.Table:
    """String columns `columns` (null where a line has none) and ROW, the int64 line number.

    Blank lines are skipped. Raises InputError for a line that is not UTF-8, no JSON object, lacks a
    required column or holds anything but text in one of the columns.
    """
    fields = [(name, pa.string()) for name in columns]
    schema = pa.schema([*fields, (ROW, pa.int64())])
    return pa.Table.from_batches(_batches(path, columns, required, schema), schema)


def _batches(
    path: Path, columns: tuple[str, ...], required: tuple[str, ...], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    values: dict[str, list] = {name: [] for name in schema.names}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            where = f"{path}: row {number}"
            record = _record(line, number, where)
            for name in columns:
                values[name].append(_text(record, name, name in required, where))
            values[ROW].append(number)
            if len(values[ROW]) == BATCH_LINES:
                yield pa.record_batch(values, schema=schema)
                values = {name: [] for name in schema.names}
    yield pa.record_batch(values, schema=schema)


def _record(line: bytes, number: int, where: str) -> dict:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: is not UTF-8 ({error.reason}); save the file as UTF-8"
        ) from None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is not JSON ({error}); write one object a line") from None
    if not isinstance(record, dict):
        raise InputError(
            f"{where}: holds {type(record).__name__}, not an object; write "
            '{"prompt": "...", "reasoning": "...", "answer": "..."}'
        )
    return record


def _text(record: dict, name: str, required: bool, where: str) -> str | None:
    if required and name not in record:
        found = ", ".join(map(str, record)) or "nothing"
        raise InputError(f"{where}: column {name!r} is missing, found: {found}; add it to the row")
    value = record.get(name)
    if name == "id" and type(value) is int:
        return str(value)
    if value is not None and not isinstance(value, str):
        raise InputError(
            f"{where}, column {name!r}: holds {type(value).__name__}, not text; put it in quotes"
        )
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{where}, column {name!r}: holds half of a surrogate pair; write the character itself"
        ) from None
    return value
