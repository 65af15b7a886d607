"""Benchmarks by their usual files, as rows of ours; their data is the user's to give.

    GSM8K      question, answer ("... #### 72")
    MATH-500   problem, solution, answer [, subject]
    MMLU       question, choices, answer (a letter or the place of the right choice) [, subject]

Which one a file is, its columns tell. Their training files serve as training data the same way.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.data.lines import ROW
from configs.errors import InputError

_LETTERS = "ABCDEFGHIJ"
_CALCULATOR = re.compile(r"<<[^>]*>>")
Row = Mapping[str, Any]


def benchmark_table(path: Path) -> pa.Table | None:
    """The rows of a benchmark's file with the columns of ours and ROW; None for any other file.

    Raises InputError naming file and row for one that cannot be read.
    """
    columns = _columns(path)
    reader = next((read for names, read in _READERS if names <= columns), None)
    if reader is None or "prompt" in columns:
        return None
    rows = []
    for number, row in enumerate(_rows(path), 1):
        try:
            rows.append({"id": f"{path.stem}-{number}", ROW: number, **reader(row)})
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise InputError(
                f"{path}: row {number} is not as its first one ({error}); fetch the file again"
            ) from error
    return pa.Table.from_pylist(rows)


def gsm8k(row: Row) -> dict[str, str]:
    reasoning, sign, answer = row["answer"].rpartition("####")
    if not sign:
        raise ValueError("the answer has no ####")
    return {
        "prompt": row["question"].strip(),
        "reasoning": _CALCULATOR.sub("", reasoning).strip(),
        "answer": answer.strip().replace(",", ""),
        "domain": "math",
        "verifier": "number",
    }


def math_500(row: Row) -> dict[str, str]:
    return {
        "prompt": row["problem"].strip(),
        "reasoning": (row.get("solution") or "").strip(),
        "answer": row["answer"].strip(),
        "domain": row.get("subject") or "math",
        "verifier": "math",
    }


def mmlu(row: Row) -> dict[str, str]:
    choices, answer = list(row["choices"]), row["answer"]
    place = _LETTERS.index(answer.strip()) if isinstance(answer, str) else int(answer)
    if not 0 <= place < len(choices):
        raise ValueError(f"answer {answer} is none of {len(choices)} choices")
    shown = [f"{letter}. {text}" for letter, text in zip(_LETTERS, choices, strict=False)]
    return {
        "prompt": "\n".join([row["question"].strip(), *shown, "Answer with the letter."]),
        "reasoning": "",
        "answer": _LETTERS[place],
        "domain": row.get("subject") or "general",
        "verifier": "choice",
    }


# the first whose columns are all there
_READERS: tuple[tuple[frozenset[str], Callable[[Row], dict[str, str]]], ...] = (
    (frozenset({"question", "choices", "answer"}), mmlu),
    (frozenset({"problem", "answer"}), math_500),
    (frozenset({"question", "answer"}), gsm8k),
)


def _columns(path: Path) -> frozenset[str]:
    """Of the first row; none when it cannot be read, which the reader of our own files will say."""
    try:
        if path.suffix == ".parquet":
            return frozenset(pq.read_schema(path).names)
        with path.open(encoding="utf-8") as file:
            first = json.loads(file.readline())
        return frozenset(first) if isinstance(first, dict) else frozenset()
    except (OSError, ValueError, pa.ArrowException):
        return frozenset()


def _rows(path: Path) -> list[Row]:
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path).to_pylist()
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({error}); fetch the file again") from error
