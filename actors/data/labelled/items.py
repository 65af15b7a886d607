"""Labelled completions for measuring a judge: good, flawed in ten ways, malformed.

    uv run python -m actors.data.labelled.items      writes items.jsonl again, byte for byte

A line of the file is a question with its reference trace, a good completion in other words than the
reference, a flawed completion of each kind, and a malformed one; a judge should rank them in that
order. All of it is drawn with one seed from the templates beside this file. The rules were made on
templates of the split "tune"; those of "test" (veiled.py, unheard.py) are there to measure them.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from actors.data.labelled import (
    argued,
    blind,
    computed,
    fresh,
    general,
    mathematics,
    reasoning,
    science,
    sealed,
    unheard,
    unseen,
    untold,
    veiled,
)
from actors.data.labelled.draft import Draft, Template
from actors.data.labelled.flaws import FLAWS, malformed, written
from actors.rewards.format import render
from cluster.messages import Question

FILE = Path(__file__).with_name("items.jsonl")
SEED = 20260
QUESTIONS = {"tune": 3, "test": 6}  # of a template
STYLES = ("{number}. {step}", "{number}. {step}.", "Step {number}: {step}.")
TEMPLATES: dict[str, dict[str, tuple[Template, ...]]] = {
    "math": {
        "tune": (
            *(mathematics.eggs, mathematics.books, mathematics.mean),
            *(mathematics.perimeter, mathematics.unknown, mathematics.discount),
            *(fresh.tank, fresh.triangle, unseen.fence, unseen.sharing),
            *(computed.coins, computed.ratio, computed.growth, computed.path),
            *(blind.tiles, blind.remainder, blind.twice),
            *(sealed.interest, sealed.consecutive, sealed.angles),
            *(sealed.quarters, sealed.new_mean),
        ),
        "test": (veiled.other_side, veiled.tax, veiled.legs, veiled.cube),
    },
    "science": {
        "tune": (
            *(science.ride, science.food_chain, science.floating),
            *(science.lamp, science.spoons, science.mixing),
            *(fresh.circuit, fresh.plants, unseen.echo, unseen.rusting),
            *(computed.density, computed.pressure, argued.bottle, argued.shadow),
            *(blind.heating, blind.magnet, blind.drying),
            *(sealed.lever, sealed.half_life, untold.lid, untold.salt, untold.candle),
        ),
        "test": (veiled.crane, veiled.sugar, unheard.airless, unheard.shirts),
    },
    "reasoning": {
        "tune": (
            *(reasoning.ages, reasoning.syllogism, reasoning.film),
            *(reasoning.turns, reasoning.weekday, reasoning.boxes),
            *(fresh.race, fresh.sequence, unseen.seats, unseen.clock),
            *(argued.heights, argued.match, argued.queue, argued.doubling),
            *(blind.weights, blind.keys, blind.steps),
            *(sealed.handshakes, sealed.marbles),
            *(untold.grandparent, untold.choir, untold.arrivals),
        ),
        "test": (veiled.knockout, unheard.yesterday, unheard.cheapest, unheard.socks),
    },
    "general": {
        "tune": (
            *(general.recipe, general.alphabet, general.flight),
            *(general.savings, general.odd_one_out, general.errand),
            *(fresh.change, fresh.opposite, unseen.fuel, unseen.borders),
            *(computed.shopping, computed.paint, argued.clothes, argued.rhyme),
            *(blind.postage, blind.season, blind.plural),
            *(sealed.opening, sealed.tip, sealed.longer),
            *(untold.sunrise, untold.letters_left),
        ),
        "test": (veiled.parking, veiled.late_book, unheard.on_the_map, unheard.wet_street),
    },
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """One question with completions whose order is known: good > each flawed > malformed."""

    id: str
    split: str
    template: str
    domain: str
    prompt: str
    reasoning: str  # the reference trace
    answer: str
    verifier: str
    good: str
    flawed: dict[str, str]  # by kind
    malformed: str

    def question(self, with_reference: bool) -> Question:
        """As a row of a data set, with or without the reference trace."""
        trace = self.reasoning if with_reference else ""
        return Question(self.id, self.prompt, trace, self.answer, self.domain, self.verifier)


def make_items(seed: int = SEED) -> Iterator[Labelled]:
    """In a fixed order, each template with a sequence of its own."""
    for domain, splits in TEMPLATES.items():
        for split, templates in splits.items():
            for template in templates:
                rng = random.Random(f"{template.__name__} {seed}")
                drafts = [template(rng) for _ in range(QUESTIONS[split] + 1)]
                for number, (draft, other) in enumerate(zip(drafts, drafts[1:], strict=False)):
                    id_ = f"{template.__name__}-{number}"
                    yield _labelled((id_, split, template.__name__, domain), draft, other, rng)


def _labelled(
    heading: tuple[str, str, str, str], draft: Draft, other: Draft, rng: random.Random
) -> Labelled:
    style = rng.choice(STYLES)
    good = render(written(list(draft.good), style), draft.answer)
    flawed = {}
    for name, flaw in FLAWS.items():
        steps, answer = flaw(draft, other, rng)
        flawed[name] = render(written(steps, style), answer)
    return Labelled(
        *heading,
        prompt=draft.prompt,
        reasoning=written(list(draft.reference), STYLES[0]),
        answer=draft.answer,
        verifier=draft.verifier,
        good=good,
        # two questions of a template may have the same trace: then it is no flaw
        flawed={name: text for name, text in flawed.items() if text != good},
        malformed=malformed(draft, style, rng),
    )


def read_items(path: Path = FILE) -> list[Labelled]:
    return [Labelled(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def write_items(path: Path = FILE) -> None:
    lines = (json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in make_items())
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write_items()
