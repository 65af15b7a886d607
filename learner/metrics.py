"""What a step looks like as scalars. Pure functions of the step's report; numpy only."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from cluster.messages import NOBODY, Calls, ScoredGroup
from configs.schema import RunConfig
from learner.loop import StepReport


def scalars(report: StepReport, config: RunConfig, now: float) -> dict[str, float]:
    """All TensorBoard scalars that the step itself tells. `now`: seconds since the epoch."""
    groups = report.chosen.groups
    step_s = sum(report.seconds.values())
    return (
        reward_scalars(report)
        | grpo_scalars(report, config)
        | rollout_scalars(groups, step_s)
        | judge_scalars(groups)
        | policy_scalars(groups, report.step - 1)
        | sync_scalars(groups)
        | {f"time/{part}_s": seconds for part, seconds in report.seconds.items()}
        | {
            "time/step_s": step_s,
            "queue/age_s": float(np.mean([now - group.finished_at for group in groups])),
        }
    )


def reward_scalars(report: StepReport) -> dict[str, float]:
    """Mean reward, its spread inside groups, the mean of each part, and of what is watched.

    `reward/hacking/`: steps, characters and filler of the traces. A reward that rises while these
    run away is being gamed.
    """
    chosen = report.chosen
    values = chosen.rewards[chosen.valid]
    parts: dict[str, list[float]] = defaultdict(list)
    for group in chosen.groups:
        for verdict in group.verdicts:
            for name, value in verdict.parts.items():
                parts[name].append(value)
            for name, value in verdict.watched.items():
                parts[f"hacking/{name}"].append(value)
    spread = np.where(chosen.valid, chosen.rewards, np.nan)[chosen.valid.any(axis=1)]
    return {
        "reward/mean": float(values.mean()) if values.size else float("nan"),
        "reward/group_std": float(np.nanmean(np.nanstd(spread, axis=1))) if values.size else 0.0,
        **{f"reward/{name}": float(np.mean(values)) for name, values in parts.items()},
    }


def grpo_scalars(report: StepReport, config: RunConfig) -> dict[str, float]:
    """What the update said, and how much signal its groups carried."""
    chosen = report.chosen
    highest = np.where(chosen.valid, chosen.rewards, -np.inf).max(axis=1)
    lowest = np.where(chosen.valid, chosen.rewards, np.inf).min(axis=1)
    flat = highest - lowest <= max(1e-6, config.judge.noise)
    learner = config.learner
    return {
        **{f"grpo/{name}": value for name, value in report.metrics.items()},
        "grpo/advantage_abs": float(np.abs(chosen.advantages[chosen.trained]).mean()),
        "grpo/flat_groups": float(flat.mean()),
        "grpo/trained_groups": float(chosen.trained.sum()),
        "grpo/grad_clipped": float(report.metrics["grad_norm"] > learner.max_grad_norm),
        **refill_scalars(report, config),
    }


def refill_scalars(report: StepReport, config: RunConfig) -> dict[str, float]:
    """Prompts that took the place of groups without spread, the share of groups that were dropped
    for it, and places that were left to such groups; {} without `loop.max_refills`."""
    if not config.loop.max_refills:
        return {}
    chosen = report.chosen
    return {
        "grpo/refills": float(len(chosen.groups) - config.loop.groups_per_step),
        "grpo/no_spread": float((chosen.flat & ~chosen.trained).mean()),
        "grpo/unfilled": float((chosen.flat & chosen.trained).sum()),
    }


def rollout_scalars(groups: Iterable[ScoredGroup], step_s: float) -> dict[str, float]:
    """Sampled tokens per second of wall time, in all and by actor; lengths; the truncated share."""
    tokens_of: dict[int, int] = defaultdict(int)
    lengths, truncated = [], []
    for group in groups:
        here = [len(tokens) for tokens in group.rollout.tokens]
        lengths.extend(here)
        truncated.extend(group.rollout.truncated.tolist())
        tokens_of[group.rollout.actor] += sum(here)
    per_actor = {
        f"rollout/tokens_per_s/actor_{actor}": tokens / step_s
        for actor, tokens in sorted(tokens_of.items())
        if actor != NOBODY
    }
    return per_actor | {
        "rollout/tokens_per_s": sum(lengths) / step_s,
        "rollout/length": float(np.mean(lengths)),
        "rollout/length_max": float(max(lengths)),
        "rollout/truncated": float(np.mean(truncated)),
    }


def judge_scalars(groups: Iterable[ScoredGroup]) -> dict[str, float]:
    """Seconds a judge spends on a group, the share of abstentions, what was asked of a model."""
    groups = list(groups)
    seconds = [group.judge_s for group in groups]
    abstained = [bool(verdict.abstained) for group in groups for verdict in group.verdicts]
    return (
        {
            "judge/group_s": float(np.mean(seconds)),
            "judge/group_s_p95": float(np.quantile(seconds, 0.95)),
            "judge/abstained": float(np.mean(abstained)),
        }
        | call_scalars(sum((group.calls for group in groups), Calls()))
        | second_scalars(groups)
    )


def second_scalars(groups: Iterable[ScoredGroup]) -> dict[str, float]:
    """By how much the judge rewards more than the second one, where both have a verdict.

    A gap that grows while the reward does says that the reward is being gamed.
    """
    gaps = [
        first.reward - second.reward
        for group in groups
        for first, second in zip(group.verdicts, group.second, strict=bool(group.second))
        if not first.abstained and not second.abstained
    ]
    return {"judge/gold_gap": float(np.mean(gaps)), "judge/gold_seen": len(gaps)} if gaps else {}


def call_scalars(calls: Calls) -> dict[str, float]:
    """Requests to a language model, their seconds, known scores, failures by kind; {} for none."""
    scores = len(calls.seconds) + calls.cached
    if not scores and not calls.failed:
        return {}
    latencies = {}
    if calls.seconds:
        latencies = {
            f"judge/request_s_p{percent}": float(np.quantile(calls.seconds, percent / 100))
            for percent in (50, 95)
        }
    return (
        latencies
        | {"judge/requests": float(len(calls.seconds))}
        | {"judge/cache_hits": calls.cached / scores if scores else 0.0}
        | {f"judge/failed/{kind.replace(' ', '_')}": float(n) for kind, n in calls.failed.items()}
    )


def policy_scalars(groups: Iterable[ScoredGroup], version: int) -> dict[str, float]:
    """How many updates the policy was ahead of the one that sampled, when it trained on a group."""
    ages = [version - group.rollout.policy_version for group in groups]
    return {
        "policy/version": float(version + 1),
        "policy/staleness": float(np.mean(ages)),
        "policy/staleness_max": float(max(ages)),
    }


def sync_scalars(groups: Iterable[ScoredGroup]) -> dict[str, float]:
    """How the policies came to the actors that sampled: bytes, megabytes per second, seconds from
    asking for one to decoding with it, and those of them in which nothing was decoded. Means over
    actors and versions."""
    rollouts = [group.rollout for group in groups]
    swaps = list({(r.actor, r.swap.version): r.swap for r in rollouts if r.swap}.values())
    if not swaps:
        return {}
    total_s = sum(swap.total_s for swap in swaps)
    size = sum(swap.bytes for swap in swaps)
    return {
        "sync/bytes": size / len(swaps),
        "sync/mb_per_s": size / 1e6 / total_s,
        "sync/total_s": total_s / len(swaps),
        "sync/pause_s": sum(swap.pause_s for swap in swaps) / len(swaps),
    }


def bottleneck(seconds: dict[str, float], rollouts_waiting: int) -> str:
    """The part that the step waited for: "learner", or the pool that groups are missing from."""
    if seconds["wait"] < 0.5 * sum(seconds.values()):
        return "learner"
    return "judge" if rollouts_waiting else "rollout"
