"""Environments of peers that cannot live in the project's own, made once below `.bench/`."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.race import ROOT, ContestantFailed, run_child, say

CACHE = ROOT / ".bench"


class PeerMissing(ContestantFailed):
    """The environment of a peer could not be made."""


def environment_python(name: str, packages: Sequence[str]) -> Path:
    """The interpreter of `.bench/<name>`, which has exactly these `packages`; made if needed.

    Raises PeerMissing when the installation fails, and leaves no half environment behind.
    """
    folder = CACHE / name
    python, marker = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(packages) + "\n"
    if python.exists() and marker.exists() and marker.read_text() == wanted:
        return python
    say(f"making the environment {folder}: {' '.join(packages)} (once; minutes)")
    shutil.rmtree(folder, ignore_errors=True)
    log = CACHE / "logs" / f"install-{name}.log"
    try:
        run_child([sys.executable, "-m", "venv", str(folder)], log)
        run_child([str(python), "-m", "pip", "install", *packages], log, {"PIP_NO_INPUT": "1"})
    except (ContestantFailed, KeyboardInterrupt) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise PeerMissing(f"{name}: pip install {' '.join(packages)} failed; {error}") from error
    # Last, and by rename: an interrupted installation is never taken for a finished one.
    partial = marker.with_name("installed.partial")
    partial.write_text(wanted)
    os.replace(partial, marker)
    return python
