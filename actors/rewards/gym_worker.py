"""The process behind gym.py: `[data set, answer, entry as JSON]` -> the score; "" -> all names."""

import json
import os
import sys

from actors.rewards.serving import serve


def main() -> None:
    protocol = os.dup(sys.stdout.fileno())  # its generators may print
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from reasoning_gym import get_score_answer_fn
    from reasoning_gym.factory import DATASETS

    os.dup2(protocol, sys.stdout.fileno())
    scorers = {name: get_score_answer_fn(name) for name in DATASETS if name != "composite"}

    def score(name: str, answer: str, entry: str) -> float | list[str]:
        if not name:
            return sorted(scorers)
        return float(scorers[name](answer, json.loads(entry)))

    serve(score)


if __name__ == "__main__":
    main()
