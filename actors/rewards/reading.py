"""Reading a trace against its question, step by step in order: what the rules score.

Of each step: does it hold, does it start from what is known by then, does anything use it. What is
copied from the question is no reasoning: such steps count for nothing, neither for nor against.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from actors.rewards import step_checks
from actors.rewards.format import Trace
from actors.rewards.orders import contradicts
from actors.rewards.reference import (
    TERSE,
    Reference,
    denies,
    is_number,
    likeness,
    own_words,
    places,
    read_reference,
    stems,
)
from actors.rewards.steps import SIGNS, Step, content, tokenize
from actors.rewards.verifiers import answer_text, verify
from cluster.messages import Question

OTHER_WORDS = 0.5  # a last step that is not the reference's, but speaks of what is known
LOOSE_END = 0.75  # an answer whose question another step than the last one takes up
WORDING = 0.2  # what the facts of a question without numbers weigh in what is covered
UNDERIVED = 0.5  # an answer that is a number, but of no equation
CONCLUDING = frozenset(("so", "therefore", "thus", "hence", "then"))
"""First words that say that something stands before them."""
YES_NO = {("yes",): False, ("no",): True}  # answer: does the last clause deny
CLAUSE = re.compile(r", (?:so|hence|thus|therefore|which)\b")
CLAIMING = frozenset(
    ("answer", "result", "solution", "therefore", "thus", "hence", "clearly", "obviously", "get")
    + ("gives", "give", "we", "final", "conclude", "must", "equals", "everybody", "knows", "know")
    + ("thinking", "about", "you", "see", "means", "because", "course", "sure", "simply")
)
"""Words that announce an answer and say nothing about it."""
ABOUT_ITSELF = frozenset(
    ("given", "first", "look", "read", "question", "check", "again", "think", "step", "steps")
    + ("carefully", "reasoning", "sound", "correct", "work", "now", "let", "us", "fact", "well")
)
"""Words about the reasoning: they are none."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Shares from 0 to 1."""

    held: float  # of the steps that say something
    grounded: float
    covered: float  # of what the reference (or the question) says is needed
    follows: float  # the answer from the last step
    filler: float  # share of steps that are copied, said before, or claim the answer


class Case:
    """A question and the trace of one completion, read once for all criteria."""

    __slots__ = ("_right", "answer", "question", "reading", "reference", "trace")

    def __init__(self, question: Question, trace: Trace):
        self.question, self.trace = question, trace
        expected = answer_text(question.verifier, question.answer)
        self.reference = read_reference(question.prompt, question.reasoning, expected)
        self.answer = tokenize(trace.answer)
        self._right: bool | None = None
        self.reading = _read(self)

    @property
    def right(self) -> bool:
        """The verifier's answer, asked for once; raises InputError for an unknown verifier."""
        if self._right is None:
            question = self.question
            self._right = verify(question.verifier or "auto", self.trace.answer, question.answer)
        return self._right


def _read(case: Case) -> Reading:
    reference, steps = case.reference, case.trace.steps
    state = step_checks.State(set(reference.known))
    held: list[float] = []
    grounded: list[float] = []
    derived: Step | None = None  # the last step that is neither copied nor a bare claim
    worth = 0.0  # of that step as the ground of the answer
    speaking = list(_speaking(reference, steps))
    claims = 0
    for number, step in speaking:
        claim = _claims(step, reference, case.answer)
        claims += claim
        if claim and held:
            continue  # "so the answer is 39" behind real steps
        starts = (
            0.0 if not held and _concludes(step) else step_checks.grounded(step, reference, state)
        )
        linked = 0.0
        if step.form == "text" and (len(step.tokens) > TERSE or not reference.terse):
            linked = step_checks.linked(step, reference, state.known)
        holds = (
            0.0
            if claim or _is_idle(number, case)
            else step_checks.holds(step, reference, state, last=number + 1 == len(steps))
        )
        held.append(holds)
        # beside a reference in prose, speaking of the same things is no ground
        grounded.append(holds if reference.prose and step.form == "text" else starts)
        if not claim:
            derived, worth = step, _worth(step, reference, holds, linked)
        if holds:
            state.known |= step.givens
            state.known.add(step.result)
    filler = 1 - (len(speaking) - claims) / len(steps) if steps else 0.0
    if derived is None or not _says_something(case):
        return Reading(0.0, 0.0, 0.0, 0.0, filler)
    return Reading(
        held=sum(held) / len(held),
        grounded=sum(grounded) / len(grounded),
        covered=_covered(reference, tuple(step for _, step in speaking))
        * (1 - WORDING * (1 - _facts_used(case))),
        follows=_follows(case, derived, worth) * _ending(case, derived),
        filler=filler,
    )


def _concludes(step: Step) -> bool:
    return step.form == "text" and not CONCLUDING.isdisjoint(step.tokens[:1])


def _worth(step: Step, reference: Reference, holds: float, linked: float) -> float:
    """Of a last step of prose as the ground of an answer."""
    if reference.prose:
        alike = likeness(step, reference.steps[-1], reference.names)
        return alike + (1 - alike) * OTHER_WORDS * linked * holds
    return max(holds, OTHER_WORDS * linked)


def _is_idle(number: int, case: Case) -> bool:
    """An equation whose result nothing uses: no later step, and not the answer."""
    step, later = case.trace.steps[number], case.trace.steps[number + 1 :]
    if step.form != "equation" or not later or step.result in case.answer:
        return False
    return all(step.result not in other.tokens for other in later)


def _speaking(reference: Reference, steps: tuple[Step, ...]) -> Iterator[tuple[int, Step]]:
    """The steps but those that are copied from the question, and repetitions.

    A repetition has a penalty of its own. A terse reference may say a word twice.
    """
    said: set[tuple[str, ...]] = set()
    for number, step in enumerate(steps):
        again = step.tokens in said and not (reference.terse and step.form == "text")
        if not again and not _copied(step, reference):
            said.add(step.tokens)
            yield number, step


def _says_something(case: Case) -> bool:
    """Some step that neither copies the question nor claims the answer.

    A reference in prose may say itself what was given; who says no more has not reasoned.
    """
    reference = case.reference
    if not reference.prose:
        return True
    return any(
        step.form != "text"
        or not (
            places(step.tokens, reference.question_tokens)
            or own_words(step, reference) <= CLAIMING.union(case.answer)
        )
        for step in case.trace.steps
    )


def _is_prose(step: Step, reference: Reference) -> bool:
    """Words, and not the reference's own step."""
    return step.form == "text" and bool(step.tokens) and step.tokens not in reference.said


def _copied(step: Step, reference: Reference) -> bool:
    """Nothing but the question's words. What the reference itself says is no copy."""
    if not _is_prose(step, reference):
        return False
    if places(step.tokens, reference.question_tokens) or not own_words(step, reference):
        return True
    if reference.steps or not content(step.tokens) <= reference.known | CLAIMING | ABOUT_ITSELF:
        return False
    signs = SIGNS.intersection(step.tokens).difference(reference.question_tokens)
    # in the question's words, and against what it says: that is no copy
    return not signs and not contradicts(step.text, reference.names, reference.order)


def _claims(step: Step, reference: Reference, answer: tuple[str, ...]) -> bool:
    """Says what the answer is, and nothing else of its own."""
    if not _is_prose(step, reference):
        return False
    return own_words(step, reference) <= CLAIMING.union(answer)


def _covered(reference: Reference, steps: tuple[Step, ...]) -> float:
    computed = any(step.form != "text" for step in reference.steps)
    if reference.prose and not computed:
        return _recalled(reference, steps)
    computed = computed and any(map(is_number, reference.needed))
    using = [step for step in steps if step.form != "text"] if computed else steps
    used = frozenset().union(*(step.givens for step in using))
    return len(reference.needed & used) / len(reference.needed) if reference.needed else 1.0


def _recalled(reference: Reference, steps: tuple[Step, ...]) -> float:
    """Share of the reference's steps that the trace has, in their order and each for one."""
    wanted, names = reference.steps, reference.names
    best = [0.0] * (len(wanted) + 1)  # with the steps so far, of the first n wanted ones
    for step in steps:
        before = best
        best = [0.0]
        for n, other in enumerate(wanted):
            best.append(max(before[n] + likeness(step, other, names), before[n + 1], best[n]))
    return best[-1] / len(wanted)


def _follows(case: Case, last: Step, worth: float) -> float:
    """Read from the trace alone wherever that can be done: a wrong answer may follow as well."""
    reference, answer = case.reference, case.answer
    if last.form == "equation":
        return float(verify("number", case.trace.answer, last.result))
    if reference.terse and len(last.tokens) <= TERSE:
        return float(_follows_tersely(case, last))
    if reference.terse and _signs(last) != _signs(reference.steps[-1]):
        return 0.0
    if answer in YES_NO:
        return worth * (YES_NO[answer] == denies(tokenize(CLAUSE.split(last.text)[-1])))
    if places(answer, last.tokens):
        return worth * (UNDERIVED if len(answer) == 1 and is_number(answer[0]) else 1.0)
    elsewhere = reference.steps and not places(reference.answer, reference.steps[-1].tokens)
    return worth if elsewhere and case.right else 0.0


def _facts_used(case: Case) -> float:
    """Share of the words of the question's facts that the trace takes up.

    Only where nothing else says what is needed: no reference, and no number.
    """
    reference, facts = case.reference, case.reference.facts
    if reference.steps or reference.needed or not facts:
        return 1.0
    own = (s for s in case.trace.steps if not places(s.tokens, reference.question_tokens))
    said = frozenset().union(*(stems(step.tokens) for step in own))
    return len(facts & said) / len(facts)


def _ending(case: Case, last: Step) -> float:
    """1 if the steps end in what answers the question, as far as words show it, else LOOSE_END.

    Only without a reference, and for prose: what is asked for stands beside the answer in another
    step, or a fact of the question comes behind it. 0 if they end in another answer than is given.
    """
    reference, answer, steps = case.reference, case.answer, case.trace.steps
    if reference.steps:
        return 1.0
    if _names_a_rival(case):
        return 0.0
    if last.form != "text":
        return 1.0
    telling = [s for s in steps if answer in YES_NO or places(answer, s.tokens)]
    most = max((len(reference.focus & stems(step.tokens)) for step in telling), default=0)
    ends = len(reference.focus & stems(last.tokens)) >= most
    return 1.0 if ends and not _copied(steps[-1], reference) else LOOSE_END


def _names_a_rival(case: Case) -> bool:
    """The last step speaks of what the question offers beside the answer, and not of the answer."""
    answer, offered = frozenset(case.answer), case.reference.offered
    last = case.trace.steps[-1].tokens if case.trace.steps else ()
    if not offered & answer or answer & frozenset(last) or denies(last):
        return False
    return bool((offered - answer) & frozenset(last))


def _follows_tersely(case: Case, last: Step) -> bool:
    """The answer stands where the reference has it, counts the steps, or is the reference's."""
    reference, steps = case.reference, case.trace.steps
    answer, wanted = case.answer, reference.steps[-1]
    there = places(reference.answer, wanted.tokens)
    if there:
        return _signs(last) == _signs(wanted) and bool(there & places(answer, last.tokens))
    if reference.answer == (str(len(reference.steps)),):
        return answer == (str(len(steps)),)
    return last.tokens == wanted.tokens and case.right


def _signs(step: Step) -> list[str]:
    return [token for token in step.tokens if token in SIGNS]
