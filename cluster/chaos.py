"""`launch.py chaos`: a run through random faults, beside an undisturbed one, and its audit."""

import json
import logging
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.verify import audit_of
from cluster.storm import Fault, Storm
from configs.errors import InputError, RunError
from learner.summary import audit_lines

_LAST_LINES = 20  # of the log of a run that failed
_DISK = "400m"  # a demo run with its checkpoints takes a quarter of it
SETTINGS = (  # of both runs, before those that are asked for
    *("sft.steps=60", "eval.rows=0", "loop.steps=1200", "loop.time_budget_s=36000"),
    *("rollout.actors=2", "checkpoint.every_steps=20", "loop.silence_s=10"),
)


def chaos_run(
    folder: Path, arguments: Sequence[str], faults: int, minutes: float, seed: int, as_json: bool
) -> int:
    """Two runs of `launch.py train` with `arguments`: `folder/calm` is left in peace, and
    `folder/storm` is not. Prints what came of it; 0 when every promise holds.

    Raises RunError when one of them does not come to its end.
    """
    if folder.exists():
        raise InputError(f"--run {folder}: is there already; give a new folder")
    result = chaos(folder, arguments, faults, minutes, seed)
    print(json.dumps(result) if as_json else "\n".join(chaos_lines(result)))
    return 0 if result["ok"] else 1


def chaos(
    folder: Path, arguments: Sequence[str], faults: int, minutes: float, seed: int
) -> dict[str, Any]:
    _say(f"undisturbed run: {folder / 'calm'}")
    calm = Storm(folder / "calm", arguments)
    _ended(calm, calm.run(0, 0.0, seed, _tell))
    _say(f"disturbed run:   {folder / 'storm'}")
    with _small_disk(folder / "storm") as there:
        return _stormy(Storm(folder / "storm", arguments, there), calm, faults, minutes, seed)


def _stormy(storm: Storm, calm: Storm, faults: int, minutes: float, seed: int) -> dict[str, Any]:
    until = time.time() + 60 * minutes
    _ended(storm, storm.run(faults, until, seed, _tell))
    hashes = [_summary(run.folder)["parameters_sha256"] for run in (calm, storm)]
    redone = storm.ledger("SELECT sum(attempt - 1) FROM permits")
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax, of folders with several trees
    audited = audit_of(storm.folder)
    kinds = sorted({fault.kind for fault in storm.faults})
    recovered = all(fault.recovered_s is not None for fault in storm.faults)
    same = hashes[0] == hashes[1]
    return {
        "ok": bool(audited["ok"] and recovered and same and not storm.leftovers),
        "faults": {kind: _times(kind, storm.faults) for kind in kinds},
        "injected": len(storm.faults),
        "starts": storm.starts,
        "steps": _summary(storm.folder)["steps"],
        "leftover_processes": storm.leftovers,
        "groups_redone": redone,
        "same_parameters": same,
        "audit": audited,
    }


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """The folder as a disk of its own in memory, where we may mount one; whether it is.

    Afterwards it is a plain folder with what was written.
    """
    folder.mkdir(parents=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)]
    there = (
        shutil.which("mount") is not None
        and not subprocess.run(mounting, capture_output=True, check=False).returncode
    )
    if not there:
        _say("no disk is filled: mounting a small one is not allowed here")
    try:
        yield there
    finally:
        if there:
            kept = folder.with_name(f"{folder.name}-kept")
            shutil.copytree(folder, kept)
            subprocess.run(["umount", str(folder)], check=True)
            kept.replace(folder)


def chaos_lines(result: dict[str, Any]) -> Iterator[str]:
    """The table, for people."""
    yield f"{'fault':26} count  detected s  recovered s (worst)  of that, starting"
    for kind, times in result["faults"].items():
        yield (
            f"{kind:26} {times['count']:5}  {times['detected_s']:10.1f}  "
            f"{times['recovered_s']:11.1f} ({times['worst_s']:.1f})  {times['starting_s']:10.1f}"
        )
    yield (
        f"{result['injected']} faults over {result['steps']} steps, {result['starts']} starts, "
        f"{result['groups_redone']} groups asked for again"
    )
    yield f"parameters  {'equal to' if result['same_parameters'] else 'NOT'} the undisturbed run's"
    yield f"processes left behind  {result['leftover_processes']}"
    yield from audit_lines(result["audit"])


def _times(kind: str, faults: Sequence[Fault]) -> dict[str, Any]:
    mine = [fault for fault in faults if fault.kind == kind]
    recovered = [f.recovered_s for f in mine if f.recovered_s is not None]
    detected = [f.detected_s for f in mine if f.detected_s is not None]
    return {
        "count": len(mine),
        "recovered": len(recovered),
        "detected_s": statistics.median(detected) if detected else float("nan"),
        "recovered_s": statistics.median(recovered) if recovered else float("nan"),
        "worst_s": max(recovered, default=float("nan")),
        "starting_s": statistics.median(f.starting_s for f in mine),
    }


def _tell(fault: Fault, number: int) -> None:
    recovered = "not recovered" if fault.recovered_s is None else f"{fault.recovered_s:.1f} s"
    _say(f"  fault {number:3}  {fault.kind:26} recovered after {recovered}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _ended(run: Storm, code: int) -> None:
    if code:
        log = run.folder.with_suffix(".log")
        last = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        raise RunError(
            f"the run in {run.folder} ended with exit code {code}; {log} ends in\n{last}"
        )


def _summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())
