"""Scores that a model gave, on disk: the same question about the same text is asked once.

Content-addressed: the key is a hash of judge, rubric, prompt and completion. Abstentions are not
kept. SQLite in WAL mode: several judges of one host share a file.
"""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from actors.rewards.asking import Opinion, Request, Score

_AT_ONCE = 500  # keys in one query


class VerdictCache:
    """One file. A disk that fails takes nothing from a judge: what is not found is asked."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(path, timeout=30.0)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = NORMAL")  # what a crash takes is asked again
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS scores "
            "(key TEXT PRIMARY KEY, value REAL NOT NULL, at REAL NOT NULL) WITHOUT ROWID"
        )

    def look_up(self, judge: str, requests: Sequence[Request]) -> dict[Request, Opinion]:
        keys = {request.key(judge): request for request in requests}
        names, found = list(keys), {}
        with suppress(sqlite3.Error):
            for start in range(0, len(names), _AT_ONCE):
                some = names[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, value FROM scores WHERE key IN ({marks})"
                found |= {keys[key]: Score(value) for key, value in self._file.execute(query, some)}
        return found

    def keep(self, judge: str, opinions: Mapping[Request, Opinion]) -> None:
        now = time.time()
        rows = [
            (request.key(judge), opinion.value, now)
            for request, opinion in opinions.items()
            if isinstance(opinion, Score)
        ]
        with suppress(sqlite3.Error), self._file:
            self._file.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        self._file.close()
