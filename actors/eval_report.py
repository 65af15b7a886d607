"""What an evaluation leaves: the outcome of each question, a page to read, a fair comparison."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.evaluate import right
from cluster.messages import ScoredGroup
from configs.errors import InputError
from configs.run_folder import write_json, write_text

_SAMPLES = 5


def write_report(
    place: Path, title: str, results: Mapping[str, dict], greedy: Sequence[ScoredGroup]
) -> None:
    """`place`.md for people, and `place`-rows.json with the greedy outcome of every question."""
    write_json(place.with_name(f"{place.name}-rows.json"), outcome_rows(greedy))
    write_text(place.with_name(f"{place.name}.md"), "\n".join(_page(title, results, greedy)) + "\n")


def outcome_rows(greedy: Sequence[ScoredGroup]) -> list[dict[str, Any]]:
    """One object a judged question: id, domain, right, reward, tokens."""
    return [
        {
            "id": group.rollout.permit.question.id,
            "domain": group.rollout.permit.question.domain,
            "right": right(verdict),
            "reward": verdict.reward,
            "tokens": len(group.rollout.tokens[0]),
        }
        for group in greedy
        if not (verdict := group.verdicts[0]).abstained
    ]


def compare(before: Path, after: Path) -> dict[str, Any]:
    """Two evaluations on the questions that both answered.

    Gives accuracies, how many questions only one of them got right, and the two-sided p of
    McNemar's exact test (1947): under no difference either is as likely to be the one.
    Raises InputError for files that are no evaluations or share no question.
    """
    old, new = (_outcomes(path) for path in (before, after))
    shared = sorted(old.keys() & new.keys())
    if not shared:
        raise InputError(f"{before} and {after} have no question in common")
    gained = sum(new[key] and not old[key] for key in shared)
    lost = sum(old[key] and not new[key] for key in shared)
    return {
        "questions": len(shared),
        "before": sum(old[key] for key in shared) / len(shared),
        "after": sum(new[key] for key in shared) / len(shared),
        "gained": gained,
        "lost": lost,
        "p": mcnemar(gained, lost),
    }


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p of `gained` against `lost`."""
    total, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total
    return min(1.0, 2 * tail)


def compare_lines(found: Mapping[str, Any]) -> list[str]:
    return [
        f"{found['questions']} questions that both answered, greedy",
        f"right       {found['before']:.3f} -> {found['after']:.3f}",
        f"only after  {found['gained']}, only before {found['lost']}",
        f"p           {found['p']:.4f} (McNemar, exact, two-sided)",
    ]


def _outcomes(path: Path) -> dict[str, bool]:
    """By question id; of a run folder, its newest evaluation."""
    if path.is_dir():
        found = sorted(path.glob("eval-*-rows.json"))
        if not found:
            raise InputError(f"{path}: holds no eval-*-rows.json; run launch.py eval --run {path}")
        path = found[-1]
    try:
        return {row["id"]: bool(row["right"]) for row in json.loads(path.read_text())}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no eval-*-rows.json of an evaluation ({error})") from error


def _page(title: str, results: Mapping[str, dict], greedy: Sequence[ScoredGroup]) -> list[str]:
    lines = [f"# {title}", "", "| domain | mode | right (95 %) | sound | format | reward | more |"]
    lines.append("|---|---|---|---|---|---|---|")
    for domain, modes in results.items():
        for mode, found in modes.items():
            low, high = found["interval"]
            more = ", ".join(f"{k} {v:.3f}" for k, v in found.items() if "@" in k)
            lines.append(
                f"| {domain} | {mode} | {found['accuracy']:.3f} ({low:.3f}-{high:.3f}) | "
                f"{found['sound']:.3f} | {found['format']:.3f} | {found['reward']:.3f} | {more} |"
            )
    lengths = sorted(len(group.rollout.tokens[0]) for group in greedy)
    if lengths:
        middle = lengths[len(lengths) // 2]
        lines += ["", f"Greedy completions: {middle} tokens in the middle, {lengths[-1]} at most."]
    for group in greedy[:_SAMPLES]:
        asked, verdict = group.rollout.permit.question, group.verdicts[0]
        outcome = "not judged" if verdict.abstained else f"reward {verdict.reward:.2f}"
        lines += ["", f"**{asked.prompt}** ({outcome})", "", "```", group.rollout.texts[0], "```"]
    return lines
