"""The criteria a rubric may weigh, each a pure function of (question, trace) from 0 to 1.

    reasoning_quality   share of steps that hold x share of the needed facts that are used
    answer_correctness  the verifier's yes or no
    trace_coherence     does the answer follow from the last step, and each step from what is known
    step_clarity        are the steps numbered, short and few
    trace_language      is the trace in the language of the prompt (language.py)

What it cannot see: whether prose is true. Where the data has a reference trace, a step of prose
holds only in the reference's words and order, so a right explanation in other words is
undervalued. Where it has none, a step needs only words of the question or of earlier steps; a
sentence that shuffles them without sense passes, and so does a wrong claim about the world.
Equations and comparisons of numbers are checked for what they say, but not whether the question
called for them beyond the operators and the facts that the reference uses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from actors.rewards.format import Trace
from actors.rewards.language import speaks_the_language_of
from actors.rewards.steps import SIGNS, Step, content, read_steps, tokenize
from actors.rewards.verifiers import verify
from cluster.messages import Question

FEWEST_ALLOWED_STEPS = 4  # a trace of up to this many steps is never called long
MOST_FREE_STEPS = 12  # where no reference says how long a trace should be
SHORT_STEP, SHORT_FREE_STEP = 40, 160  # characters, with and without a reference


@dataclass(frozen=True, slots=True)
class Reference:
    """What the rubric needs to know of a question; read once and kept."""

    steps: tuple[Step, ...]
    operators: frozenset[str]
    comparisons: bool
    question_tokens: tuple[str, ...]
    known: frozenset[str]  # content of the question
    needed: frozenset[str]  # facts of the question that the reference uses
    answer: tuple[str, ...]  # tokens


@lru_cache(maxsize=4096)
def read_reference(prompt: str, reasoning: str, answer: str) -> Reference:
    """Cached, because the siblings of a group are judged against the same question."""
    steps = read_steps(reasoning)
    asked = tokenize(prompt)
    known = content(asked)
    used = frozenset().union(*(step.givens for step in steps)) if steps else known
    needed = known & used
    numbers = frozenset(token for token in needed if token[-1].isdigit())
    # Beside numbers, shared words are wording; without a reference they always are.
    needed = numbers if numbers or not steps else needed
    operators = frozenset().union(*(step.operators for step in steps))
    comparisons = any(step.form == "comparison" for step in steps)
    return Reference(steps, operators, comparisons, asked, known, needed, tokenize(answer))


def _reference(question: Question) -> Reference:
    return read_reference(question.prompt, question.reasoning, question.answer)


def reasoning_quality(question: Question, trace: Trace) -> float:
    """Share of the steps that hold, times share of the needed facts that they use."""
    reference = _reference(question)
    if not trace.steps:
        return 0.0
    known, used = set(reference.known), set()
    held, place = 0, 0  # place: reference steps before it are taken or passed over
    for step in trace.steps:
        used |= step.givens
        if step.form == "text" and reference.steps:
            matched = _match(step, reference, place)
            holds, place = matched is not None, place if matched is None else matched + 1
        else:
            holds = _holds(step, reference, known)
        if holds:
            held += 1
            known |= step.givens
            known.add(step.result)
    share_used = len(reference.needed & used) / len(reference.needed) if reference.needed else 1.0
    return held / len(trace.steps) * share_used


def _match(step: Step, reference: Reference, place: int) -> int | None:
    """Index of the reference step, from `place` on, that says the same: order counts."""
    for index in range(place, len(reference.steps)):
        if reference.steps[index].tokens == step.tokens:
            return index
    return None


def _holds(step: Step, reference: Reference, known: set[str]) -> bool:
    """A step that is checked by what it says; `known` is the question and the steps that held."""
    if step.form == "equation":
        permitted = not reference.steps or step.operators <= reference.operators
        return step.sound and permitted and _grounded_words(step.words, reference, known)
    if step.form == "comparison":
        return step.sound and (reference.comparisons or not reference.steps)
    copied = _places(step.tokens, reference.question_tokens)
    return not copied and _grounded_words(step.givens, reference, known)


def _grounded_words(words: frozenset[str], reference: Reference, known: set[str]) -> bool:
    """Every number is known, and at least half of the words; the reference's words are known."""
    strange = words - known
    if strange and reference.steps:
        strange = strange.difference(*(step.tokens for step in reference.steps))
    return not any(word[-1].isdigit() for word in strange) and 2 * len(strange) <= len(words)


def answer_correctness(question: Question, trace: Trace) -> float:
    """1 or 0; raises InputError for an unknown verifier."""
    return float(verify(question.verifier or "auto", trace.answer, question.answer))


def trace_coherence(question: Question, trace: Trace) -> float:
    """0 if the answer does not follow from the last step, else 0.5 to 1 with the grounded steps."""
    reference = _reference(question)
    if not trace.steps or not _follows(question, reference, trace):
        return 0.0
    return 0.5 + 0.5 * _share_grounded(reference, trace)


def _follows(question: Question, reference: Reference, trace: Trace) -> bool:
    """Read from the trace alone wherever that can be done: a wrong answer may follow as well."""
    last, answer = trace.steps[-1], tokenize(trace.answer)
    if last.form == "equation":
        return verify("number", trace.answer, last.result)
    if not reference.steps:
        return bool(_places(answer, last.tokens))
    wanted = reference.steps[-1]
    places = _places(reference.answer, wanted.tokens)
    if places:
        return _signs(last) == _signs(wanted) and bool(places & _places(answer, last.tokens))
    if reference.answer == (str(len(reference.steps)),):
        return answer == (str(len(trace.steps)),)
    return last.tokens == wanted.tokens and answer_correctness(question, trace) == 1.0


def _places(wanted: tuple[str, ...], tokens: tuple[str, ...]) -> set[int]:
    """Where the tokens occur as one run."""
    if not wanted or wanted[0] not in tokens:
        return set()
    starts = range(len(tokens) - len(wanted) + 1)
    return {start for start in starts if tokens[start : start + len(wanted)] == wanted}


def _signs(step: Step) -> list[str]:
    return [token for token in step.tokens if token in SIGNS]


def _share_grounded(reference: Reference, trace: Trace) -> float:
    """Share of steps that start from the question, an earlier result, or are the reference's."""
    known, grounded = set(reference.known), 0
    given = {step.tokens for step in reference.steps}
    for step in trace.steps:
        if step.form == "text":
            grounded += bool(step.givens & known) or step.tokens in given
        else:
            grounded += step.givens <= known
        known.add(step.result)
    return grounded / len(trace.steps)


def step_clarity(question: Question, trace: Trace) -> float:
    """1 if the steps are numbered from 1 on, short and not many, else 0.

    Numbers are not asked for where the reference trace itself has none.
    """
    reference, steps = _reference(question), trace.steps
    if not steps:
        return 0.0
    most, longest, numbers = MOST_FREE_STEPS, SHORT_FREE_STEP, True
    if reference.steps:
        most = max(FEWEST_ALLOWED_STEPS, 2 * len(reference.steps))
        longest = max(SHORT_STEP, 2 * max(len(step.text) for step in reference.steps))
        numbers = all(step.number is not None for step in reference.steps)
    numbered = all(step.number == place for place, step in enumerate(steps, 1))
    short = all(len(step.text) <= longest for step in steps)
    return float(len(steps) <= most and short and (numbered or not numbers))


def trace_language(question: Question, trace: Trace) -> float:
    """Share of the trace that is in the language of the prompt."""
    return speaks_the_language_of(question.prompt, trace)


RULES: dict[str, Callable[[Question, Trace], float]] = {  # the scorer "rules"
    "reasoning_quality": reasoning_quality,
    "trace_coherence": trace_coherence,
    "step_clarity": step_clarity,
    "trace_language": trace_language,
}
