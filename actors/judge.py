"""Judge actor: turns rollout groups into scored groups.

A completion that cannot be judged abstains with its reason; it is never a silent zero.
"""

import logging
import time

from actors.rewards.rubric import Rubric
from actors.rewards.shaping import score
from cluster.messages import Question, RolloutGroup, ScoredGroup, Verdict

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 20
"""One odd completion may fail; this many in a row mean that the judge itself is broken."""


class JudgeActor:
    """Plain class. The queues have `get(max_items, timeout_s) -> list` and `put(items)`."""

    def __init__(self, index: int, rubric: Rubric, rollouts, scored):
        self.index = index
        self.rubric = rubric
        self.rollouts = rollouts
        self.scored = scored
        self.failures = 0  # in a row

    def run(self) -> None:
        """Judges for ever: whoever owns the process ends it."""
        while True:
            if groups := self.rollouts.get(max_items=8, timeout_s=1.0):
                self.scored.put([self.judge(group) for group in groups])

    def judge(self, group: RolloutGroup) -> ScoredGroup:
        """One verdict for each completion."""
        started = time.perf_counter()
        verdicts = tuple(self._verdict(group.permit.question, text) for text in group.texts)
        return ScoredGroup(
            rollout=group,
            verdicts=verdicts,
            judge=self.index,
            judge_s=time.perf_counter() - started,
            finished_at=time.time(),
        )

    def _verdict(self, question: Question, text: str) -> Verdict:
        """The fault boundary: any failure of one completion ends here, as an abstention."""
        try:
            verdict = score(question, text, self.rubric)
        except Exception as error:  # noqa: BLE001
            self.failures += 1
            logger.exception("no verdict on a completion of question %s", question.id)
            if self.failures >= FAILURES_IN_A_ROW:
                raise RuntimeError(
                    f"judge {self.index}: {self.failures} failures in a row"
                ) from error
            return Verdict(0.0, {}, abstained=f"{type(error).__name__}: {error}")
        self.failures = 0
        return verdict
