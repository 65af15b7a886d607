"""A run for Prometheus: Ray's metrics with the tag `role`, which every Ray node serves.

All come from the driver, which sees each step and each group with the actors that it came from.
`cluster/grafana.json` shows them; docs/cluster.md says how they get there.
"""

import math
from collections import Counter as Tally
from collections.abc import Callable, Mapping

from ray.util.metrics import Counter, Gauge

from cluster.messages import NOBODY
from learner.loop import StepReport

_GAUGES = {  # name -> role, scalar of the step, what it is
    "showwork_reward": ("driver", "reward/mean", "mean reward of the step"),
    "showwork_step_seconds": ("driver", "time/step_s", "wall time of the step"),
    "showwork_wait_seconds": ("driver", "time/wait_s", "of it waiting for groups"),
    "showwork_update_seconds": ("learner", "time/update_s", "of it in the update"),
    "showwork_publish_seconds": ("learner", "time/publish_s", "of it handing out weights"),
    "showwork_loss": ("learner", "grpo/loss", "loss of the update"),
    "showwork_kl": ("learner", "grpo/kl", "KL divergence from the reference policy"),
    "showwork_gradient_norm": ("learner", "grpo/grad_norm", "norm of the gradient"),
    "showwork_staleness": ("learner", "policy/staleness", "updates since a group was sampled"),
    "showwork_tokens_per_second": ("rollout", "rollout/tokens_per_s", "tokens sampled"),
    "showwork_truncated": ("rollout", "rollout/truncated", "share cut off by the token budget"),
    "showwork_judge_group_seconds": ("judge", "judge/group_s", "for the verdicts of a group"),
    "showwork_abstained": ("judge", "judge/abstained", "share of completions without a verdict"),
    "showwork_permits_waiting": ("rollout", "queue/depth_permits", "prompts that nobody has taken"),
    "showwork_rollouts_waiting": ("judge", "queue/depth_rollouts", "groups that wait for a judge"),
    "showwork_scored_waiting": ("learner", "queue/depth_scored", "groups that wait for the step"),
}
_COUNTERS = {
    "showwork_steps": "optimizer steps done",
    "showwork_groups": "groups used by a step, by the actor that sampled or judged them",
    "showwork_tokens": "their tokens, by the actor that sampled them",
    "showwork_incidents": "processes that died or hung, checkpoints set aside",
}
NAMES = (*_GAUGES, "showwork_step", *_COUNTERS)


class Meters:
    """Of one run. `host`: the address of an actor's host, by role and number."""

    def __init__(self, run: str, host: Callable[[str, int], str]):
        self._run, self._host = run, host
        tags = ("run", "role")
        self._gauges = {name: Gauge(name, what, tags) for name, (_, _, what) in _GAUGES.items()}
        self._step = Gauge("showwork_step", "optimizer steps done, of all sittings", tags)
        self._counters = {
            name: Counter(name, what, (*tags, "actor", "host")) for name, what in _COUNTERS.items()
        }

    def step(self, done: StepReport, scalars: Mapping[str, float]) -> None:
        """What a step did; `scalars` are those of TensorBoard."""
        self._step.set(done.step, {"run": self._run, "role": "driver"})
        for name, (role, scalar, _) in _GAUGES.items():
            value = scalars.get(scalar, math.nan)
            if not math.isnan(value):
                self._gauges[name].set(value, {"run": self._run, "role": role})
        self._count("showwork_steps", 1, "learner")
        for (role, actor), groups in _groups(done).items():
            self._count("showwork_groups", groups, role, actor)
        for actor, tokens in _tokens(done).items():
            self._count("showwork_tokens", tokens, "rollout", actor)

    def incident(self) -> None:
        self._count("showwork_incidents", 1, "driver")

    def _count(self, name: str, more: int, role: str, actor: int = 0) -> None:
        tags = {"run": self._run, "role": role, "actor": str(actor)}
        self._counters[name].inc(more, tags | {"host": self._host(role, actor)})


def _groups(done: StepReport) -> Tally[tuple[str, int]]:
    groups = [group for group in done.chosen.groups if group.rollout.actor != NOBODY]
    sampled = Tally(("rollout", group.rollout.actor) for group in groups)
    return sampled + Tally(("judge", group.judge) for group in groups)


def _tokens(done: StepReport) -> Tally[int]:
    tally: Tally[int] = Tally()
    for group in done.chosen.groups:
        if group.rollout.actor != NOBODY:
            tally[group.rollout.actor] += sum(len(tokens) for tokens in group.rollout.tokens)
    return tally
