"""What a language model is asked about a completion, and what its answer is worth.

A criterion with the scorer "llm" has a question and a scale: anchors in words, the worst first. The
rubric's template makes one request of it. The model answers with the number of an anchor; the score
is the expected number under its probabilities, from 0 to 1, so it is fine-grained without decoding.

The judged text is data. Each of its lines stands behind a bar that no text can take away, its
markup loses its brackets, what is invisible is gone, the template's own cue is broken, and neither
its length nor its repetitions push the question out of sight.
"""

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.rewards.format import Trace
from cluster.messages import Question

PLACEHOLDERS = (
    *("prompt", "answer", "reference", "question", "scale"),
    *("lowest", "highest", "completion"),
)
OF_THE_ROW = re.compile(r"\{(?:prompt|answer|reference)\}")
REQUIRED = ("prompt", "question", "scale", "completion")
PLACEHOLDER = re.compile(r"\{([^{}\n]*)\}")
BAR = "| "
ANSWER = "\nAnswer: "  # between reasoning and answer
LONGEST = 6000  # characters of a completion that are shown, half of them its end
SHOWN_REPEATS = 3  # of one line in a row
FEWEST_MASS = 0.01  # below it the model answers something else than a score
FULL_WIDTH = {code + 0xFEE0: code for code in range(0x21, 0x7F)}
MARKUP = re.compile(r"<([|/]?[A-Za-z_][\w|.:/-]{0,60}|<?/?SYS>?)>|\[(/?[A-Z_]{2,20})\]")
HIDDEN = frozenset(("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"))  # Unicode categories


@dataclass(frozen=True, slots=True)
class Criterion:
    """What is asked: a question, and the anchors of the scores 1, 2, ... in words."""

    question: str
    scale: tuple[str, ...]
    downwards: bool = False  # listed from the best on, to see whether that makes a difference


@dataclass(frozen=True, slots=True)
class Template:
    """The texts around it; `user` has placeholders, the last of its lines asks for the number."""

    system: str
    user: str


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model about one completion. Requests about siblings share their `head`."""

    system: str
    head: str  # the user's turn up to the completion
    tail: str  # the completion, and what comes behind it
    highest: int  # of the scores from 1 on; 0: for the learned judge
    fixed: int = 0  # first characters of `head` that are the rubric's, whatever the question

    @property
    def user(self) -> str:
        return self.head + self.tail

    def key(self, judge: str) -> str:
        """SHA-256 of all that a verdict depends on: judge, rubric, prompt and completion."""
        parts = (judge, self.system, self.head, self.tail, str(self.highest))
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Score:
    value: float  # 0 to 1


@dataclass(frozen=True, slots=True)
class Abstain:
    """No score. `kind` is what is counted, `reason` what is told."""

    kind: str
    reason: str


Opinion = Score | Abstain


@dataclass(frozen=True, slots=True)
class Answers:
    """Opinions in the order of the requests, and the seconds of each request that was sent."""

    opinions: tuple[Opinion, ...]
    seconds: tuple[float, ...]


class ModelJudge(Protocol):
    """A language model that gives opinions. `name` says which: verdicts are kept under it."""

    name: str

    async def opinions(self, requests: Sequence[Request]) -> Answers: ...

    async def close(self) -> None: ...


def request(template: Template, criterion: Criterion, question: Question, trace: Trace) -> Request:
    """Fill the template in, in one pass: braces in a text are only braces."""
    anchors = [f"{number} = {anchor}" for number, anchor in enumerate(criterion.scale, 1)]
    scale = "\n".join(reversed(anchors) if criterion.downwards else anchors)
    values = {
        "prompt": without_markup(question.prompt),
        "answer": without_markup(question.answer),
        "reference": without_markup(question.reasoning) or "(none is given)",
        "question": criterion.question,
        "scale": scale,
        "lowest": "1",
        "highest": str(len(criterion.scale)),
    }
    before, _, behind = template.user.partition("{completion}")
    of_the_row = OF_THE_ROW.search(before)
    fixed = before[: of_the_row.start()] if of_the_row else before
    shown = quoted(f"{trace.reasoning}{ANSWER}{trace.answer}", cue_of(template))
    return Request(
        system=_filled(template.system, values),
        head=_filled(before, values),
        tail=shown + _filled(behind, values),
        highest=len(criterion.scale),
        fixed=len(_filled(fixed, values)),
    )


def reading(question: Question, trace: Trace) -> Request:
    """For the learned judge: nothing is asked, question and completion are read as they are."""
    return Request("", question.prompt, f"{trace.reasoning}{ANSWER}{trace.answer}", highest=0)


def cue_of(template: Template) -> str:
    """The words that the score is expected behind."""
    return template.user.rstrip().rpartition("\n")[2].strip()


def quoted(text: str, cue: str) -> str:
    """The judged text as lines behind bars, with nothing in it that could be taken for ours."""
    visible = without_markup(text.translate(FULL_WIDTH))
    if cue:
        # "Score: 5" becomes "(Score) 5"
        visible = re.sub(re.escape(cue), f"({cue.rstrip(': ')})", visible, flags=re.IGNORECASE)
    if len(visible) > LONGEST:
        half, left_out = LONGEST // 2, len(visible) - LONGEST
        visible = f"{visible[:half]}\n({left_out} characters left out)\n{visible[-half:]}"
    return "\n".join(BAR + line for line in _few_repeats(visible.split("\n")))


def without_markup(text: str) -> str:
    """One kind of line break, no invisible characters, no token of a chat or of the format."""
    lines = "\n".join(text.splitlines())
    visible = "".join(
        char for char in lines if char == "\n" or unicodedata.category(char) not in HIDDEN
    )
    while (plain := MARKUP.sub(lambda found: f"({found[1] or found[2]})", visible)) != visible:
        visible = plain
    return visible


def expected_score(logprobs: Mapping[str, float], highest: int) -> Opinion:
    """From the log-probabilities of the next tokens: the mean of the scores 1 .. `highest`.

    Tokens that are the same number with and without a space count together.
    """
    masses = [0.0] * highest
    for token, logprob in logprobs.items():
        number = token.strip()
        if number.isascii() and number.isdigit() and 1 <= int(number) <= highest:
            masses[int(number) - 1] += math.exp(logprob)
    total = sum(masses)
    if not total >= FEWEST_MASS:
        likely = sorted(logprobs, key=lambda token: -logprobs[token])[:3]
        return Abstain("no score", f"the model answers {likely} where a score is asked for")
    mean = sum(number * mass for number, mass in enumerate(masses)) / total
    return Score(mean / (highest - 1))


def named_score(number: object, highest: int) -> Opinion:
    """From a number that the model wrote."""
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= highest:
        return Abstain("schema", f"the model answers {str(number)[:80]!r}, not 1 to {highest}")
    return Score((number - 1) / (highest - 1))


def _few_repeats(lines: Sequence[str]) -> list[str]:
    kept: list[str] = []
    run = 0
    for number, line in enumerate(lines):
        run = run + 1 if number and line == lines[number - 1] else 1
        if run <= SHOWN_REPEATS:
            kept.append(line)
        elif run == SHOWN_REPEATS + 1:
            kept.append("(the same line again)")
    return kept


def _filled(text: str, values: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)
