"""How well a rubric ranks: pairwise accuracy on the labelled completions, with intervals.

A pair is a good completion and a flawed one of the same question (or a flawed and a malformed one);
it counts as right where the first earns strictly more, so a tie is wrong. With the reference trace
the rubric sees what a row with `reasoning` gives it; without, the question and its answer alone.
Intervals are 95 % Wilson; the pairs of one template have much in common, so read them as narrow.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from actors.data.labelled.items import Labelled
from actors.evaluate import wilson_interval
from actors.rewards.rubric import Rubric
from actors.rewards.shaping import score
from cluster.messages import Verdict

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


def judge_pairs(items: Iterable[Labelled], rubric: Rubric) -> Iterator[Pair]:
    for item in items:
        for with_reference in (True, False):
            question = item.question(with_reference)
            common = (item.split, with_reference)
            good = score(question, item.good, rubric)
            malformed = score(question, item.malformed, rubric)
            for kind, text in item.flawed.items():
                flawed = score(question, text, rubric)
                yield Pair(*common, kind, item.domain, good, flawed)
                yield Pair(*common, "malformed", item.domain, flawed, malformed)


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
