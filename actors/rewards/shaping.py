"""From a completion to its verdict: the weighted criteria and the shaping around them.

Without its tags a completion earns the penalty and nothing else: no answer is looked for in it.
"""

from actors.rewards import rubric
from actors.rewards.format import Trace, parse
from cluster.messages import Question, Verdict
from configs.schema import JudgeSection

CRITERIA = {
    "reasoning_quality": rubric.reasoning_quality,
    "answer_correctness": rubric.answer_correctness,
    "trace_coherence": rubric.trace_coherence,
    "step_clarity": rubric.step_clarity,
}
SHAPING = ("missing_tags", "repetition", "length_bonus")


def score(question: Question, text: str, section: JudgeSection) -> Verdict:
    """The judgement of one completion; raises InputError for an unknown verifier."""
    trace = parse(text)
    parts = dict.fromkeys((*CRITERIA, *SHAPING), 0.0)
    if trace is None:
        parts["missing_tags"] = section.missing_tags
        return Verdict(section.missing_tags, parts)
    for name, criterion in CRITERIA.items():
        parts[name] = getattr(section, name) * criterion(question, trace)
    if repeats(trace):
        parts["repetition"] = section.repetition
    if reasonable_length(question, trace):
        parts["length_bonus"] = section.length_bonus
    return Verdict(sum(parts.values()), parts)


def repeats(trace: Trace) -> bool:
    """A step says again what an earlier one said."""
    return len({step.tokens for step in trace.steps}) < len(trace.steps)


def reasonable_length(question: Question, trace: Trace) -> bool:
    """Half to twice the reference trace, in steps and characters; without one, 1 to 12 steps.

    The same for every length inside: longer is never worth more.
    """
    steps = len(trace.steps)
    if not question.reasoning.strip():
        return 1 <= steps <= rubric.MOST_FREE_STEPS
    wanted_steps = sum(1 for line in question.reasoning.splitlines() if line.strip())
    wanted_characters = len(question.reasoning.strip())
    return (
        wanted_steps <= 2 * steps
        and steps <= 2 * wanted_steps
        and wanted_characters <= 2 * len(trace.reasoning)
        and len(trace.reasoning) <= 2 * wanted_characters
    )
