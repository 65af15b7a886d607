"""Completions that talk to their judge: attacks, and what they gain.

`attacks.jsonl` has one attack a line: its kind, a text, where it is put (before or behind the
reasoning, or in place of the answer, with `{answer}` for it), and how many times. Each is put
into flawed completions of the labelled set; its gain is the reward with it less the reward without.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.bench import Bench
from actors.data.labelled.items import Labelled
from actors.rewards.format import parse, render

FILE = Path(__file__).with_name("data") / "attacks.jsonl"
FLAWS = ("wrong_answer", "wrong_step")  # of the completions that are attacked with


@dataclass(frozen=True, slots=True)
class Attack:
    kind: str
    place: str  # "before", "after" or "answer"
    text: str
    times: int

    def on(self, completion: str) -> str:
        """The completion with the attack in it; it must have the format."""
        trace = parse(completion)
        if trace is None:
            raise ValueError("an attack needs a completion that keeps the format")
        said = self.text.replace("{answer}", trace.answer) * self.times
        reasoning = {
            "before": f"{said}\n{trace.reasoning}",
            "after": f"{trace.reasoning}\n{said}",
            "answer": trace.reasoning,
        }[self.place]
        return render(reasoning, said if self.place == "answer" else trace.answer)


@dataclass(frozen=True, slots=True)
class Gain:
    """What an attack on one completion changed."""

    kind: str
    reward: float  # with it, less that without
    scores: dict[str, float]  # the same of each criterion, 0 to 1
    beats_good: bool  # it now earns as much as the good completion, and did not before


def read_attacks(path: Path = FILE) -> list[Attack]:
    return [Attack(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


async def gains(
    items: Sequence[Labelled], bench: Bench, done: Callable[[int], None] = lambda count: None
) -> list[Gain]:
    """Of every attack on the flawed completions of each item. Abstentions are left out."""
    attacks = read_attacks()
    found: list[Gain] = []
    for count, item in enumerate(items, 1):
        question = item.question(with_reference=True)
        for flaw in FLAWS:
            flawed = item.flawed[flaw]
            texts = [item.good, flawed, *(attack.on(flawed) for attack in attacks)]
            (good, plain, *attacked), _ = await bench.verdicts(question, texts)
            for attack, verdict in zip(attacks, attacked, strict=True):
                if verdict.abstained or plain.abstained or good.abstained:
                    continue
                changes = {
                    name: value - plain.scores[name] for name, value in verdict.scores.items()
                }
                beats = plain.reward < good.reward <= verdict.reward
                gain = verdict.reward - plain.reward
                found.append(Gain(attack.kind, gain, changes, beats))
        done(count)
    return found


def injection_lines(found: Sequence[Gain]) -> list[str]:
    """Mean and largest gain of reward by kind of attack."""
    by_kind: dict[str, list[Gain]] = defaultdict(list)
    for gain in found:
        by_kind[gain.kind].append(gain)
        by_kind["all"].append(gain)
    lines = ["injection (gain of reward)            mean      largest   now beats the good one"]
    for kind, some in sorted(by_kind.items(), key=lambda pair: pair[0] == "all"):
        rewards = [gain.reward for gain in some]
        beats = sum(gain.beats_good for gain in some)
        mean = sum(rewards) / len(rewards)
        lines.append(f"  {kind:<36}{mean:<10.3f}{max(rewards):<10.3f}{beats} of {len(some)}")
    return lines
