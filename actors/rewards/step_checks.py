"""Does one step hold, and does it start from what is known when it is made?

Equations and comparisons are checked for what they say; prose is compared with the reference, or
without one by what it speaks of.
"""

from dataclasses import dataclass

from actors.rewards.orders import contradicts, named
from actors.rewards.reference import FACTORS, TERSE, Reference, is_number, likeness
from actors.rewards.statements import Clause, clauses, contrary
from actors.rewards.steps import Step

STRANGE_WORDS = 0.5  # what an equation is worth whose words are mostly not the question's


@dataclass(slots=True)
class State:
    """What is known and which reference steps are taken, while a trace is read."""

    known: set[str]
    place: int = 0  # reference steps before it are taken or passed over
    said: tuple[Clause, ...] = ()  # by the steps of prose that held


def holds(step: Step, reference: Reference, state: State, last: bool) -> float:
    if step.form == "equation":
        permitted = not reference.steps or step.operators <= reference.operators
        if not step.sound or not permitted or not _sourced(step, reference, state.known, last):
            return 0.0
        return _worded(step, reference, state.known)
    if step.form == "comparison":
        compared = reference.comparisons or not reference.steps
        return float(step.sound and compared and bool(step.givens & state.known))
    if not reference.terse and _contrary(step, reference, state):
        return 0.0
    if not reference.steps:
        return linked(step, reference, state.known)
    return _matched(step, reference, state)


def _contrary(step: Step, reference: Reference, state: State) -> bool:
    """Says the opposite of the question or of an earlier step, compares numbers wrongly, or names
    somebody whom neither question nor reference know."""
    if not step.sound or contradicts(step.text, reference.names, reference.order):
        return True
    if reference.steps and not named(step.text) <= reference.known | reference.words:
        return True
    said = clauses(step.text)
    if step.tokens not in reference.said and contrary(said, reference.stated + state.said):
        return True
    state.said += said
    return False


def _sourced(step: Step, reference: Reference, known: set[str], last: bool) -> bool:
    """Its numbers were given, arrived at, or are constants; and the last one's not all constants.

    A number from nowhere can turn anything into the answer: 35 + 45 = 80. Where the reference is
    one equation, such a number takes the place of a fact, and is counted there: see _covered.
    """
    given = step.givens & known
    if reference.computed == 1:
        return bool(given)
    return step.givens <= known | _constants(step, reference) and bool(given or not last)


def _constants(step: Step, reference: Reference) -> frozenset[str]:
    """What it may bring along. Without a reference, usual factors (halves, percents, weeks) and one
    more; with it, its constants, and in a sum only those that the reference adds, too.
    """
    factors = step.form == "equation" and step.operators <= FACTORS
    return reference.constants if factors else reference.terms


def _worded(step: Step, reference: Reference, known: set[str]) -> float:
    """By the words around an equation: every number known, and half of the words."""
    strange = step.words - known - reference.words - reference.constants - reference.terms
    if any(map(is_number, strange)):
        return 0.0
    return 1.0 if 2 * len(strange) <= len(step.words) else STRANGE_WORDS


def linked(step: Step, reference: Reference, known: set[str]) -> float:
    """Without a reference: how far a step of prose speaks of what is known by then."""
    strange = step.givens - known
    if not step.givens or any(
        is_number(word) for word in strange - reference.constants - reference.terms
    ):
        return 0.0
    return min(1.0, 2 * (1 - len(strange) / len(step.givens)))


def _matched(step: Step, reference: Reference, state: State) -> float:
    """How well it says what a reference step says that is not behind it yet: order counts."""
    best, best_place = 0.0, state.place
    for place in range(max(0, state.place - reference.prose), len(reference.steps)):
        other = reference.steps[place]
        same = step.tokens == other.tokens
        if same and place >= state.place:
            state.place = place + 1
            return 1.0
        if other.form == "text" and len(other.tokens) > TERSE:
            alike = 1.0 if same else likeness(step, other, reference.names)
            if alike > best:
                best, best_place = alike, place + 1
    if best:
        state.place = max(state.place, best_place)
    return best


def grounded(step: Step, reference: Reference, state: State) -> float:
    """Starts from the question, an earlier step, or the reference's own words."""
    if step.form != "text":
        return float(step.givens <= state.known | _constants(step, reference))
    if step.tokens in reference.said:
        return 1.0
    if reference.terse:
        return float(bool(step.givens & state.known))
    return linked(step, reference, state.known)
