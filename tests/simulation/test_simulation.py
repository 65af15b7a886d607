"""A thousand storms, and storms over loops with a bug. By hand: see `__main__`."""

import pytest

from tests.simulation.storm import BUGS, planted, storm
from tests.simulation.world import KINDS


def test_a_thousand_storms_lose_nothing_and_change_nothing():
    result = storm(range(1000))
    assert not result.broken, result.broken
    assert result.sittings > 1200, "most runs are cut off at least once"
    assert all(result.faults[kind] >= 80 for kind in KINDS), result.faults


def test_a_seed_happens_again_exactly():
    with planted("an ack before the step"):
        seed, failure = next(_breaking())
        assert storm(range(seed, seed + 1)).broken == {seed: failure}
    assert failure.trace[0].startswith("--")


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found_within_a_thousand_seeds(bug):
    with planted(bug):
        assert next(_breaking(), None)


def _breaking():
    for first in range(0, 1000, 20):
        yield from storm(range(first, first + 20)).broken.items()
