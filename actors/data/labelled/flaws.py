"""Ten ways in which a trace goes wrong, and how a completion loses its form."""

import random
from collections.abc import Callable

from actors.data.labelled.draft import Draft
from actors.rewards.format import render

Steps = list[str]
Flaw = Callable[[Draft, Draft, random.Random], tuple[Steps, str]]
"""Steps and answer, from the question's draft and that of another question."""


def wrong_answer(draft: Draft, other: Draft, rng: random.Random) -> tuple[Steps, str]:
    return list(draft.good), draft.wrong_answer


def wrong_step(draft: Draft, other: Draft, rng: random.Random) -> tuple[Steps, str]:
    return _with(draft, *draft.wrong), draft.answer


def altered(draft: Draft, other: Draft, rng: random.Random) -> tuple[Steps, str]:
    return _with(draft, *draft.altered), draft.answer


def shuffled(draft: Draft, other: Draft, rng: random.Random) -> tuple[Steps, str]:
    """Some order in which a step stands before the one that it rests on."""
    first, second = draft.ordered
    places = list(range(len(draft.good)))
    while places.index(first) < places.index(second):
        rng.shuffle(places)
    return [draft.good[place] for place in places], draft.answer


def missing_step(draft: Draft, other: Draft, rng: random.Random) -> tuple[Steps, str]:
    steps = list(draft.good)
    del steps[draft.needed]
    return steps, draft.answer


def other_trace(draft: Draft, other: Draft, rng: random.Random) -> tuple[Steps, str]:
    return list(other.good), draft.answer


def filler(draft: Draft, other: Draft, rng: random.Random) -> tuple[Steps, str]:
    """The question's own sentences, whole or cut in two, and then the answer."""
    sentences = [part.strip() for part in draft.prompt.replace("?", ".").split(".") if part.strip()]
    words = draft.prompt.rstrip("?.").split()
    cut = len(words) // 2
    halves = [" ".join(words[:cut]), " ".join(words[cut:])]
    steps = rng.choice((sentences, halves))
    last = rng.choice(("The answer is {}", "So it is {}", "Therefore we get {}"))
    return [*steps, last.format(draft.answer)], draft.answer


def loop(draft: Draft, other: Draft, rng: random.Random) -> tuple[Steps, str]:
    """One step, said two or three times more."""
    place = rng.randrange(len(draft.good))
    repeated = [draft.good[place]] * rng.randint(2, 3)
    return [*draft.good[: place + 1], *repeated, *draft.good[place + 1 :]], draft.answer


def idle_step(draft: Draft, other: Draft, rng: random.Random) -> tuple[Steps, str]:
    """True, and of no use to any other step."""
    a, b = rng.randint(60, 90), rng.randint(2, 9)
    step = rng.choice((f"{a} + {b} = {a + b}", f"{a} - {b} = {a - b}", f"{a} > {b}"))
    return [*draft.good[:-1], step, draft.good[-1]], draft.answer


def bare_claim(draft: Draft, other: Draft, rng: random.Random) -> tuple[Steps, str]:
    claim = rng.choice(
        ("It is clearly {}", "As everybody knows the answer is {}", "Thinking about it gives {}")
    )
    return [claim.format(draft.answer)], draft.answer


FLAWS: dict[str, Flaw] = {
    flaw.__name__: flaw
    for flaw in (wrong_answer, wrong_step, altered, shuffled, missing_step)
    + (other_trace, filler, loop, idle_step, bare_claim)
}


def malformed(draft: Draft, style: str, rng: random.Random) -> str:
    """The good completion, in a form that cannot be read."""
    reasoning = written(list(draft.good), style)
    whole = render(reasoning, draft.answer)
    return rng.choice(
        (
            whole.replace("</reasoning>", ""),
            whole.replace("<answer>", "").replace("</answer>", ""),
            f"<answer>{draft.answer}</answer><reasoning>{reasoning}</reasoning>",
            f"{reasoning}\n{draft.answer}",
            f"Sure! {whole}",
            f"{whole}<answer>{draft.answer}</answer>",
        )
    )


def written(steps: Steps, style: str) -> str:
    return "\n".join(style.format(number=n, step=step) for n, step in enumerate(steps, 1))


def _with(draft: Draft, place: int, step: str) -> Steps:
    return [*draft.good[:place], step, *draft.good[place + 1 :]]
