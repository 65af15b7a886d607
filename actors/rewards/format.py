"""The output format: `<reasoning>...</reasoning><answer>...</answer>`, and nothing else."""

import re
from dataclasses import dataclass

from actors.rewards.steps import Step, read_steps

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
TAGGED = re.compile(r"\s*<reasoning>(.*)</reasoning>\s*<answer>(.*)</answer>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Trace:
    """A completion that keeps the format; both texts without surrounding whitespace."""

    reasoning: str
    answer: str
    steps: tuple[Step, ...]


def parse(text: str) -> Trace | None:
    """None unless each tag stands exactly once, in order, with only whitespace outside."""
    if any(text.count(tag) != 1 for tag in TAGS):
        return None
    match = TAGGED.fullmatch(text)
    if match is None:
        return None
    reasoning = match[1].strip()
    return Trace(reasoning, match[2].strip(), read_steps(reasoning))


def render(reasoning: str, answer: str) -> str:
    """The completion a policy is taught to write."""
    return f"<reasoning>{reasoning}</reasoning><answer>{answer}</answer>"
