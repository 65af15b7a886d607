"""What a cold start imitates: right traces, slips carried out neatly, and answers without tags.

From flawless demonstrations alone, imitation would learn these questions by itself and leave
reinforcement nothing to teach. A slip is systematic (one too many, the next name, the other side),
so that imitation really learns it and only the reward can undo it.
"""

import random

from actors.data.questions import SyntheticQuestion
from actors.rewards.format import render


def numbered(steps: tuple[str, ...]) -> str:
    """`1. a + b = c` and so on, one step a line."""
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def slip(question: SyntheticQuestion) -> tuple[tuple[str, ...], str]:
    """Steps and answer of the misconception that belongs to the question's kind."""
    steps, answer = question.steps, question.answer
    match question.kind:
        case "add" | "sub" | "word" | "net":
            wrong = str(int(answer) + 1)
            return (steps[0].replace(f"= {answer}", f"= {wrong}"),), wrong
        case "count":
            return steps, str(int(answer) + 1)
        case "odd":
            return steps, "even" if answer == "odd" else "odd"
        case "symbol":
            element = steps[0].split()[0]
            wrong = element[:2].capitalize()
            if wrong == answer:  # helium, neon
                wrong = (element[0] + element[-1]).capitalize()
            return (f"{element} is {wrong}",), wrong
    # A relation between terms, the wrong one of which is picked: 85 > 22, Tom > Ann > Sam.
    terms = steps[0].split()[::2]
    return steps, terms[(terms.index(answer) + 1) % len(terms)]


def demonstrate(
    question: SyntheticQuestion, rng: random.Random, clean: float, slips: float
) -> tuple[str, str]:
    """Text and quality of one demonstration: "clean" and "slip" with the given shares, else
    "untagged"."""
    chance = rng.random()
    if chance < clean:
        return render(numbered(question.steps), question.answer), "clean"
    if chance < clean + slips:
        steps, answer = slip(question)
        return render(numbered(steps), answer), "slip"
    return _untagged(question, rng), "untagged"


def _untagged(question: SyntheticQuestion, rng: random.Random) -> str:
    """The answer, right or not: in its tag alone (half of them), bare, or behind the last step."""
    right = rng.random() < 0.5
    steps, answer = (question.steps, question.answer) if right else slip(question)
    form = rng.choice(("tag", "tag", "bare", "step"))
    if form == "tag":
        return f"<answer>{answer}</answer>"
    return answer if form == "bare" else f"{steps[-1]} {answer}"
