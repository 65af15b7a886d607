"""All that crosses the cables of `tests/hosts/netns.py`, into a file: run it where the cables end.

`python -m tests.hosts.capture FILE` until it is terminated. It prints a line once it listens.
"""

import signal
import socket
import sys
from pathlib import Path

_EVERY_PROTOCOL = 3  # ETH_P_ALL
_BUFFER_FORCED = 33  # SO_RCVBUFFORCE
_BUFFER = 64 * 2**20


def capture(path: Path) -> None:
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL)) as cable,
        path.open("wb") as file,
    ):
        cable.setsockopt(socket.SOL_SOCKET, _BUFFER_FORCED, _BUFFER)
        print("listening", flush=True)
        while True:
            file.write(cable.recv(2**17))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    capture(Path(sys.argv[1]))
