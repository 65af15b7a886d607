"""The life of every prompt and every step, in one durable file: `ledger.sqlite` of the run folder.

A permit is asked, then trained or dropped by exactly one step. Each change is committed before the
loop goes on, and all of them are on disk before the checkpoint that stands on them is written; a
resumed run gives back what came after its checkpoint. SQLite's write-ahead log makes a commit one
append, and a process may die at any point of it; the file must lie on a file system with locks.
`launch.py audit` reads it, and so can `sqlite3`.
"""

import hashlib
import json
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cluster.messages import ScoredGroup
from learner.batch import Batch
from learner.epoch import Fenced
from learner.ledger import Ledger, outcomes
from learner.loop import StepReport
from learner.suspects import ASIDE, SET_ASIDE, TABLE, Suspects

_TABLES = """
CREATE TABLE IF NOT EXISTS permits (
    place INTEGER PRIMARY KEY,  -- in the training stream
    state TEXT NOT NULL CHECK (state IN ('asked', 'trained', 'dropped', 'given back')),
    version INTEGER NOT NULL,   -- of the policy it is to be sampled with
    attempt INTEGER NOT NULL,   -- how often it was asked
    question TEXT,              -- the row of the data; this and what follows once a step used it
    step INTEGER,
    reason TEXT,                -- why it was dropped
    actor INTEGER,
    judge INTEGER,
    content TEXT                -- digest of its samples and rewards
) STRICT;
CREATE TABLE IF NOT EXISTS steps (
    step INTEGER PRIMARY KEY,
    sitting INTEGER NOT NULL,
    reward REAL,                -- mean over the judged samples
    samples INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    fingerprint INTEGER NOT NULL,  -- of the parameters after it
    metrics TEXT NOT NULL,      -- what the update said, JSON
    seconds TEXT NOT NULL,      -- by part, JSON
    wall_s REAL NOT NULL,       -- since the step before
    finished_at REAL NOT NULL   -- seconds since the epoch
) STRICT;
CREATE TABLE IF NOT EXISTS files (  -- that will not change any more
    name TEXT PRIMARY KEY,
    step INTEGER NOT NULL,      -- the last one it is about
    sha256 TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS aside (  -- prompts that are not asked for any more
    place INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    at REAL NOT NULL            -- seconds since the epoch
) STRICT;
CREATE TABLE IF NOT EXISTS sittings (
    sitting INTEGER PRIMARY KEY,
    resumed_step INTEGER NOT NULL,
    given_back INTEGER NOT NULL,  -- permits used up behind the checkpoint that it went on from
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    learner TEXT NOT NULL,      -- processes, devices, threads: what the bits of a step depend on
    started_at REAL NOT NULL    -- seconds since the epoch
) STRICT;
CREATE TABLE IF NOT EXISTS incidents (  -- processes that died or hung, damaged checkpoints
    at REAL NOT NULL,           -- noticed, seconds since the epoch
    outcome TEXT NOT NULL CHECK (outcome IN ('replaced', 'job started again', 'set aside')),
    what TEXT NOT NULL
) STRICT;
"""
_ASK = """
INSERT INTO permits (place, state, version, attempt) VALUES (?, 'asked', ?, 1)
ON CONFLICT (place) DO UPDATE SET
    state = 'asked', version = excluded.version, attempt = attempt + 1
"""
_USE = """
UPDATE permits SET state = ?, version = ?, question = ?, step = ?, reason = ?, actor = ?, judge = ?,
    content = ?
WHERE place = ?
"""
_GIVE_BACK = """
UPDATE permits SET state = 'given back', question = NULL, step = NULL, reason = NULL,
    actor = NULL, judge = NULL, content = NULL
WHERE step > ? OR step IS NULL
"""


class History:
    """Writes the file. `ledger`: that of the checkpoint which the run goes on from; `learner`: its
    processes, devices and threads, in words. Once another one was begun, for a later learner, this
    one writes nothing more: each change raises Fenced.

    Nothing is kept in memory but what was set aside; the file grows by about 150 bytes a permit.
    """

    def __init__(self, path: Path, ledger: Ledger, learner: str):
        self._db = open_database(path, create=True)
        self._suspects = Suspects(self._db, path.parent / "skipped")
        self._written = time.monotonic()
        with self._db:
            self._db.executescript(_TABLES + TABLE)
            used = "SELECT count(*) FROM permits WHERE state IN ('trained', 'dropped')"
            (before,) = self._db.execute(f"{used} AND step <= ?", [ledger.step]).fetchone()
            (behind,) = self._db.execute(f"{used} AND step > ?", [ledger.step]).fetchone()
            self._db.execute(_GIVE_BACK, [ledger.step])
            self._db.execute("DELETE FROM steps WHERE step > ?", [ledger.step])
            self._db.execute("DELETE FROM files WHERE step > ?", [ledger.step])
            self._aside = dict(self._db.execute("SELECT place, reason FROM aside").fetchall())
            self._sitting = self._db.execute(
                "INSERT INTO sittings (resumed_step, given_back, host, pid, learner, started_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                [ledger.step, behind, socket.gethostname(), os.getpid(), learner, time.time()],
            ).lastrowid
        if before < ledger.consumed:
            print(
                f"warning: {path} knows {before} of the {ledger.consumed} prompts that this run "
                "has used up: it was removed or cut; the audit of this run will fail",
                file=sys.stderr,
            )

    @contextmanager
    def _change(self) -> Iterator[None]:
        """All of it or nothing; a transaction that writes has the file for itself."""
        with self._db:
            yield
            self.check()

    def check(self) -> None:
        """Raises Fenced when another sitting has begun since."""
        newest = "SELECT sitting, host, pid FROM sittings ORDER BY sitting DESC LIMIT 1"
        sitting, host, pid = self._db.execute(newest).fetchone()
        if sitting != self._sitting:
            raise Fenced(
                f"the ledger takes nothing more from sitting {self._sitting} of this run: sitting "
                f"{sitting} has begun since, in process {pid} on {host}; this one must end"
            )

    @property
    def aside(self) -> Mapping[int, str]:
        """Prompts that were set aside in any sitting, and why."""
        return self._aside

    def set_aside(self, place: int, reason: str) -> None:
        """It kills who works on it: from now on nobody is asked for it, nor after a resume."""
        with self._change():
            self._db.execute(ASIDE, [place, reason, time.time()])
        self._now_aside(place, reason)

    def _now_aside(self, place: int, reason: str) -> None:
        self._aside[place] = reason
        print(f"warning: prompt {place} of the training stream: {reason}", file=sys.stderr)

    def update_lost(self, step: int, places: Sequence[int], batch: Batch) -> None:
        """The learner was lost in an update: sets aside what is to blame, once that is known."""
        for place in self._suspects.lost(step, places, batch):
            self._now_aside(place, SET_ASIDE)

    def asked(self, places: Sequence[int], version: int) -> None:
        with self._change():
            self._db.executemany(_ASK, [(place, version) for place in places])

    def done(self, report: StepReport) -> None:
        """A step with what it did to each of its prompts, all of it or nothing."""
        chosen, now = report.chosen, time.monotonic()
        uses = [
            _use(group, report.step, reason)
            for group, reason in zip(chosen.groups, outcomes(chosen), strict=True)
        ]
        step = {
            "step": report.step,
            "sitting": self._sitting,
            "reward": chosen.mean_reward if chosen.valid.any() else None,
            "samples": chosen.rewards.size,
            "tokens": sum(len(row) for group in chosen.groups for row in group.rollout.tokens),
            "fingerprint": int(report.metrics["fingerprint"]),
            "metrics": json.dumps(report.metrics),
            "seconds": json.dumps(report.seconds),
            "wall_s": now - self._written,
            "finished_at": time.time(),
        }
        self._written = now
        with self._change():
            self._db.executemany(_USE, uses)
            self._suspects.acquit([group.key[1] for group in chosen.groups])
            places = ", ".join(f":{name}" for name in step)
            self._db.execute(f"INSERT INTO steps ({', '.join(step)}) VALUES ({places})", step)

    def filed(self, path: Path, step: int) -> None:
        """A file that is complete, and the last step that it is about."""
        with self._change():
            row = [path.name, step, file_sha256(path)]
            self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", row)

    def sync(self) -> None:
        """Until all of it is on disk: comes before the checkpoint that stands on it."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def damaged(self, what: str) -> None:
        """A checkpoint that was set aside."""
        print(f"warning: {what}", file=sys.stderr, flush=True)
        with self._change():
            row = [time.time(), "set aside", what]
            self._db.execute("INSERT INTO incidents VALUES (?, ?, ?)", row)

    def close(self) -> None:
        self._db.close()


def note_incident(path: Path, outcome: str, what: str) -> None:
    """What happened to a process, and what was done; the run may have no ledger yet."""
    with closing(open_database(path, create=True)) as database, database:
        database.executescript(_TABLES)
        database.execute("INSERT INTO incidents VALUES (?, ?, ?)", [time.time(), outcome, what])


def read_incidents(path: Path) -> list[dict[str, Any]]:
    """In order of time; none where there is no ledger yet."""
    return _rows(path, "SELECT * FROM incidents ORDER BY at") if path.exists() else []


def open_database(path: Path, create: bool) -> sqlite3.Connection:
    """Raises sqlite3.DatabaseError when the file is not one, or is not there."""
    mode = "rwc" if create else "rw"
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", timeout=30.0, uri=True)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")  # `sync` says when the disk must have it
    return database


def read_steps(path: Path) -> list[dict[str, Any]]:
    """The steps in order; `seconds` and `metrics` as dictionaries."""
    rows = _rows(path, "SELECT * FROM steps ORDER BY step")
    return [row | {name: json.loads(row[name]) for name in ("seconds", "metrics")} for row in rows]


def read_sittings(path: Path) -> dict[int, dict[str, Any]]:
    """Each time that the run was started, by its number."""
    return {row["sitting"]: row for row in _rows(path, "SELECT * FROM sittings")}


def _rows(path: Path, query: str) -> list[dict[str, Any]]:
    with closing(open_database(path, create=False)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(query)]


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content(
    tokens: Sequence[np.ndarray],
    logprobs: Sequence[np.ndarray],
    rewards: Sequence[float],
    abstained: Sequence[str],
) -> str:
    """Digest of all that the update takes from a group, sibling by sibling (BLAKE2b, 64 bits)."""
    digest = hashlib.blake2b(digest_size=8)
    for row, values, reward, reason in zip(tokens, logprobs, rewards, abstained, strict=True):
        digest.update(len(row).to_bytes(4, "little"))
        digest.update(np.asarray(row, np.int32).tobytes())
        digest.update(np.asarray(values, np.float32).tobytes())
        digest.update(np.float32(reward).tobytes())
        digest.update(reason.encode() + b"\0")
    return digest.hexdigest()


def _use(group: ScoredGroup, step: int, reason: str) -> tuple:
    rollout, verdicts = group.rollout, group.verdicts
    digest = content(
        rollout.tokens,
        rollout.logprobs,
        [verdict.reward for verdict in verdicts],
        [verdict.abstained for verdict in verdicts],
    )
    state = "dropped" if reason else "trained"
    question = rollout.permit.question.id
    place = rollout.permit.index
    fate = state, rollout.policy_version, question, step, reason or None
    return *fate, rollout.actor, group.judge, digest, place
