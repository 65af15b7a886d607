"""The process behind maths.py: `[reference, answer]` -> are they equal."""

import logging

from actors.rewards.serving import serve


def main() -> None:
    logging.disable(logging.WARNING)  # math-verify says for each call that its timeout is off
    import math_verify

    def equal(reference: str, answer: str) -> bool:
        # no timeouts of its own: the deadline is kept from outside, by ending this process
        wanted, given = (
            math_verify.parse(f"${text}$", parsing_timeout=0) for text in (reference, answer)
        )
        return bool(math_verify.verify(wanted, given, timeout_seconds=0))

    equal(r"\frac{1}{2}", "0.5")  # loads what is loaded when it is first used
    serve(equal)


if __name__ == "__main__":
    main()
