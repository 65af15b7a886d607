"""What a user got wrong, said once and without a traceback."""

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class InputError(Exception):
    """Bad input: `launch.py` prints the message after `error: ` and leaves with exit code 2.

    The message names the key or file, the value, the limit, and the way out.
    """


def read_toml(path: Path, what: str, way_out: str) -> tuple[str, dict[str, Any]]:
    """Text and content of a TOML file. `what` it is and the `way_out` go into the InputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror}; {way_out}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path}: not UTF-8 text ({error.reason})") from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{what} {path}: not TOML: {error}") from error


def nearest(key: str, known: Sequence[str]) -> str:
    """The known dotted key that `key` may have meant, by its whole or its last part; or ""."""
    last_parts = [name.split(".")[-1] for name in known]
    if last_parts.count(key.split(".")[-1]) == 1:  # it stands in another section
        return known[last_parts.index(key.split(".")[-1])]
    near = difflib.get_close_matches(key, known, 1)
    if near:
        return near[0]
    near = difflib.get_close_matches(key.split(".")[-1], last_parts, 1)
    return known[last_parts.index(near[0])] if near else ""


def problem(detail: Any, where: str, way_out: str) -> str:
    """One line for one entry of a pydantic ValidationError.

    `way_out` is said of a key that does not exist.
    """
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown ({where}); {way_out}"
    if detail["type"] == "missing":
        return f"{key}: is missing ({where})"
    message = detail["msg"].removeprefix("Value error, ")
    if not key:
        return f"{message} ({where})"
    if detail["type"] == "value_error":  # a check across the keys of a section
        return f"[{key}] {message} ({where})"
    return f"{key} = {detail['input']!r}: {message} ({where})"


class RunError(Exception):
    """The run cannot go on, whatever its input: exit code 1. The message says what is to be done;
    all that was saved is kept."""


class LearnerLost(RunError):
    """A process of the learner died, or does not answer."""
