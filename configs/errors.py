"""What a user got wrong, said once and without a traceback."""


class InputError(Exception):
    """Bad input: `launch.py` prints the message after `error: ` and leaves with exit code 2.

    The message names the key or file, the value, the limit, and the way out.
    """
