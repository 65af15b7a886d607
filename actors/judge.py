"""Judge actor: turns rollout groups into scored groups.

A completion that cannot be judged abstains with its reason; it is never a silent zero. A group with
abstentions goes back to the queue for another judge, which judges only what is left.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from actors.rewards.rubric import Rubric
from actors.rewards.sandbox import Unavailable
from actors.rewards.shaping import score
from cluster.messages import Question, RolloutGroup, ScoredGroup, Verdict
from learner.collect import Queue

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 20
"""One odd completion may fail; this many in a row mean that the judge itself is broken."""
TRIES = 2  # judges that are asked before a group goes on with the verdicts it has
HANDED_ON_S = 0.05  # a group that waits for another judge must not keep this one spinning


class JudgeActor:
    """Plain class. `judges`: how many there are; unjudged groups come from `rollouts`."""

    def __init__(self, index: int, judges: int, rubric: Rubric, rollouts: Queue, scored: Queue):
        self.index, self.judges, self.rubric = index, judges, rubric
        self.rollouts, self.scored = rollouts, scored
        self.failures = 0  # in a row

    def run(self) -> None:
        """Judges for ever: whoever owns the process ends it."""
        while True:
            if groups := self.rollouts.get(max_items=8, timeout_s=1.0):
                self.serve(groups)

    def serve(self, groups: Sequence[RolloutGroup | ScoredGroup]) -> None:
        """One turn: judge what this judge has not tried, hand on what another one may."""
        mine = [group for group in groups if not self._is_for_another(group)]
        judged = [self.judge(group) for group in mine]
        done = [group for group in judged if not self._is_for_another(group)]
        handed_on = [group for group in (*groups, *judged) if self._is_for_another(group)]
        if done:
            self.scored.put(done)
        if handed_on:
            self.rollouts.put(handed_on)
            time.sleep(HANDED_ON_S)

    def judge(self, group: RolloutGroup | ScoredGroup) -> ScoredGroup:
        """One verdict for each completion; verdicts that are there stay."""
        started = time.perf_counter()
        if isinstance(group, RolloutGroup):
            missing = (Verdict.abstain("not judged yet"),) * len(group.texts)
            group = ScoredGroup(group, missing, self.index, judge_s=0.0, finished_at=0.0)
        if group.set_aside:
            return group
        question = group.rollout.permit.question
        verdicts = tuple(
            self._verdict(question, text) if verdict.abstained else verdict
            for text, verdict in zip(group.rollout.texts, group.verdicts, strict=True)
        )
        left = any(verdict.abstained for verdict in verdicts)
        return replace(
            group,
            verdicts=verdicts,
            judge=self.index,
            judge_s=group.judge_s + time.perf_counter() - started,
            finished_at=time.time(),
            tried=(*group.tried, self.index) if left else (),
        )

    def _is_for_another(self, group: RolloutGroup | ScoredGroup) -> bool:
        """This judge has tried it, and not as many as could and should have."""
        if isinstance(group, RolloutGroup) or self.index not in group.tried:
            return False
        return len(group.tried) < min(TRIES, self.judges)

    def _verdict(self, question: Question, text: str) -> Verdict:
        """The fault boundary: any failure of one completion ends here, as an abstention."""
        try:
            verdict = score(question, text, self.rubric)
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
