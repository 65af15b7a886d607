"""A small run through real faults: a file of its own, so that it runs beside the other runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.ray
@pytest.mark.timeout(800)
def test_a_run_through_faults_is_the_undisturbed_run(tmp_path):
    """A learner process and the driver with its group are killed; docs/reliability.md has more."""
    smoke = ["--config", str(ROOT / "configs" / "smoke.toml")]
    chaos = [sys.executable, str(ROOT / "launch.py"), "chaos", *smoke, "--json"]
    storm = ["--faults", "2", "--seed", "35", "--run", str(tmp_path / "chaos"), "loop.steps=120"]
    storm.append("loop.time_budget_s=600")
    done = subprocess.run([*chaos, *storm], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr + done.stdout
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["ok"] and result["injected"] == 2 and result["same_parameters"]
    assert (result["audit"]["lost"], result["audit"]["doubled"]) == ([], [])
