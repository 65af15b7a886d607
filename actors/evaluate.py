"""Evaluation on held-out rows: the same actors, greedy and sampled, per domain, with intervals."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from actors.data.feed import prompt_tokens
from actors.data.tables import question
from actors.rewards.format import parse
from cluster.messages import Permit, Restraint, ScoredGroup, Verdict
from configs.schema import EvalSection, RunConfig
from learner.collect import SET_ASIDE, Collector, Key, Queue, WorkLost
from learner.policy.tokenizer import Tokenizer

MODES = ("greedy", "sampled")
SOUND = ("reasoning_quality", "trace_coherence")  # full marks in these, as far as judged


class Evaluation:
    """Asks held-out questions of a policy version and sums up the verdicts.

    The rows are a seeded choice of `eval.rows`, the same in every evaluation of a run.
    """

    def __init__(self, table: pa.Table, tokenizer: Tokenizer, config: RunConfig, permits: Queue):
        self._config, self._queue = config, permits
        order = np.random.default_rng(config.run.seed).permutation(table.num_rows)
        rows = sorted(order[: config.eval.rows].tolist())
        self._questions = [question(table, row) for row in rows]
        self._tokens = [prompt_tokens(q.prompt, tokenizer, config) for q in self._questions]

    def run(
        self, label: str, policy_version: int, collector: Collector
    ) -> tuple[dict[str, dict], list[ScoredGroup]]:
        """{"all" and each domain: {mode: measures}}, and the greedy groups for a closer look."""
        results: dict[str, dict] = {}
        greedy: list[ScoredGroup] = []
        for mode in MODES:
            groups = self._take(
                self._permits_of(f"{label}/{mode}", mode, policy_version), collector
            )
            for domain, members in _by_domain(groups).items():
                verdicts = [verdict for group in members for verdict in group.verdicts]
                of_samples = sample_measures(members) if mode == "sampled" else {}
                results.setdefault(domain, {})[mode] = measures(verdicts) | of_samples
            greedy = greedy or groups
        return results, greedy

    def _permits_of(self, stream: str, mode: str, policy_version: int) -> list[Permit]:
        temperature = 0.0 if mode == "greedy" else self._config.rollout.temperature
        siblings = 1 if mode == "greedy" else self._config.eval.samples
        restraint = restraint_of(mode, self._config.eval)
        return [
            Permit(stream, index, asked, tokens, siblings, temperature, policy_version, restraint)
            for index, (asked, tokens) in enumerate(zip(self._questions, self._tokens, strict=True))
        ]

    def _take(self, permits: list[Permit], collector: Collector) -> list[ScoredGroup]:
        of_key = {permit.key: permit for permit in permits}

        def ask(keys: list[Key]) -> None:
            self._queue.put([of_key[key] for key in keys])

        def set_aside(key: Key) -> None:
            collector.keep(ScoredGroup.instead(of_key[key], SET_ASIDE))

        ask(list(of_key))
        while True:
            try:
                return collector.take(list(of_key))
            except WorkLost as lost:
                collector.ask_again(lost, list(of_key), ask, set_aside)


def restraint_of(mode: str, section: EvalSection) -> Restraint:
    """Greedy decoding needs no filter: the likeliest token passes all of them."""
    if mode == "greedy":
        return Restraint(close_reasoning=section.close_reasoning)
    return Restraint(section.top_k, section.top_p, section.min_p, section.close_reasoning)


def measures(verdicts: Sequence[Verdict]) -> dict:
    """Shares of the judged completions: right answers (with a 95 % Wilson interval), right answers
    with a sound trace, right format; and the mean reward. Abstentions are left out and counted.
    """
    judged = [verdict for verdict in verdicts if not verdict.abstained]

    def share(holds: Callable[[Verdict], bool]) -> float:
        return sum(map(holds, judged)) / len(judged) if judged else math.nan

    def sound(verdict: Verdict) -> bool:
        return all(verdict.scores.get(name, 1.0) > 1 - 1e-6 for name in SOUND)

    return {
        "accuracy": share(right),
        "interval": wilson_interval(sum(map(right, judged)), len(judged)),
        "sound": share(lambda verdict: right(verdict) and sound(verdict)),
        "format": share(lambda verdict: bool(verdict.scores)),
        "reward": sum(v.reward for v in judged) / len(judged) if judged else math.nan,
        "rows": len(judged),
        "abstained": len(verdicts) - len(judged),
    }


def right(verdict: Verdict) -> bool:
    """Is the answer right, as the verifier says?"""
    return verdict.scores.get("answer_correctness", 0.0) > 0


def sample_measures(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """pass@k and maj@k of groups of k > 1 samples, over the judged ones; else nothing."""
    size = max((group.rollout.permit.siblings for group in groups), default=1)
    if size < 2:
        return {}
    passed, majority = [], []
    for group in groups:
        judged = [n for n, verdict in enumerate(group.verdicts) if not verdict.abstained]
        hits = [right(group.verdicts[n]) for n in judged]
        if judged:
            passed.append([pass_at(k, len(judged), sum(hits)) for k in (1, size)])
            majority.append(majority_right([group.rollout.texts[n] for n in judged], hits))
    if not passed:
        return {}
    first, last = np.mean(passed, axis=0).tolist()
    return {"pass@1": first, f"pass@{size}": last, f"maj@{size}": float(np.mean(majority))}


def pass_at(k: int, samples: int, hits: int) -> float:
    """Chance that one of k of the samples is right, without bias (Chen et al. 2021)."""
    k = min(k, samples)
    return 1.0 - math.comb(samples - hits, k) / math.comb(samples, k)


def majority_right(texts: Sequence[str], hits: Sequence[bool]) -> bool:
    """Is the answer that most samples give right? Of equally frequent ones the first counts.

    Answers are compared without case and white space; a sample without the format gives none.
    """
    answers = [parse(text) for text in texts]
    keys = ["".join(a.answer.split()).casefold() if a else "" for a in answers]
    counts = Counter(key for key in keys if key)
    if not counts:
        return False
    winner = counts.most_common(1)[0][0]
    return hits[keys.index(winner)]


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> list[float]:
    """95 % interval of a proportion (Wilson 1927); [0, 1] without trials."""
    if not trials:
        return [0.0, 1.0]
    p = successes / trials
    middle = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return [max(0.0, middle - half), min(1.0, middle + half)]


def _by_domain(groups: Sequence[ScoredGroup]) -> dict[str, list[ScoredGroup]]:
    found: dict[str, list[ScoredGroup]] = {"all": list(groups)}
    for group in groups:
        found.setdefault(group.rollout.permit.question.domain, []).append(group)
    return found
