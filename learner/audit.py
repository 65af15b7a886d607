"""Does a run folder bear out what the run claims? Recomputed from its files alone.

Checked up to the newest checkpoint: what lies behind it is done again when the run goes on.
Ledger, rollouts, event files, checkpoints and summary are each held against the others and against
the order of the data, so that a change of any one of them shows.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cluster.messages import Question
from configs.run_folder import RunFolder
from configs.schema import RunConfig
from learner import fingerprint
from learner.batch import select
from learner.books import USED, Books, Finding, check_ledger, read_ledger
from learner.history import content, file_sha256
from learner.ledger import Ledger, outcomes
from learner.refill import refilled_rightly
from learner.stored import (
    Row,
    checkpoint_steps,
    groups_of,
    read_checkpoint,
    read_record,
    rollout_files,
    stored_scalars,
    stored_steps,
)


def audit(
    folder: RunFolder, config: RunConfig, question_at: Callable[[int], Question]
) -> dict[str, Any]:
    """`question_at`: the question at a place of the training stream.

    Returns {"ok", "step", "trained", "dropped": {reason: number}, "outstanding", "lost", "doubled",
    "findings": [{"what", "ids"}]}; lost and doubled are places in the stream.
    """
    checkpoints = checkpoint_steps(folder.checkpoints)
    horizon = max(checkpoints, default=0)
    try:
        books = Books(horizon, *read_ledger(folder.ledger_file, horizon))
    except (sqlite3.DatabaseError, ValueError) as error:
        books = Books(horizon, {}, {}, {}, [Finding(f"ledger.sqlite cannot be read: {error}", ())])
    places = _used_up(books, folder.checkpoints, config)
    check_ledger(books, config, places, question_at)
    doubled = _check_rollouts(books, folder.rollouts, config, question_at)
    _check_events(books, folder.tensorboard)
    for step in checkpoints:
        _check_checkpoint(books, folder.checkpoints, step, config)
    _check_summary(books, folder)
    inside = [books.permits[place] for place in places if place in books.permits]
    lost = [p for p in places if books.permits.get(p, {}).get("state") not in USED]
    return {
        "ok": not books.findings,
        "step": horizon,
        "trained": sum(permit["state"] == "trained" for permit in inside),
        "dropped": dict(Counter(p["reason"] for p in inside if p["state"] == "dropped")),
        "outstanding": sum(permit["state"] == "asked" for permit in books.permits.values()),
        "lost": lost,
        "doubled": doubled,
        "findings": [
            {"what": finding.what, "ids": list(finding.ids)} for finding in books.findings
        ],
    }


def _used_up(books: Books, checkpoints: Path, config: RunConfig) -> Sequence[int]:
    """The prompts that the newest checkpoint has behind it."""
    if config.loop.order == "exact" and not config.loop.max_refills:
        return range(books.horizon * config.loop.groups_per_step)
    try:
        ledger = Ledger(**read_record(checkpoints, books.horizon)["ledger"])
    except (OSError, ValueError, LookupError, TypeError):  # found when it is compared
        return [p["place"] for s, used in books.used.items() if s <= books.horizon for p in used]
    return sorted(set(range(ledger.cursor)) - set(ledger.outstanding))


def _check_rollouts(
    books: Books, rollouts: Path, config: RunConfig, question_at: Callable[[int], Question]
) -> list[int]:
    """The stored groups are those that were trained; returns prompts that are there twice."""
    seen: Counter[int] = Counter()
    times: Counter[int] = Counter()  # of a prompt
    wrong: set[int] = set()  # steps
    files = rollout_files(rollouts, range(1, books.horizon + 1))
    digests = {path.name: file_sha256(path) for path in files}
    for name in sorted({*digests, *books.files}):
        if digests.get(name) != books.files.get(name):
            books.finding(f"rollouts/{name} is not the file that was written")
    for path in files:
        try:
            for step, rows in stored_steps(path):
                seen[step] += 1
                times.update({row["index"] for row in rows})
                if not _step_holds(books, step, rows, config, question_at):
                    wrong.add(step)
        except (OSError, ValueError, KeyError):
            books.finding(f"rollouts/{path.name} cannot be read")
    books.expect("steps without rollouts", set(range(1, books.horizon + 1)) - set(seen))
    books.expect("steps whose rollouts are there twice", {s for s, n in seen.items() if n > 1})
    books.expect("steps whose rollouts are not what was trained", wrong)
    doubled = sorted(place for place, count in times.items() if count > 1)
    books.expect("prompts used twice", doubled)
    return doubled


def _step_holds(
    books: Books,
    step: int,
    rows: Sequence[Row],
    config: RunConfig,
    question_at: Callable[[int], Question],
) -> bool:
    try:
        groups = groups_of(rows)
        chosen = select(groups, config, step)
    except ValueError:  # siblings missing
        return False
    size = config.rollout.group_size
    advantages = np.array([row["advantage"] for row in rows], np.float32).reshape(-1, size)
    trained = np.array([row["trained"] for row in rows]).reshape(-1, size)
    permits = books.used[step]
    if [group.rollout.permit.index for group in groups] != [permit["place"] for permit in permits]:
        return False
    holds = [
        refilled_rightly(groups, config),
        np.array_equal(advantages, chosen.advantages),
        np.array_equal(trained, np.repeat(chosen.trained[:, None], size, axis=1)),
        outcomes(chosen) == [permit["reason"] or "" for permit in permits],
        [_digest(group) for group in groups] == [permit["content"] for permit in permits],
        _same(books.steps.get(step, {}).get("reward"), chosen.mean_reward),
    ]
    for group, permit in zip(groups, permits, strict=False):
        rollout, asked = group.rollout, question_at(group.rollout.permit.index)
        stored = rollout.permit.question
        holds += [
            (stored.id, stored.prompt) == (asked.id, asked.prompt),
            rollout.policy_version == permit["version"],
            (rollout.actor, group.judge) == (permit["actor"], permit["judge"]),
        ]
    return all(holds)


def _digest(group) -> str:
    rollout, verdicts = group.rollout, group.verdicts
    rewards, abstained = zip(*((v.reward, v.abstained) for v in verdicts), strict=True)
    return content(rollout.tokens, rollout.logprobs, rewards, abstained)


def _check_events(books: Books, tensorboard: Path) -> None:
    """What TensorBoard shows is what the ledger says, each step once."""
    recorded: dict[str, Callable[[dict], float | None]] = {
        "reward/mean": lambda step: step["reward"],
        "grpo/fingerprint": lambda step: step["fingerprint"],
        "grpo/loss": lambda step: step["metrics"]["loss"],
        "grpo/grad_norm": lambda step: step["metrics"]["grad_norm"],
    }
    stored = stored_scalars(tensorboard, list(recorded))
    expected = set(range(1, books.horizon + 1))
    for tag, of_step in recorded.items():
        shown = [(step, value) for step, value in stored[tag] if step <= books.horizon]
        times = Counter(step for step, _ in shown)
        books.expect(f"steps not shown once as {tag}", {s for s in expected if times[s] != 1})
        wrong = [s for s, v in shown if s in books.steps and not _same(of_step(books.steps[s]), v)]
        books.expect(f"steps with another {tag} in the event files", wrong)


def _check_checkpoint(books: Books, checkpoints: Path, step: int, config: RunConfig) -> None:
    """Arrays as they were written, parameters those of the ledger, counts those of the prompts."""
    try:
        stored = read_checkpoint(checkpoints, step)
        record, ledger = stored.record, stored.record["ledger"]
        whole = fingerprint.of_trees(stored.trees) == record["checksum"]
        params = fingerprint.of_arrays(stored.params)
    except Exception as error:  # noqa: BLE001 (a damaged file raises anything)
        books.finding(f"checkpoint cannot be read: {type(error).__name__}", step)
        return
    if not whole:
        books.finding("checkpoint damaged: not the arrays that were written", step)
    if params != books.steps.get(step, {}).get("fingerprint"):
        books.finding("checkpoint with other parameters than the ledger says", step)
    used = [permit for s, permits in books.used.items() if s <= step for permit in permits]
    trained = sum(permit["state"] == "trained" for permit in used)
    counts = (step, len(used), trained, len(used) - trained)
    names = ("step", "consumed", "trained", "dropped")
    per_step = config.loop.groups_per_step
    ahead = ledger["cursor"] - ledger["consumed"]
    if counts != tuple(ledger[name] for name in names) or not (
        0 <= ahead <= (config.loop.max_staleness + 1) * per_step
    ):
        books.finding("checkpoint with other counts than the ledger", step)


def _check_summary(books: Books, folder: RunFolder) -> None:
    """Of a finished run: its step, its counts and the SHA-256 of its parameters."""
    if not folder.summary_file.exists():
        return
    try:
        summary = json.loads(folder.summary_file.read_text())
        if summary["steps"] != books.horizon:  # of an earlier sitting: the run went on since
            return
        stored = read_checkpoint(folder.checkpoints, books.horizon)
    except Exception as error:  # noqa: BLE001
        books.finding(f"summary.json cannot be compared: {error}", books.horizon)
        return
    if summary["ledger"] != stored.record["ledger"]:
        books.finding("summary.json with other counts than the checkpoint", books.horizon)
    if summary["parameters_sha256"] != fingerprint.sha256(stored.params):
        books.finding("summary.json with other parameters than the checkpoint", books.horizon)


def _same(recorded: float | None, shown: float | None) -> bool:
    """Equal as the float32 that event files hold; nothing and not-a-number are the same."""
    if recorded is None or shown is None:
        return recorded is None and (shown is None or bool(np.isnan(shown)))
    return np.float32(recorded) == np.float32(shown)
