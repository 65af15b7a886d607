"""What a disk that takes nothing more raises, as bad input: with what to do about it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import InputError

_SIGNS = (
    *("No space left", "RESOURCE_EXHAUSTED", "disk is full", "disk I/O error"),
    *("Read-only", "readonly database", "ermission denied", "quota"),
)


def sync(path: Path) -> None:
    """Until a file, or the names in a folder, would outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def storage_errors(folder: Path, what: str) -> Iterator[None]:
    """Raises InputError for what a full or read-only disk raises, in whatever library."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, sqlite3.Error) as error:
        reason = next((sign for sign in _SIGNS if sign in str(error)), "")
        if not reason:
            raise
        raise InputError(
            f"{what} cannot be written to {folder}: {error}. Free some space there and run the "
            "same command again, or give another folder with --run; what was complete is kept"
        ) from error
