"""What a call to Ray says when Ray itself ends on the host that it is made from."""

import pytest
import ray
from ray.exceptions import RayTaskError

from cluster.calls import HostGone, WorkerGone, died, resolve


def raising(monkeypatch, error):
    def get(*_, **__):
        raise error

    monkeypatch.setattr(ray, "get", get)


def test_a_broken_connection_to_ray_is_the_end_of_the_host(monkeypatch):
    raising(monkeypatch, OSError("Failed to read data from the socket: End of file"))
    with pytest.raises(HostGone, match="Ray has ended on this host: Failed to read data"):
        resolve(None, 1.0, "the weight store")


def test_an_error_of_its_own_that_an_actor_raises_is_not(monkeypatch):
    raising(monkeypatch, of_task(FileNotFoundError("no such file")))
    with pytest.raises(RuntimeError, match="rollout actor 0 failed: .*") as caught:
        resolve(None, 1.0, "rollout actor 0")
    assert not isinstance(caught.value, WorkerGone) and not died(None)


def test_who_says_so_counts_as_dead(monkeypatch):
    raising(monkeypatch, of_task(HostGone("Ray has ended on this host: Broken pipe")))
    assert died(None)
    with pytest.raises(WorkerGone, match="learner process 1 .*: Ray has ended on this host"):
        resolve(None, 1.0, "learner process 1")


def of_task(cause):
    """As Ray hands on what a call raised: an instance of the cause's class, too."""
    return RayTaskError("run", "Traceback ...", cause).as_instanceof_cause()
