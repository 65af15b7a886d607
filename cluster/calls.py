"""Waiting for Ray with a deadline and an owner, and errors that keep their cause."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from configs.errors import InputError, LearnerLost, RunError

START_S = 600.0  # a process may take this long to come up
_FETCH_S = 60.0  # for an answer that is there already
_DEATH_NOTICE_S = 3.0  # Ray reports a process that ended after 1 to 2 s
_CHECK_S = 1.0


class WorkerGone(RunError):
    """A process that died or does not answer, by name. Only a new job can go on without it."""


class HostGone(WorkerGone):
    """Ray has ended on the host that this process runs on, which ends next. For who waits for its
    answer it died."""


class LearnerGone(WorkerGone, LearnerLost):
    """A process of the learner. The other parts of the job are there and go on with a new one."""


def resolve(ref: Any, timeout_s: float, what: str) -> Any:
    """`ray.get` of one reference.

    Raises the InputError or RunError that the actor raised; WorkerGone or RuntimeError naming
    `what`; HostGone.
    """
    try:
        with ray_of_this_host():
            return ray.get(ref, timeout=timeout_s)
    except GetTimeoutError as error:
        raise WorkerGone(f"no answer within {timeout_s:.0f} s from {what}") from error
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, InputError):
            raise InputError(str(cause)) from error
        if isinstance(cause, (WorkerGone, RayError)):  # of a process that it was talking to
            raise WorkerGone(f"{what} lost what it works with: {_first_line(cause)}") from error
        if isinstance(cause, RunError):
            raise RunError(str(cause)) from error
        raise RuntimeError(f"{what} failed: {error}") from error
    except RayError as error:
        raise WorkerGone(f"{what} died: {_first_line(error)}") from error


@contextmanager
def ray_of_this_host() -> Iterator[None]:
    """Around what asks it: raises HostGone when it is not there any more."""
    try:
        yield
    except RayError:  # what was asked for failed, be it with an OSError of its own
        raise
    except OSError as error:
        raise HostGone(f"Ray has ended on this host: {_first_line(error)}") from error


def wait_until_up(actor: Any, what: str) -> None:
    """From then on it may be held to shorter deadlines."""
    resolve(actor.__ray_ready__.remote(), START_S, what)


def resolve_all(
    refs: Sequence[Any],
    timeout_s: float,
    names: Sequence[str],
    check: Callable[[], None] = lambda: None,
) -> list[Any]:
    """`resolve` of several references, in their order; fails as soon as one of them has failed.

    The others are not waited for: where one process of a collective is gone, the rest may hang.
    `check` is called every second, and raises to end the wait.
    """
    name_of = dict(zip(refs, names, strict=True))
    ends = time.monotonic() + timeout_s
    waiting = list(refs)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=_CHECK_S)
        if not done:
            check()
            if time.monotonic() > ends:
                silent = ", ".join(name_of[ref] for ref in waiting)
                raise WorkerGone(f"no answer within {timeout_s:.0f} s from {silent}")
        elif _failure(done[0]) is not None:
            culprit = _culprit(done[0], waiting)
            resolve(culprit, _FETCH_S, name_of[culprit])
    return ray.get(list(refs), timeout=_FETCH_S)


def died(ref: Any) -> bool:
    """Whether a finished call ended with its actor, and not by what the actor itself raised."""
    error = _failure(ref)
    if isinstance(error, RayTaskError):
        return isinstance(getattr(error, "cause", None), HostGone)
    return isinstance(error, RayActorError)


def _culprit(failed: Any, waiting: Sequence[Any]) -> Any:
    """The reference whose actor died, if that is known soon; else the one that failed first.

    The peers of a process that is gone see a broken connection before Ray sees the death.
    """
    if died(failed) or not waiting:
        return failed
    done, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=_DEATH_NOTICE_S)
    return next((ref for ref in done if died(ref)), failed)


def _failure(ref: Any) -> Exception | None:
    """What a finished reference raises; None when it has a value."""
    try:
        ray.get(ref, timeout=_FETCH_S)
    except RayError as error:
        return error
    return None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
