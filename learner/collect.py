"""Waiting for scored groups, in the order in which the loop wants them, and for their verdicts."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from cluster.messages import ScoredGroup

logger = logging.getLogger(__name__)

Key = tuple[str, int]  # (stream, index) of a permit
FEWEST_VERDICTS = 2  # of a group: one reward alone is neither better nor worse than its siblings
TIMES_ASKED = 2  # the judges are asked again for a group with fewer, before it is given up
REMINDER_S = 60.0
LOST_TOGETHER = (
    2  # times that groups may be lost with a worker before they are asked for in parts ...
)
LOST_ALONE = 3  # ... and one alone, before it is set aside: then it is what kills its workers
SET_ASIDE = f"set aside: {LOST_ALONE} workers in a row died or hung with nothing else to do"


class WorkLost(Exception):
    """Raised by `check`: a worker was replaced. What has not arrived must be asked for again.

    `held`: groups that it had taken, of late.
    """

    def __init__(self, what: str, held: Iterable[Key] = ()):
        super().__init__(what)
        self.held = frozenset(held)


class Queue(Protocol):
    """What the loop and the actors need of a queue; Ray's and a plain one in tests."""

    def put(self, items: list) -> None: ...

    def get(self, max_items: int, timeout_s: float) -> list: ...


class Clock(Protocol):
    """The module `time`, or virtual time in a simulation."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


class Collector:
    """Hands out scored groups by key, each once, and keeps those that came early.

    The keys of a stream are taken in ascending order, or as they come (`take_first`): what comes
    again later is thrown away.
    `check` is called while waiting, at least once a second: it raises to end the wait (a stop that
    was asked for, a worker that was replaced), and nothing that has arrived is lost by it.
    `ask_judges` puts groups before the judges again. While more than `max_abstain` of the
    completions have no verdict, nothing is handed out: that is an outage, and training waits until
    it is over.
    """

    def __init__(
        self,
        scored: Queue,
        check: Callable[[], None],
        timeout_s: float,
        *,
        ask_judges: Callable[[list[ScoredGroup]], None],
        max_abstain: float,
        pause_s: float = 5.0,
        clock: Clock = time,
    ):
        self._scored, self._check, self._timeout_s = scored, check, timeout_s
        self._ask_judges, self._max_abstain, self._pause_s = ask_judges, max_abstain, pause_s
        self._clock = clock
        self._early: dict[Key, ScoredGroup] = {}
        self._taken: dict[str, int] = {}  # stream -> the last index that was handed out
        self._open: dict[str, tuple[set[Key], int]] = {}  # of `take_first`: keys, oldest version
        self._losses: Counter[Key] = Counter()  # of groups that are missing, with a worker
        self.arrived = 0  # groups, so far
        self.asked_again = 0  # groups, so far
        self.paused_s = 0.0  # so far

    @property
    def early(self) -> int:
        """Groups that are here and were not handed out yet."""
        return len(self._early)

    def __contains__(self, key: Key) -> bool:
        return key in self._early

    def take_if_here(self, keys: Sequence[Key]) -> list[ScoredGroup] | None:
        """Exactly these groups, with the verdicts they have, once all are here; waits for nothing.

        They are handed out; None while one is missing.
        """
        return self._hand_out(keys) if all(key in self._early for key in keys) else None

    def take_first(
        self, keys: Sequence[Key], count: int, oldest: int, beside: Sequence[ScoredGroup] = ()
    ) -> list[ScoredGroup]:
        """Those `count` of the groups of a stream that come first, in the order of their keys.

        Sampled by no older policy version than `oldest`: an older group is thrown away. `keys` are
        all that may still be taken of the stream. Else as `take`.
        """
        self._open[keys[0][0]] = wanted, oldest = set(keys), oldest

        def here() -> list[Key]:
            return [k for k, group in self._early.items() if k in wanted and self._is_open(group)]

        self._until(lambda: len(here()) >= count, lambda: f"{count} of {len(keys)} groups")
        return self.take(sorted(here()[:count]), beside)

    def forget_older(self, stream: str, version: int) -> list[Key]:
        """Throw away what is here of a stream and was sampled by an older policy; their keys."""
        older = [
            key
            for key, group in self._early.items()
            if key[0] == stream and group.rollout.policy_version < version
        ]
        for key in older:
            del self._early[key]
        return older

    def take(self, keys: Sequence[Key], beside: Sequence[ScoredGroup] = ()) -> list[ScoredGroup]:
        """Exactly these groups, in this order. `beside`: what its step has taken before.

        A group with fewer than two verdicts is put before the judges again, and so is every group
        with an abstention during an outage. Its completions stay: sampling is deterministic, so
        that sampling again would give the same ones. Raises TimeoutError when nothing at all
        arrives for `timeout_s` seconds.
        """
        groups = self._wait(keys)
        asked, outage = 0, _Outage(self._max_abstain, self._clock)
        while again := self._lacking(groups, outage.goes_on([*beside, *groups]), asked):
            if outage.started:
                self._sleep()
            else:
                asked += 1
            self.asked_again += len(again)
            for group in again:
                del self._early[group.key]
            self._ask_judges([replace(group, tried=()) for group in again])
            groups = self._wait(keys)
        self.paused_s += outage.seconds
        return self._hand_out(keys)

    def _hand_out(self, keys: Sequence[Key]) -> list[ScoredGroup]:
        for stream, index in keys:
            if stream in self._open:
                self._open[stream][0].discard((stream, index))
            else:
                self._taken[stream] = max(index, self._taken.get(stream, -1))
        return [self._early.pop(key) for key in keys]

    def keep(self, group: ScoredGroup) -> None:
        """A group that comes another way than from the judges."""
        self._early[group.key] = group
        del self._losses[group.key]

    def ask_again(
        self,
        lost: WorkLost,
        keys: Sequence[Key],
        ask: Callable[[list[Key]], None],
        set_aside: Callable[[Key], None],
    ) -> None:
        """Ask for those of the groups that are missing after a loss.

        All together; but those that were lost before by themselves, in ever smaller parts where a
        part is lost again, each until it is here. A group that is lost again and again though there
        is nothing else to do goes to `set_aside`, which is to `keep` something instead.
        """
        held = [key for key in keys if key not in self and key in lost.held]
        self._losses.update(held)
        for part in _quarters([key for key in held if self._losses[key] >= LOST_TOGETHER]):
            self._try(part, ask, set_aside)
        if missing := [key for key in keys if key not in self]:
            ask(missing)

    def _try(
        self, keys: list[Key], ask: Callable[[list[Key]], None], set_aside: Callable[[Key], None]
    ) -> None:
        alone = 0  # times that it was lost
        while missing := [key for key in keys if key not in self]:
            if alone == LOST_ALONE:
                set_aside(missing[0])
                return
            ask(missing)
            try:
                self._wait(missing)
            except WorkLost as again:
                held = [key for key in missing if key not in self and key in again.held]
                if len(missing) == 1:
                    alone += len(held)
                else:
                    for part in _quarters(held):
                        self._try(part, ask, set_aside)

    def _lacking(self, groups: list[ScoredGroup], outage: bool, asked: int) -> list[ScoredGroup]:
        groups = [group for group in groups if not group.set_aside]
        if outage:
            return [group for group in groups if group.abstentions]
        if asked == TIMES_ASKED:
            return []
        return [
            group
            for group in groups
            if len(group.verdicts) - len(group.abstentions)
            < min(FEWEST_VERDICTS, len(group.verdicts))
        ]

    def _sleep(self) -> None:
        until = self._clock.monotonic() + self._pause_s
        while (left := until - self._clock.monotonic()) > 0:
            self._check()
            self._clock.sleep(min(left, 0.5))

    def _wait(self, keys: Sequence[Key]) -> list[ScoredGroup]:
        """The groups, which stay here; waits for those that are missing."""

        def missing() -> list[Key]:
            return [key for key in keys if key not in self._early]

        def awaited() -> str:
            return f"{len(missing())} of {len(keys)}, the first {min(missing())}"

        self._until(lambda: not missing(), awaited)
        return [self._early[key] for key in keys]

    def _until(self, enough: Callable[[], bool], awaited: Callable[[], str]) -> None:
        """Take in what comes until it is `enough`; `awaited`: what is missing, in words."""
        heard = self._clock.monotonic()
        while not enough():
            self._check()
            for group in self._scored.get(max_items=256, timeout_s=1.0):
                heard = self._clock.monotonic()
                if self._is_open(group):
                    self.keep(group)
                    self.arrived += 1
            if self._clock.monotonic() - heard > self._timeout_s:
                raise TimeoutError(
                    f"no scored group for {self._timeout_s:.0f} s (loop.wait_timeout_s) while "
                    f"waiting for {awaited()}"
                )

    def _is_open(self, group: ScoredGroup) -> bool:
        """Whether it may still be taken."""
        stream, index = group.key
        if stream in self._open:
            keys, oldest = self._open[stream]
            return group.key in keys and group.rollout.policy_version >= oldest
        return index > self._taken.get(stream, -1)


def _quarters(keys: list[Key]) -> list[list[Key]]:
    """In order, in at most four parts."""
    size = max(1, -(-len(keys) // 4))
    return [keys[start : start + size] for start in range(0, len(keys), size)]


class _Outage:
    """Whether too many abstain, since when, and the telling of it."""

    def __init__(self, max_abstain: float, clock: Clock):
        self._max_abstain, self._clock = max_abstain, clock
        self.started = 0.0  # 0: it goes well
        self._told = 0.0
        self.seconds = 0.0

    def goes_on(self, groups: Sequence[ScoredGroup]) -> bool:
        groups = [group for group in groups if not group.set_aside]
        reasons = Counter(reason for group in groups for reason in group.abstentions)
        share = reasons.total() / sum(len(group.verdicts) for group in groups) if groups else 0.0
        now = self._clock.monotonic()
        if share > self._max_abstain:
            self.started = self.started or now
            if now - self._told > REMINDER_S:
                self._told = now
                logger.warning(
                    "training pauses: the judge abstains on %.0f %% of the completions, above "
                    "judge.max_abstain = %g; it is asked again until it answers. Mostly: %s",
                    100 * share,
                    self._max_abstain,
                    reasons.most_common(1)[0][0],
                )
            return True
        if self.started:
            self.seconds += now - self.started
            self.started = self._told = 0.0
            logger.warning("the judge answers again: training goes on after %.0f s", self.seconds)
        return False
