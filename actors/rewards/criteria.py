"""The criteria a rubric may weigh, each a pure function of a question and a trace from 0 to 1.

    reasoning_quality   share of steps that hold x share of the needed facts that are used
    answer_correctness  the verifier's yes or no
    trace_coherence     does the answer follow from the last step, and each step from what is known
    step_clarity        are the steps numbered, short and few
    trace_language      is the trace in the language of the prompt (language.py)

What is read of a trace, and how, is in reading.py. What the rules cannot see is whether prose is
true. With a reference trace, a step of prose is compared with what the reference says there, by
words, names in their order, numbers and denials: a right explanation in quite other words is
undervalued. Without one, a step of prose needs only to speak of what is known by then, and to say
something that the question does not: a claim about the world may be wrong. Equations, comparisons,
who comes before whom (orders.py) and what is affirmed or denied (statements.py) are checked for
what they say.
"""

from collections.abc import Callable

from actors.rewards.language import speaks_the_language_of
from actors.rewards.reading import Case

FEWEST_ALLOWED_STEPS = 4  # a trace of up to this many steps is never called long
MOST_FREE_STEPS = 12  # where no reference says how long a trace should be
SHORT_STEP, SHORT_FREE_STEP = 80, 160  # characters, with and without a reference


def reasoning_quality(case: Case) -> float:
    """Share of the steps that hold, times share of the needed facts that they use."""
    found = case.reading
    return found.held * found.covered


def answer_correctness(case: Case) -> float:
    """1 or 0; raises InputError for an unknown verifier."""
    return float(case.right)


def trace_coherence(case: Case) -> float:
    """0 if the answer does not follow from the last step, else 0.5 to 1 with the grounded steps."""
    found = case.reading
    return found.follows * (0.5 + 0.5 * found.grounded)


def step_clarity(case: Case) -> float:
    """1 if the steps are numbered from 1 on, short and not many, else 0.

    Numbers are not asked for where the reference trace itself has none.
    """
    reference, steps = case.reference, case.trace.steps
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


def trace_language(case: Case) -> float:
    """Share of the trace that is in the language of the prompt."""
    return speaks_the_language_of(case.question.prompt, case.trace)


RULES: dict[str, Callable[[Case], float]] = {  # the scorer "rules"
    "reasoning_quality": reasoning_quality,
    "trace_coherence": trace_coherence,
    "step_clarity": step_clarity,
    "trace_language": trace_language,
}
