"""The scorers of reasoning-gym (the extra `gym`): puzzles that a program made and can check.

The verifier `gym:<data set>` reads the row's `answer` as the data set's entry in JSON: question,
answer and metadata. An answer is right if its scorer gives the full score. Scorers run in a process
of their own (see worker.py), because some evaluate what they are given.
"""

import json
from functools import lru_cache
from importlib.util import find_spec

from actors.rewards.worker import Worker

WRONG_SCORERS = frozenset(
    ("boxnet", "composite", "game_of_life_halting", "graph_color", "propositional_logic")
    + ("rubiks_cube", "rush_hour", "arc_agi", "rearc")
)
"""Their scorers do not give the full score to their own answer, or give it to a wrong one."""
WORKER = Worker("actors.rewards.gym_worker")


def installed() -> bool:
    return find_spec("reasoning_gym") is not None


def data_sets() -> frozenset[str]:
    """Names of all data sets; asks the process, which has imported them. Raises Unavailable."""
    return frozenset(WORKER.ask("", "", ""))


@lru_cache(maxsize=4096)
def right(name: str, answer: str, entry: str) -> bool:
    """Raises Unavailable; an answer that breaks its scorer is wrong."""
    score = WORKER.ask(name, answer, entry)
    return score is not None and score >= 1.0


@lru_cache(maxsize=4096)
def answer_of(entry: str) -> str:
    """The answer that the entry itself gives; the text as it is where it is no entry."""
    try:
        return str(json.loads(entry)["answer"])
    except (ValueError, TypeError, KeyError):
        return entry
