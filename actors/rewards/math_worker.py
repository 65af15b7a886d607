"""The process behind maths.py: compares mathematical texts, one pair a line, as JSON.

Reads `[reference, answer]`, writes true or false. It confines itself before it reads the first pair
(sympy evaluates what it parses), and ends when its input does.
"""

import json
import logging
import sys

from actors.rewards.confine import confine, supported

CPU_S = 3600  # of its whole life; it is started again then
MEMORY_BYTES = 2 * 2**30


def main() -> None:
    logging.disable(logging.WARNING)  # math-verify says for each call that its timeout is off
    import math_verify

    def equal(reference: str, answer: str) -> bool:
        # The timeouts of math-verify are signals, which only a main thread can have: the deadline
        # is kept from outside, by ending this process.
        wanted, given = (
            math_verify.parse(f"${text}$", parsing_timeout=0) for text in (reference, answer)
        )
        return bool(math_verify.verify(wanted, given, timeout_seconds=0))

    equal(r"\frac{1}{2}", "0.5")  # loads what is loaded when it is first used
    if supported():
        confine(CPU_S, MEMORY_BYTES)
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            verdict = equal(*json.loads(line))
        except Exception:  # noqa: BLE001  # whatever a text does to the parser, it is not equal
            verdict = False
        print(json.dumps(verdict), flush=True)


if __name__ == "__main__":
    main()
