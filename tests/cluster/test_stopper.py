"""When a run is to end before its last step."""

import math

import pytest

from cluster.stopper import Stopper
from learner.loop import Stop


def test_a_host_that_is_to_be_taken_away_ends_the_run_early(monkeypatch):
    stopper = Stopper(math.inf)
    stopper.check()
    notices = iter(["", "host 1 (10.0.0.2, ab12)"])
    stopper.watch(lambda: next(notices))
    monkeypatch.setattr("cluster.stopper._LOOK_EVERY_S", 0.0)
    stopper.check()
    for _ in range(2):  # it stays so
        with pytest.raises(Stop, match=r"host 1 .* is to be taken away \(preemption notice\)"):
            stopper.check()
    assert stopper.early


def test_a_run_that_used_up_its_time_is_not_early():
    stopper = Stopper(0.0)
    with pytest.raises(Stop, match="time budget"):
        stopper.check()
    assert not stopper.early
