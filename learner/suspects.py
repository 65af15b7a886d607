"""Groups whose updates kill the learner: after three losses in a row they are set aside.

A learner that dies or hangs in an update may do so by chance, or because of what it reads. Each
group of the update becomes a suspect; one that goes through an update is none any more. One that
was in three such updates without ever going through is given up, with all that was never seen
apart from it, and the last batch is kept in `skipped/` of the run folder.
"""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from learner.batch import Batch
from learner.unsound import write_batch

LOST_UPDATES = 3
SET_ASIDE = f"set aside: {LOST_UPDATES} learners in a row died or hung in its update"
TABLE = """
CREATE TABLE IF NOT EXISTS suspects (  -- prompts whose last update lost the learner
    place INTEGER PRIMARY KEY,
    losses INTEGER NOT NULL     -- in a row
) STRICT;
"""
_LOST = """
INSERT INTO suspects VALUES (?, 1) ON CONFLICT (place) DO UPDATE SET losses = losses + 1
"""

ASIDE = "INSERT OR REPLACE INTO aside VALUES (?, ?, ?)"


class Suspects:
    """Kept in the ledger's database, so that a run which is started again knows them."""

    def __init__(self, database: sqlite3.Connection, dumps: Path):
        self._db, self._dumps = database, dumps

    def lost(self, step: int, places: Sequence[int], batch: Batch) -> list[int]:
        """The learner was lost in the update of `step`, which trained on the prompts `places`.

        Returns those of them that are set aside now: all at once or none, since a run that is cut
        off in between must not go on with some of them.
        """
        with self._db:
            self._db.executemany(_LOST, [(place,) for place in places])
            enough = f"SELECT place FROM suspects WHERE losses >= {LOST_UPDATES}"
            guilty = sorted({place for (place,) in self._db.execute(enough)} & set(places))
            if guilty:
                write_batch(self._dumps / f"step-{step:06d}.npz", batch)
            self._db.executemany(ASIDE, [(place, SET_ASIDE, time.time()) for place in guilty])
        return guilty

    def acquit(self, places: Sequence[int]) -> None:
        """An update went through with these; belongs into the transaction of its step."""
        self._db.executemany("DELETE FROM suspects WHERE place = ?", [(n,) for n in places])
