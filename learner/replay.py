"""Doing recorded steps again: from a checkpoint and the stored groups to the same parameters."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.errors import InputError
from configs.run_folder import RunFolder
from configs.schema import RunConfig
from learner.batch import build_batch, select
from learner.history import read_sittings, read_steps
from learner.host import LearnerHost
from learner.stored import checkpoint_steps, groups_of, rollout_files, stored_steps

COMPARED = ("loss", "grad_norm", "fingerprint")
TOLERANCE = 1e-3
"""Relative, for loss and gradient norm, where the run was made by a learner of another shape: sums
are then taken in another order, and differences grow from step to step."""


def replay(folder: RunFolder, config: RunConfig, step: int, vocabulary: int) -> dict[str, Any]:
    """Recompute a step, and those since the nearest checkpoint before it.

    Returns {"ok", "step", "from_checkpoint", "exact": must be equal bit for bit, "recorded_on",
    "replayed_on", "steps": {step: {name: (recorded, recomputed)}}}.
    Raises InputError when the run has no such step, or not the groups for it.
    """
    if not folder.ledger_file.exists():
        raise InputError(f"{folder.ledger_file} is missing: nothing was recorded to compare with")
    recorded = {row["step"]: row for row in read_steps(folder.ledger_file)}
    if step not in recorded:
        raise InputError(f"--step {step}: the ledger has steps 1 to {max(recorded, default=0)}")
    start = max((s for s in checkpoint_steps(folder.checkpoints) if s < step), default=0)
    host = LearnerHost(0, 1, config, folder.checkpoints, vocabulary)
    begun = host.create_state(at=start)
    again = dict(_again(host, folder.rollouts, config, range(start + 1, step + 1)))
    host.close()
    sittings = read_sittings(folder.ledger_file)
    made_on = {sittings[recorded[number]["sitting"]]["learner"] for number in again}
    exact = made_on == {begun["learner"]}
    compared = {
        number: {name: (recorded[number]["metrics"][name], metrics[name]) for name in COMPARED}
        for number, metrics in again.items()
    }
    return {
        "ok": all(_agree(pairs, exact) for pairs in compared.values()),
        "step": step,
        "from_checkpoint": start,
        "exact": exact,
        "recorded_on": sorted(made_on),
        "replayed_on": begun["learner"],
        "steps": compared,
    }


def replay_lines(result: dict[str, Any]) -> Iterator[str]:
    """The result for the terminal."""
    steps = result["steps"]
    yield (
        f"step {result['step']} done again, {len(steps)} step(s) from the checkpoint of step "
        f"{result['from_checkpoint']}"
    )
    for name, (recorded, recomputed) in steps[result["step"]].items():
        equal = "equal" if recorded == recomputed else "differs"
        yield f"  {name:<12} recorded {recorded:<22.17g} recomputed {recomputed:<22.17g} {equal}"
    if not result["exact"]:
        yield f"  recorded on {'; '.join(result['recorded_on'])}"
        yield f"  replayed on {result['replayed_on']}"
        yield f"  sums are taken in another order there: compared within {TOLERANCE:g}"
    wrong = [number for number, pairs in steps.items() if not _agree(pairs, result["exact"])]
    yield "the same" if result["ok"] else f"NOT THE SAME from step {wrong[0]} on"


def _again(
    host: LearnerHost, rollouts: Path, config: RunConfig, steps: range
) -> Iterator[tuple[int, dict[str, float]]]:
    wanted = iter(steps)
    for path in rollout_files(rollouts, steps):
        for number, rows in stored_steps(path):
            if number not in steps:
                continue
            if number != next(wanted):
                raise InputError(f"{rollouts} lacks the groups of a step before {number}")
            batch = build_batch(select(groups_of(rows), config, number), config)
            yield number, host.train_step(batch)
    if (missing := next(wanted, None)) is not None:
        raise InputError(f"{rollouts} has no groups of step {missing}: it was not checkpointed")


def _agree(pairs: dict[str, tuple[float, float]], exact: bool) -> bool:
    if exact:
        return all(recorded == recomputed for recorded, recomputed in pairs.values())
    return all(
        math.isclose(*pairs[name], rel_tol=TOLERANCE, abs_tol=TOLERANCE**2)
        for name in ("loss", "grad_norm")
    )
