"""The cold start: a short supervised phase, so that GRPO finds something to reinforce."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from configs.schema import RunConfig
from learner.batch import Demonstrations
from learner.loop import Stop

STEPS_PER_CALL = 20  # a stop is noticed between calls


class ColdStarter(Protocol):
    """What the cold start needs of the learner."""

    def sft_steps(self, batches: Sequence[Demonstrations]) -> list[float]: ...

    def begin_grpo(self) -> None: ...

    def save(
        self, phase: str, step: int, ledger: dict, metrics: dict | None, wait: bool
    ) -> Sequence[str]: ...


def cold_start(
    config: RunConfig,
    learner: ColdStarter,
    batches: Iterator[Demonstrations],
    done: int,
    check: Callable[[], None],
    report: Callable[[int, float], None],
) -> None:
    """Run from step `done` to `sft.steps`, then freeze the result as the reference policy.

    `check` raises Stop to end early: the state is saved first, and the Stop goes on to the caller.
    `report` gets the steps done and the mean loss of the last call (nats per token).
    """
    try:
        while done < config.sft.steps:
            check()
            part = list(islice(batches, min(STEPS_PER_CALL, config.sft.steps - done)))
            losses = learner.sft_steps(part)
            done += len(part)
            report(done, sum(losses) / len(losses))
    except Stop:
        learner.save("sft", done, {}, None, wait=True)
        raise
    learner.begin_grpo()
