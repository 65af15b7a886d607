"""Judge actor: turns rollout groups into scored groups.

A completion that cannot be judged abstains with its reason; it is never a silent zero. A group with
abstentions goes back to the queue for another judge, which judges only what is left.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from actors.bench import Asked, Judging, open_bench
from actors.rewards.asking import Opinion, Request
from actors.rewards.sandbox import Unavailable
from cluster.messages import Question, RolloutGroup, ScoredGroup, Verdict
from learner.collect import Queue

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 20
"""One odd completion may fail; this many in a row mean that the judge itself is broken."""
TRIES = 2  # judges that are asked before a group goes on with the verdicts it has
HANDED_ON_S = 0.05  # a group that waits for another judge must not keep this one spinning
AT_ONCE = 16  # groups of one judge; the requests of their completions are under way together
CANARY = "canary"  # the stream of groups whose verdicts are known: they are always judged anew

Group = RolloutGroup | ScoredGroup


class JudgeActor:
    """A `Judge` as Ray runs it. No coroutine may be seen from outside: Ray would then run the actor
    in an event loop of its own, in which nothing may wait."""

    def __init__(self, index: int, judges: int, judging: Judging, rollouts: Queue, scored: Queue):
        self._judge = Judge(index, judges, judging, rollouts, scored)

    @property
    def version(self) -> int | None:
        """Of the policy that sampled what it judged last."""
        return self._judge.version

    def run(self) -> None:
        """Judges for ever: whoever owns the process ends it."""
        asyncio.run(self._judge.work())


class Judge:
    """Plain class. `judges`: how many there are; unjudged groups come from `rollouts`."""

    def __init__(self, index: int, judges: int, judging: Judging, rollouts: Queue, scored: Queue):
        self.index, self.judges = index, judges
        self.rollouts, self.scored = rollouts, scored
        self.bench = open_bench(judging)
        self.second = self.bench.by(judging.second) if judging.second else None
        self.second_share = judging.section.second_share
        self.failures = 0  # in a row
        self.version: int | None = None

    async def serve(self, groups: Sequence[Group]) -> None:
        """One turn: judge what this judge has not tried, hand on what another one may."""
        mine = [group for group in groups if not self._is_for_another(group)]
        others = [group for group in groups if self._is_for_another(group)]
        await self._put(await asyncio.gather(*map(self.judge, mine)), others)

    async def work(self) -> None:
        """Takes groups while others are being judged: a slow answer keeps nobody waiting."""
        judging: list[asyncio.Task[ScoredGroup]] = []
        intake = self._intake()
        while True:
            waiting = judging if len(judging) >= AT_ONCE else [intake, *judging]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done = [task.result() for task in judging if task.done()]
            judging = [task for task in judging if not task.done()]
            await self._put(done, ())
            if intake.done():
                groups = intake.result()
                mine = [group for group in groups if not self._is_for_another(group)]
                judging += [asyncio.create_task(self.judge(group)) for group in mine]
                await self._put((), [group for group in groups if self._is_for_another(group)])
                intake = self._intake()

    def _intake(self) -> asyncio.Task[list]:
        return asyncio.create_task(
            asyncio.to_thread(self.rollouts.get, max_items=AT_ONCE // 2, timeout_s=1.0)
        )

    async def _put(self, judged: Iterable[ScoredGroup], others: Sequence[Group]) -> None:
        judged = list(judged)
        if done := [group for group in judged if not self._is_for_another(group)]:
            self.scored.put(done)
        if handed_on := [*others, *(group for group in judged if self._is_for_another(group))]:
            self.rollouts.put(handed_on)
            await asyncio.sleep(HANDED_ON_S)

    async def judge(self, group: Group) -> ScoredGroup:
        """One verdict for each completion; verdicts that are there stay."""
        started = time.perf_counter()
        if isinstance(group, RolloutGroup):
            missing = (Verdict.abstain("not judged yet"),) * len(group.texts)
            group = ScoredGroup(group, missing, self.index, judge_s=0.0, finished_at=0.0)
        if group.set_aside:
            return group
        self.version = group.rollout.policy_version
        question = group.rollout.permit.question
        open_ = [n for n, verdict in enumerate(group.verdicts) if verdict.abstained]
        texts = [group.rollout.texts[n] for n in open_]
        asked = [self.bench.asked(question, text) for text in texts]
        opinions, calls = await self.bench.opinions(
            [request for requests in asked for request in requests.values()],
            remembering=group.rollout.permit.stream != CANARY,
        )
        verdicts = list(group.verdicts)
        for n, text, requests in zip(open_, texts, asked, strict=True):
            verdicts[n] = self._verdict(question, text, requests, opinions)
        left = any(verdict.abstained for verdict in verdicts)
        return replace(
            group,
            verdicts=tuple(verdicts),
            judge=self.index,
            judge_s=group.judge_s + time.perf_counter() - started,
            finished_at=time.time(),
            tried=(*group.tried, self.index) if left else (),
            calls=group.calls + calls,
            second=group.second or await self._second_opinions(group),
        )

    async def _second_opinions(self, group: ScoredGroup) -> tuple[Verdict, ...]:
        """Those of the second judge, for the same sample of groups in every run."""
        permit = group.rollout.permit
        drawn = zlib.crc32(f"{permit.stream} {permit.index}".encode()) / 2**32
        if self.second is None or permit.stream == CANARY or drawn >= self.second_share:
            return ()
        try:
            verdicts, _ = await self.second.verdicts(permit.question, group.rollout.texts)
        except Exception:  # noqa: BLE001  # who only watches must not stop what is watched
            logger.exception("no second opinion on question %s", permit.question.id)
            return ()
        return tuple(verdicts)

    def _is_for_another(self, group: Group) -> bool:
        """This judge has tried it, and not as many as could and should have."""
        if isinstance(group, RolloutGroup) or self.index not in group.tried:
            return False
        return len(group.tried) < min(TRIES, self.judges)

    def _verdict(
        self, question: Question, text: str, asked: Asked, opinions: Mapping[Request, Opinion]
    ) -> Verdict:
        """The fault boundary: any failure of one completion ends here, as an abstention."""
        try:
            verdict = self.bench.verdict(question, text, asked, opinions)
        except Unavailable as outage:  # it passes, so it does not count as a failure
            return Verdict.abstain(str(outage))
        except Exception as error:  # noqa: BLE001
            self.failures += 1
            logger.exception("no verdict on a completion of question %s", question.id)
            if self.failures >= FAILURES_IN_A_ROW:
                raise RuntimeError(
                    f"judge {self.index}: {self.failures} failures in a row"
                ) from error
            return Verdict.abstain(f"{type(error).__name__}: {error}")
        self.failures = 0
        return verdict
