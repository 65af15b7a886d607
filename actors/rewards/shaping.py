"""From a completion to its verdict: the weighted criteria and the shaping around them.

Without its tags a completion earns the penalty and nothing else: no answer is looked for in it.
"""

from collections.abc import Mapping

from actors.rewards.criteria import MOST_FREE_STEPS, RULES, answer_correctness
from actors.rewards.format import Trace, parse
from actors.rewards.reading import Case
from actors.rewards.rubric import CORRECTNESS, Rubric
from cluster.messages import Question, Verdict

SCORERS = {CORRECTNESS: answer_correctness, **RULES}
NO_OPINIONS: Mapping[str, float] = {}


def score(
    question: Question, text: str, rubric: Rubric, opinions: Mapping[str, float] = NO_OPINIONS
) -> Verdict:
    """The judgement of one completion; raises InputError for an unknown verifier.

    `opinions`: the scores, 0 to 1, of the criteria that a model is asked about.
    """
    weights = rubric.weights(question.domain)
    trace = parse(text)
    parts = dict.fromkeys(rubric.parts, 0.0)
    if trace is None:
        parts["missing_tags"] = weights.missing_tags
        return Verdict(weights.missing_tags, parts)
    case = Case(question, trace)
    scores = {
        name: opinions[name] if name in rubric.by_models else SCORERS[name](case)
        for name, weight in weights.criteria.items()
        if weight or name not in rubric.by_models
    }
    for name, value in scores.items():
        parts[name] = weights.criteria[name] * value
    if repeats(trace):
        parts["repetition"] = weights.repetition
    if reasonable_length(question, trace):
        parts["length_bonus"] = weights.length_bonus
    watched = {
        "steps": float(len(trace.steps)),
        "characters": float(len(trace.reasoning)),
        "filler": case.reading.filler,
    }
    return Verdict(sum(parts.values()), parts, scores=scores, watched=watched)


def repeats(trace: Trace) -> bool:
    """A step says again what an earlier one said."""
    return len({step.tokens for step in trace.steps}) < len(trace.steps)


def reasonable_length(question: Question, trace: Trace) -> bool:
    """Half to twice the reference trace, in steps and characters; without one, 1 to 12 steps.

    The same for every length inside: longer is never worth more.
    """
    steps = len(trace.steps)
    if not question.reasoning.strip():
        return 1 <= steps <= MOST_FREE_STEPS
    wanted_steps = sum(1 for line in question.reasoning.splitlines() if line.strip())
    wanted_characters = len(question.reasoning.strip())
    return (
        wanted_steps <= 2 * steps
        and steps <= 2 * wanted_steps
        and wanted_characters <= 2 * len(trace.reasoning)
        and len(trace.reasoning) <= 2 * wanted_characters
    )
