"""A run on Ray whose judge, a server on loopback, is gone for a minute: `pytest -m drill -n0`."""

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow.dataset
import pytest

from tests.judge_servers import Model, serving

ROOT = Path(__file__).parents[1]
STEPS, GONE_S = 10, 60.0
pytestmark = [pytest.mark.drill, pytest.mark.timeout(1200)]


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


@contextmanager
def launch(run, log, port):
    """`launch.py` on a judge at that port, ended with the block if it has not ended itself."""
    settings = [f"loop.steps={STEPS}", "sft.steps=60", "judge.model=m", "judge.deadline_s=5"]
    command = [sys.executable, "launch.py", "--config", "configs/llm_judge_demo.toml", "--run"]
    url = f"judge.endpoint=http://127.0.0.1:{port}/v1"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, str(run), *settings, url], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def test_a_minute_without_the_judge_costs_a_minute_and_nothing_else(tmp_path):
    model, run, log = Model(lambda text: 1 + len(text) % 5), tmp_path / "run", tmp_path / "log"
    with ExitStack() as stack:
        with serving(model.app()) as port:
            launched = stack.enter_context(launch(run, log, port))
            wait_for(lambda: len(model.asked) >= 30 or launched.poll() is not None, 500)
        asked = len(model.asked)
        time.sleep(GONE_S)
        assert launched.poll() is None and len(model.asked) == asked
        stack.enter_context(serving(model.app(), port))
        back = time.monotonic()
        wait_for(lambda: len(model.asked) > asked, 120)
        print(f"asked again after {time.monotonic() - back:.1f} s")
        assert launched.wait(500) == 0
    said = log.read_text()
    assert "training pauses" in said and "the judge answers again" in said
    rows = pyarrow.dataset.dataset(run / "rollouts").to_table().to_pylist()
    trained = [row for row in rows if row["trained"]]
    assert trained and not any(row["abstained"] for row in trained)
    audit = [sys.executable, "launch.py", "audit", str(run)]
    assert subprocess.run(audit, cwd=ROOT, check=False).returncode == 0
