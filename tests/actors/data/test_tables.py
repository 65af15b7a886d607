import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.data.lines import BATCH_LINES
from actors.data.tables import check_prompt_lengths, demonstration, load_table, question
from cluster.messages import Question
from configs.errors import InputError

GOOD = {"prompt": "What is 1 + 1?", "reasoning": "1. 1 + 1 = 2", "answer": "2"}


def jsonl(tmp_path, *lines):
    path = tmp_path / "rows.jsonl"
    encoded = [x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines]
    path.write_bytes(b"\n".join(encoded) + b"\n")
    return path


def parquet(tmp_path, columns):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def refusal(path) -> str:
    with pytest.raises(InputError) as error:
        load_table(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_json_lines_fill_what_is_missing(tmp_path):
    full = GOOD | {"id": 17, "domain": "math", "verifier": "number", "extra": [1]}
    table = load_table(jsonl(tmp_path, full, b"", GOOD | {"verifier": "", "domain": None}))
    assert question(table, 0) == Question("17", *GOOD.values(), "math", "number")
    assert question(table, 1) == Question("3", *GOOD.values(), "general", "auto")
    assert "extra" not in table.column_names


def test_parquet_fills_what_is_missing(tmp_path):
    columns = {name: [value] * 2 for name, value in GOOD.items()}
    table = load_table(parquet(tmp_path, columns | {"domain": ["math", None], "extra": [1, 2]}))
    assert question(table, 0) == Question("1", *GOOD.values(), "math", "auto")
    assert question(table, 1) == Question("2", *GOOD.values(), "general", "auto")


def test_json_lines_of_several_batches_keep_their_order(tmp_path):
    rows = BATCH_LINES + 3
    table = load_table(jsonl(tmp_path, *(GOOD | {"answer": str(row)} for row in range(rows))))
    assert table.num_rows == rows
    assert question(table, rows - 1).answer == str(rows - 1)


def test_a_byte_order_mark_and_windows_line_ends_are_harmless(tmp_path):
    path = jsonl(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r", GOOD)
    assert load_table(path).num_rows == 2


def test_encoded_and_large_strings_are_strings(tmp_path):
    columns = {
        "prompt": pa.array(["a"], pa.large_string()),
        "reasoning": pa.array([""]),
        "answer": pa.array(["b"]).dictionary_encode(),
        "id": pa.array([5]),
    }
    table = load_table(parquet(tmp_path, columns))
    assert question(table, 0) == Question("5", "a", "", "b", "general", "auto")


def test_a_row_without_a_demonstration_shows_its_reference(tmp_path):
    rows = (GOOD, GOOD | {"demonstration": "shown"}, GOOD | {"reasoning": ""})
    table = load_table(jsonl(tmp_path, *rows))
    rendered = "<reasoning>1. 1 + 1 = 2</reasoning><answer>2</answer>"
    assert [demonstration(table, row) for row in range(3)] == [rendered, "shown", ""]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{oops", ["row 2: is not JSON", "one object a line"]),
        (b"[" * 100_000, ["row 2: is not JSON"]),
        (b'{"prompt": "caf\xe9"}', ["row 2: is not UTF-8", "save the file as UTF-8"]),
        ([1, 2], ["row 2: holds list, not an object", '{"prompt": "..."']),
        ({"prompt": "a", "answer": "b"}, ["row 2: column 'reasoning' is missing, found: prompt"]),
        (GOOD | {"answer": 2}, ["row 2, column 'answer': holds int, not text", "in quotes"]),
        (GOOD | {"domain": 2}, ["row 2, column 'domain': holds int, not text"]),
        (GOOD | {"answer": None}, ["row 2, column 'answer': is null", "give a text"]),
        (GOOD | {"reasoning": None}, ["row 2, column 'reasoning': is null", "without reasoning"]),
        (GOOD | {"prompt": " \t"}, ["row 2, column 'prompt': is blank", "remove the row"]),
        (GOOD | {"answer": ""}, ["row 2, column 'answer': is blank"]),
        (GOOD | {"verifier": "magic"}, ["row 2, column 'verifier'", "'magic'", "known: auto"]),
        (b'{"prompt": "\\ud800", "reasoning": "", "answer": "b"}', ["row 2", "surrogate"]),
    ],
)
def test_a_bad_json_line_is_named(tmp_path, line, said):
    message = refusal(jsonl(tmp_path, GOOD, line))
    for part in said:
        assert part in message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"answer": ["1", None]}, ["row 2, column 'answer': is null"]),
        ({"answer": pa.array([None, None])}, ["row 1, column 'answer': is null"]),
        ({"prompt": ["a", "\n"]}, ["row 2, column 'prompt': is blank"]),
        ({"answer": [1, 2]}, ["column 'answer': holds int64, not text", "as strings"]),
        ({"domain": [1, 2]}, ["column 'domain': holds int64, not text"]),
        ({"verifier": ["auto", "x"]}, ["row 2, column 'verifier'", "known: auto"]),
    ],
)
def test_a_bad_parquet_row_is_named(tmp_path, changed, said):
    message = refusal(parquet(tmp_path, {k: [v] * 2 for k, v in GOOD.items()} | changed))
    for part in said:
        assert part in message


def test_a_parquet_file_without_a_required_column_is_refused(tmp_path):
    message = refusal(parquet(tmp_path, {"prompt": ["a"], "answer": ["b"]}))
    assert "column 'reasoning' is missing" in message
    assert "prompt, reasoning, answer" in message


def test_parquet_text_that_is_not_utf8_is_refused(tmp_path):
    wrong = pa.Array.from_buffers(pa.string(), 1, pa.array([b"caf\xe9"], pa.binary()).buffers())
    columns = {k: pa.array([v]) for k, v in GOOD.items()} | {"prompt": wrong}
    message = refusal(parquet(tmp_path, columns))
    assert "column 'prompt'" in message and "UTF-8" in message


def test_files_that_are_none_are_refused(tmp_path):
    assert "no such file; check data.train" in refusal(tmp_path / "absent.jsonl")
    assert "unknown suffix '.csv'; give a .jsonl or .parquet" in refusal(tmp_path / "rows.csv")
    folder = tmp_path / "folder.parquet"
    folder.mkdir()
    assert "is a folder; give one" in refusal(folder)
    for name in ("empty.jsonl", "empty.parquet"):
        (tmp_path / name).touch()
        assert "is empty; give a file" in refusal(tmp_path / name)
    (tmp_path / "blank.jsonl").write_text("\n \n")
    assert "has no rows" in refusal(tmp_path / "blank.jsonl")
    assert "has no rows" in refusal(parquet(tmp_path, {k: pa.array([], "str") for k in GOOD}))


def test_a_damaged_parquet_file_is_refused(tmp_path):
    path = parquet(tmp_path, {k: [v] * 50 for k, v in GOOD.items()})
    whole = path.read_bytes()
    for damaged in (b"PAR1 nonsense", whole[:-9], whole[:4] + bytes(len(whole) - 12) + whole[-8:]):
        path.write_bytes(damaged)
        assert "is no readable Parquet file" in refusal(path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = jsonl(tmp_path, GOOD)

    def forbidden(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", forbidden)
    message = refusal(path)
    assert "cannot be read (Permission denied); check its permissions" in message


def test_a_prompt_that_is_too_long_is_named_with_its_limit(tmp_path):
    path = jsonl(tmp_path, GOOD, b"", GOOD | {"prompt": "one two three"})
    table = load_table(path)

    def count_words(prompt: str) -> int:
        return len(prompt.split())

    check_prompt_lengths(table, path, count_words, limit=5)
    with pytest.raises(InputError) as error:
        check_prompt_lengths(table, path, lambda prompt: 2 * len(prompt), limit=27)
    for part in (str(path), "row 1", "28 tokens", "rollout.max_prompt_tokens = 27"):
        assert part in str(error.value)
    with pytest.raises(InputError, match="row 3: the prompt has 9 tokens"):
        check_prompt_lengths(table, path, lambda prompt: 9 * ("two" in prompt), limit=8)
