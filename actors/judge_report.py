"""How well a rubric ranks: pairwise accuracy on the labelled completions, with intervals.

A pair is a good completion and a flawed one of the same question (or a flawed and a malformed one);
it counts as right where the first earns strictly more, so a tie is wrong. With the reference trace
the rubric sees what a row with `reasoning` gives it; without, the question and its answer alone.
Intervals are 95 % Wilson; the pairs of one template have much in common, so read them as narrow.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from actors.bench import Bench, Judging, load_judging, open_bench
from actors.data.labelled.items import Labelled, read_items
from actors.evaluate import wilson_interval
from actors.injection import gains, injection_lines
from actors.probes import probe_lines
from actors.rewards.rubric import Rubric, Weights
from cluster.messages import Calls, Verdict
from configs.errors import InputError
from configs.schema import JudgeSection
from learner.progress import Progress

MARGIN = 1e-9
COLUMNS = (("test", True), ("test", False), ("tune", True), ("tune", False))  # split, reference


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of one question, the first of which should earn more."""

    split: str
    with_reference: bool
    kind: str  # of the flaw, or "malformed"
    domain: str
    better: Verdict
    worse: Verdict

    @property
    def right(self) -> bool:
        return self.better.reward > self.worse.reward + MARGIN


async def judge_pairs(
    items: Sequence[Labelled], bench: Bench, done: Callable[[int], None] = lambda count: None
) -> tuple[list[Pair], Calls]:
    """All pairs, and what they took of a model. `done` is told how many items are judged.

    Pairs with an abstention are left out.
    """
    pairs: list[Pair] = []
    calls = Calls()
    for count, item in enumerate(items, 1):
        for with_reference in (True, False):
            question = item.question(with_reference)
            texts = (item.good, item.malformed, *item.flawed.values())
            (good, malformed, *flawed), spent = await bench.verdicts(question, texts)
            calls += spent
            common = (item.split, with_reference)
            for kind, verdict in zip(item.flawed, flawed, strict=True):
                pairs.append(Pair(*common, kind, item.domain, good, verdict))
                pairs.append(Pair(*common, "malformed", item.domain, verdict, malformed))
        done(count)
    return [p for p in pairs if not p.better.abstained and not p.worse.abstained], calls


def report(section: JudgeSection) -> list[str]:
    """What `launch.py judge --report` prints. Raises InputError."""
    return asyncio.run(_report(load_judging(section)))


def fit_lines(section: JudgeSection) -> list[str]:
    """What `launch.py judge --fit` does: fits a head on the split "tune", writes it, and says how
    it ranks, alone and without references. Raises InputError.
    """
    if not section.reader or not section.head:
        raise InputError(
            "judge --fit needs judge.reader, a run folder whose model reads, and judge.head, the "
            "file to write"
        )
    from actors.learned_judge import LearnedJudge, Memory, fit
    from actors.local_judge import load_local

    local, items = load_local(Path(section.reader), "judge.reader"), read_items()
    tune = [item for item in items if item.split == "tune"]
    reader = Memory(local)
    with Progress("fit", len(tune)) as progress:
        head = fit(local, tune, reader, progress.update)
    head.save(Path(section.head))
    bench = Bench(_opinion_alone(), None, learned=LearnedJudge(local, head, reader))
    with Progress("judge", len(items)) as progress:
        pairs, _ = asyncio.run(judge_pairs(items, bench, progress.update))
    return [
        f"head        {section.head}, version {head.version}",
        f"left out    {head.ranked:.3f} of the pairs of tune, each by a head without its template",
        *report_lines(pairs),
    ]


def _opinion_alone() -> Rubric:
    """The learned judge's opinion, and nothing else but the form."""
    weights = Weights({"learned": 1.0}, missing_tags=-0.5, repetition=0.0, length_bonus=0.0)
    return Rubric(weights, {}, source="", learned=("learned",))


async def _report(judging: Judging) -> list[str]:
    items = read_items()
    some = list({item.template: item for item in items}.values())
    async with aclosing(open_bench(judging)) as bench:
        started = time.perf_counter()
        with Progress("judge", len(items)) as progress:
            pairs, calls = await judge_pairs(items, bench, progress.update)
        seconds = time.perf_counter() - started
        with Progress("injection", len(some)) as progress:
            found = await gains(some, bench, progress.update)
        with Progress("probes", len(some)) as progress:
            probes = await probe_lines(some, bench, progress.update)
    return [
        f"rubric      {judging.section.rubric}",
        *report_lines(pairs),
        *injection_lines(found),
        *probes,
        *call_lines(calls, seconds),
    ]


def call_lines(calls: Calls, seconds: float) -> list[str]:
    """What the language model took; [] where none was asked."""
    asked = len(calls.seconds)
    if not asked and not calls.cached and not calls.failed:
        return []
    failed = ", ".join(f"{kind} {count}" for kind, count in calls.failed.items()) or "none"
    p50, p95 = np.quantile(calls.seconds, (0.5, 0.95)) if asked else (0.0, 0.0)
    return [
        f"model       {asked} requests, {asked / seconds:.1f} a second, p50 {p50:.3f} s, "
        f"p95 {p95:.3f} s, {calls.cached} from the cache",
        f"abstained   {failed}",
    ]


def report_lines(pairs: Sequence[Pair]) -> list[str]:
    """The tables: by kind of flaw, by domain, by criterion."""
    flawed = [pair for pair in pairs if pair.kind != "malformed"]
    heads = [f"{split}, {'with' if with_ else 'no'} trace" for split, with_ in COLUMNS]
    lines = [_row("good > flawed", heads)]
    for kind in dict.fromkeys(pair.kind for pair in flawed):
        lines.append(_row(f"  {kind}", _shares(p for p in flawed if p.kind == kind)))
    for domain in dict.fromkeys(pair.domain for pair in flawed):
        lines.append(_row(f"  in {domain}", _shares(p for p in flawed if p.domain == domain)))
    lines.append(_row("  all", _shares(flawed)))
    malformed = (pair for pair in pairs if pair.kind == "malformed")
    lines.append(_row("flawed > malformed", _shares(malformed)))
    lines.append(_row("by criterion (prefers good : flawed)", [""] * len(COLUMNS)))
    for name in dict.fromkeys(name for pair in flawed for name in pair.better.scores):
        lines.append(_row(f"  {name}", _preferences(flawed, name)))
    return lines


def accuracy(pairs: Iterable[Pair]) -> tuple[float, int]:
    """Share of right pairs, and how many there are."""
    right = [pair.right for pair in pairs]
    return (sum(right) / len(right) if right else float("nan")), len(right)


def _shares(pairs: Iterable[Pair]) -> list[str]:
    columns: dict[tuple[str, bool], list[Pair]] = defaultdict(list)
    for pair in pairs:
        columns[pair.split, pair.with_reference].append(pair)
    cells = []
    for column in COLUMNS:
        right, count = sum(pair.right for pair in columns[column]), len(columns[column])
        low, high = wilson_interval(right, count)
        cells.append(f"{right / count:.3f} [{low:.2f}-{high:.2f}]" if count else "")
    return cells


def _preferences(pairs: Iterable[Pair], criterion: str) -> list[str]:
    """How often one criterion alone prefers the good and the flawed one; else it ties."""
    counts: dict[tuple[str, bool], list[int]] = {column: [0, 0, 0] for column in COLUMNS}
    for pair in pairs:
        better, worse = (v.scores.get(criterion, 0.0) for v in (pair.better, pair.worse))
        tally = counts[pair.split, pair.with_reference]
        tally[0] += better > worse + MARGIN
        tally[1] += worse > better + MARGIN
        tally[2] += 1
    return [f"{a / n:.2f} : {b / n:.2f}" if n else "" for a, b, n in counts.values()]


def _row(name: str, cells: Sequence[str]) -> str:
    return name.ljust(38) + "".join(cell.ljust(21) for cell in cells).rstrip()
