"""Waiting for Ray with a deadline, and errors that keep their cause."""

import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from configs.errors import InputError

_FETCH_S = 60.0  # for an answer that is there already
_DEATH_NOTICE_S = 3.0  # Ray reports a process that ended after 1 to 2 s


def resolve(ref: Any, timeout_s: float, what: str) -> Any:
    """`ray.get` of one reference.

    Raises the InputError that the actor raised; TimeoutError or RuntimeError naming `what`.
    """
    try:
        return ray.get(ref, timeout=timeout_s)
    except GetTimeoutError as error:
        raise TimeoutError(f"no answer within {timeout_s:.0f} s from {what}") from error
    except RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, InputError):
            raise InputError(str(cause)) from error
        raise RuntimeError(f"{what} failed: {error}") from error
    except RayActorError as error:
        raise RuntimeError(f"{what} died: {_first_line(error)}") from error


def resolve_all(refs: Sequence[Any], timeout_s: float, names: Sequence[str]) -> list[Any]:
    """`resolve` of several references, in their order; fails as soon as one of them has failed.

    The others are not waited for: where one process of a collective is gone, the rest may hang.
    """
    name_of = dict(zip(refs, names, strict=True))
    ends = time.monotonic() + timeout_s
    waiting = list(refs)
    while waiting:
        left_s = max(0.0, ends - time.monotonic())
        done, waiting = ray.wait(waiting, num_returns=1, timeout=left_s)
        if not done:
            silent = ", ".join(name_of[ref] for ref in waiting)
            raise TimeoutError(f"no answer within {timeout_s:.0f} s from {silent}")
        if _error(done[0]) is not None:
            culprit = _culprit(done[0], waiting)
            resolve(culprit, _FETCH_S, name_of[culprit])
    return ray.get(list(refs), timeout=_FETCH_S)


def _culprit(failed: Any, waiting: Sequence[Any]) -> Any:
    """The reference whose actor died, if that is known soon; else the one that failed first.

    The peers of a process that is gone see a broken connection before Ray sees the death.
    """
    if isinstance(_error(failed), RayActorError) or not waiting:
        return failed
    done, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=_DEATH_NOTICE_S)
    died = [ref for ref in done if isinstance(_error(ref), RayActorError)]
    return died[0] if died else failed


def _error(ref: Any) -> Exception | None:
    """What a finished reference raises; None when it has a value."""
    try:
        ray.get(ref, timeout=_FETCH_S)
    except (RayTaskError, RayActorError) as error:
        return error
    return None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
