"""Ends what a launch has started on this machine when the launch is gone, however it went.

Ray's own processes find out by themselves that their driver was killed, but some take more than a
minute. This is a process of its own, in a session of its own, so that what ends the driver's whole
group does not reach it. It holds a pipe from the driver; when that closes without a last word, it
ends every process that carries the launch's folder in its environment, by its id, and removes the
folder. It imports nothing of ours and neither Ray nor JAX: it costs 15 MB and no time.
"""

import fcntl
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

MARK = "RAY_TMPDIR"  # names the folder in the environment of all that is started
PREFIX = "sw-"
_LAST_WORD = b"all is ended"
_LOCK = ".held"
_GENTLY_S = 2.0  # after that they are killed
_GIVE_UP_S = 20.0
_FRESH_S = 60.0  # a folder younger than this may still be about to be locked


@contextmanager
def kept_folder(pid: int) -> Iterator[Path]:
    """A new folder below the system's temporary one, and a keeper for what is started with it.

    Folders that earlier launches could not remove are removed first.
    """
    sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{pid}-"))
    lock = (folder / _LOCK).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    command = [sys.executable, str(Path(__file__)), str(folder)]
    keeper = subprocess.Popen(
        command, stdin=subprocess.PIPE, start_new_session=True, pass_fds=(lock.fileno(),)
    )
    try:
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
        keeper.communicate(_LAST_WORD)
    finally:  # after an error the keeper looks whether anything is left
        keeper.communicate()
        lock.close()


def sweep(parent: Path) -> None:
    """Remove the folders that no launch and no keeper holds any more."""
    for lock in parent.glob(f"{PREFIX}*/{_LOCK}"):
        with suppress(OSError), lock.open("r+") as held:
            if time.time() - lock.stat().st_mtime > _FRESH_S:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)


def started_with(folder: str) -> list[psutil.Process]:
    """The processes that carry the folder in their environment, and all below them."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != psutil.Process().pid and process.environ().get(MARK) == folder:
                found |= {p.pid: p for p in (process, *process.children(recursive=True))}
    return [process for process in found.values() if process.is_running()]


def end_all(folder: str) -> None:
    """End them, gently first; those that they start meanwhile, too."""
    began = time.monotonic()
    while (left := started_with(folder)) and time.monotonic() < began + _GIVE_UP_S:
        gently = time.monotonic() < began + _GENTLY_S
        for process in left:
            with suppress(psutil.Error):
                process.terminate() if gently else process.kill()
        psutil.wait_procs(left, timeout=_GENTLY_S)


def main(folder: str) -> None:
    if sys.stdin.buffer.read() != _LAST_WORD:
        end_all(folder)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
