"""Waiting for Ray with a deadline, and errors that keep their cause."""

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from configs.errors import InputError


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
    """`resolve` of several references, reporting the first that fails, whichever it is."""
    waiting = dict(zip(refs, names, strict=True))
    ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=timeout_s)
    failed = [ref for ref in ready if _has_failed(ref)]
    for ref in failed or refs:
        resolve(ref, 0.0 if ref not in ready else timeout_s, waiting[ref])
    return [ray.get(ref) for ref in refs]


def _has_failed(ref: Any) -> bool:
    try:
        ray.get(ref, timeout=60)
    except (RayTaskError, RayActorError):
        return True
    return False


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
