"""`launch.py status RUN`: where a run stands, read from its folder while it goes on."""

import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from configs.errors import InputError
from configs.load import load
from configs.run_folder import RunFolder
from learner.history import open_database, read_incidents, read_sittings, read_steps

_LAST = 20  # steps that rates are taken over
_INCIDENTS = 5


def status_run(path: Path) -> int:
    """Print it. Raises InputError where there is no run."""
    folder = RunFolder(path.absolute())
    if not folder.config_file.exists():
        raise InputError(f"{path}: no run folder, {folder.config_file} is missing")
    config = load(folder.config_file)
    owner = owner_of(folder.path)
    print(f"run         {path}   {f'held by {owner}' if owner else 'not running'}")
    if not folder.ledger_file.exists():
        print("step        none yet: starting, or in the cold start")
        return 0
    steps = read_steps(folder.ledger_file)
    print("\n".join(step_lines(steps, config.loop.steps, time.time(), bool(owner))))
    print("\n".join(prompt_lines(folder.ledger_file, steps)))
    sittings = read_sittings(folder.ledger_file)
    last = sittings[max(sittings)]
    print(f"sitting     {max(sittings)} on {last['host']}, learner: {last['learner']}")
    saved = sorted(int(p.name) for p in (folder.checkpoints / "grpo").glob("*") if p.name.isdigit())
    print(f"checkpoint  {saved[-1] if saved else 'none yet'}")
    print("\n".join(incident_lines(read_incidents(folder.ledger_file))))
    return 0


def owner_of(path: Path) -> str:
    """Who holds the lock of a run folder; "" if nobody does.

    A lock on a shared folder is seen from another host only where its file system passes locks on.
    """
    try:
        file = os.open(path / ".lock", os.O_RDWR)
    except OSError:
        return ""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(file, 200).decode(errors="replace") or "another process"
    finally:
        os.close(file)
    return ""


def step_lines(
    steps: Sequence[dict[str, Any]], wanted: int, now: float, running: bool
) -> list[str]:
    """Progress, reward, speed, and what the steps' time went to, of the last steps."""
    if not steps:
        return [f"step        0 of {wanted}"]
    last = steps[-_LAST:]
    wall_s = sum(step["wall_s"] for step in last)
    rate = len(last) / max(wall_s, 1e-9)
    left = f", about {(wanted - last[-1]['step']) / rate:.0f} s left" if running else ""
    rewards = [step["reward"] for step in last if step["reward"] is not None]
    reward = f"{sum(rewards) / len(rewards):.3f}" if rewards else "none"
    tokens = sum(step["tokens"] for step in last) / max(wall_s, 1e-9)
    parts: dict[str, float] = {}
    for step in last:
        for name, seconds in step["seconds"].items():
            parts[name] = parts.get(name, 0.0) + seconds
    total = max(sum(parts.values()), 1e-9)
    shares = sorted(parts.items(), key=lambda item: -item[1])
    ago = f"the last {now - last[-1]['finished_at']:.1f} s ago"
    return [
        f"step        {last[-1]['step']} of {wanted}, {ago}, {rate:.2f} steps/s{left}",
        f"reward      {reward} (mean of the last {len(last)} steps)",
        f"tokens      {tokens:,.0f} per s sampled",
        "time        " + ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in shares),
    ]


def prompt_lines(ledger: Path, steps: Sequence[dict[str, Any]]) -> list[str]:
    """What became of the prompts, and who did the work of the last steps."""
    since = steps[-_LAST]["step"] if len(steps) >= _LAST else 0
    with closing(open_database(ledger, create=False)) as database:
        states = database.execute("SELECT state, count(*) FROM permits GROUP BY state").fetchall()
        done = {
            role: database.execute(
                f"SELECT {role}, count(*) FROM permits WHERE step > ? AND {role} IS NOT NULL "
                f"GROUP BY {role} ORDER BY {role}",
                [since],
            ).fetchall()
            for role in ("actor", "judge")
        }
    lines = [
        "prompts     " + (", ".join(f"{state} {count:,}" for state, count in states) or "none")
    ]
    for role, name in (("actor", "rollout"), ("judge", "judge")):
        groups = ", ".join(f"{number}: {count}" for number, count in done[role])
        lines.append(f"{name:<12}groups of the last steps by actor: {groups or 'none'}")
    return lines


def incident_lines(incidents: Sequence[dict[str, Any]]) -> list[str]:
    lines = [f"incidents   {len(incidents)}"]
    for incident in incidents[-_INCIDENTS:]:
        at = time.strftime("%H:%M:%S", time.localtime(incident["at"]))
        lines.append(f"  {at}  {incident['what']}: {incident['outcome']}")
    return lines
