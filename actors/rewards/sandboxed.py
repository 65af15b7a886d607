"""The inside of the sandbox: runs a solution and its tests, and says whether all of them passed.

Started by sandbox.py as a script of its own; reads JSON from standard input, and writes the token
it was given to the descriptor it was given: once it is confined, and once the last test has passed.
A solution that leaves early (`sys.exit(0)`) or fails has not passed.
"""

import json
import os
import sys
from pathlib import Path


def main() -> None:
    sys.path.append(str(Path(__file__).parent))
    from confine import confine  # pyrefly: ignore[missing-import]  # a script has no package

    sys.path.pop()
    task = json.load(sys.stdin)
    result = int(sys.argv[1])
    confine(task["cpu_s"], task["memory_bytes"])
    os.write(result, f"{task['token']} confined".encode())
    solution = compile(task["solution"], "<solution>", "exec")
    tests = compile(task["tests"], "<tests>", "exec")
    space = {"__name__": "solution"}
    exec(solution, space)
    exec(tests, space)
    os.write(result, f"{task['token']} passed".encode())


main()
