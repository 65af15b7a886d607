"""The progress of a run where there is no terminal: a few plain lines."""

import io

from learner.progress import Progress


def test_plain_lines_are_few_and_carry_no_codes():
    out = io.StringIO()
    with Progress("grpo", 50, out=out) as progress:
        for step in range(1, 51):
            progress.update(step, reward=step / 100, bottleneck="judge")
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("grpo 1/50  reward 0.010  bottleneck judge")
    assert lines[1].endswith("0 s left")
    assert "\x1b" not in out.getvalue()


def test_a_resumed_phase_starts_where_it_was():
    out = io.StringIO()
    with Progress("grpo", 50, start=30, out=out) as progress:
        progress.update(31, reward=0.5)
    assert out.getvalue().startswith("grpo 31/50")
