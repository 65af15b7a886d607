"""The ledger in memory, and what must hold of it by itself: every prompt once, in its order."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cluster.messages import Question
from configs.schema import RunConfig
from learner.history import open_database, read_steps
from learner.refill import most_groups, versions_asked

USED = ("trained", "dropped")


@dataclass(frozen=True)
class Finding:
    """Something that does not hold."""

    what: str
    ids: tuple[int, ...]  # prompts (places in the stream) or steps, as `what` says


@dataclass
class Books:
    """The ledger in memory, and what is found while it is compared."""

    horizon: int  # the newest checkpoint's step: what is checked ends here
    permits: dict[int, dict[str, Any]]  # by place
    steps: dict[int, dict[str, Any]]
    files: dict[str, str]  # rollouts: name -> SHA-256
    findings: list[Finding] = field(default_factory=list)

    def expect(self, what: str, wrong: Iterable[int]) -> None:
        """`wrong`: the prompts or steps for which it does not hold."""
        if wrong := sorted(wrong):
            self.finding(what, *wrong)

    def finding(self, what: str, *ids: int) -> None:
        self.findings.append(Finding(what, ids))

    @cached_property
    def used(self) -> dict[int, list[dict[str, Any]]]:
        """The permits that each step used, in the order of the data."""
        of_step: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for _, permit in sorted(self.permits.items()):
            if permit["state"] in USED:
                of_step[permit["step"]].append(permit)
        return of_step


def read_ledger(
    path: Path, horizon: int
) -> tuple[dict[int, dict], dict[int, dict], dict[str, str]]:
    if not path.exists():
        raise ValueError("it is not there")
    with closing(open_database(path, create=False)) as database:
        ((verdict,),) = database.execute("PRAGMA integrity_check(1)").fetchall()
        if verdict != "ok":
            raise ValueError(verdict)
        database.row_factory = sqlite3.Row
        files = dict(
            database.execute("SELECT name, sha256 FROM files WHERE step <= ?", [horizon]).fetchall()
        )
        permits = {row["place"]: dict(row) for row in database.execute("SELECT * FROM permits")}
    return permits, {step["step"]: step for step in read_steps(path)}, files


def check_ledger(
    books: Books,
    config: RunConfig,
    places: Collection[int],
    question_at: Callable[[int], Question],
) -> None:
    """Every prompt used once, as the order of the run wants it. `places`: those that must be."""
    used = {p: permit for p, permit in books.permits.items() if permit["state"] in USED}
    inside = {place: used[place] for place in places if place in used}

    def wrong(holds: Callable[[int, dict], bool]) -> list[int]:
        return [place for place, permit in inside.items() if not holds(place, permit)]

    books.expect("prompts lost: neither trained nor dropped", set(places) - set(used))
    (_check_exact if config.loop.order == "exact" else _check_arrival)(books, config, wrong)
    books.expect(
        "prompts dropped without a reason, or trained with one",
        wrong(lambda _, permit: (permit["state"] == "dropped") == bool(permit["reason"])),
    )
    books.expect(
        "prompts out of the order of the data",
        wrong(lambda place, permit: permit["question"] == question_at(place).id),
    )
    books.expect("steps missing in the ledger", set(range(1, books.horizon + 1)) - set(books.steps))


def _check_exact(books: Books, config: RunConfig, wrong: Callable) -> None:
    """The prompts of a step follow those of the step before."""
    counts = _check_counts(books, config)
    if not config.loop.max_refills:
        counts = [config.loop.groups_per_step] * books.horizon
    step_of = np.repeat(np.arange(books.horizon) + 1, counts)  # by place
    versions = versions_asked(counts, config)

    def holds(name: str, expected: np.ndarray) -> Callable[[int, dict], bool]:
        return lambda place, permit: place < len(expected) and permit[name] == expected[place]

    books.expect("prompts used by another step than their own", wrong(holds("step", step_of)))
    books.expect(
        "prompts sampled with another policy version than their own",
        wrong(holds("version", versions)),
    )


def _check_counts(books: Books, config: RunConfig) -> list[int]:
    """How many prompts each step used."""
    used = Counter(permit["step"] for permit in books.permits.values())
    counts = [used[step] for step in range(1, books.horizon + 1)]
    fewest, most = config.loop.groups_per_step, most_groups(config)
    books.expect(
        "steps that used more or fewer prompts than they should",
        [step for step, count in enumerate(counts, 1) if not fewest <= count <= most],
    )
    return counts


def _check_arrival(books: Books, config: RunConfig, wrong: Callable) -> None:
    """Any prompt in any step, but as many in each, and none older than it may be."""
    _check_counts(books, config)
    steps = range(1, books.horizon + 1)
    books.expect("prompts used by no step", wrong(lambda _, permit: permit["step"] in steps))
    lags = range(config.loop.max_staleness + 1)
    books.expect(
        "prompts sampled with a policy version that is too old, or too new",
        wrong(lambda _, permit: permit["step"] - 1 - permit["version"] in lags),
    )
