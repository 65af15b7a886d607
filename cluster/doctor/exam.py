"""What a host says of itself. A plain class: an actor of it looks at the host that it runs on."""

import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("ray", "jax", "jaxlib", "numpy", "flax", "optax", "orbax-checkpoint", "google-tunix")
_MARK = ".doctor-"
_WRITTEN = 32 * 2**20  # bytes
_BACKEND_S = 180.0
_CONNECT_S = 5.0


@dataclass(frozen=True)
class Report:
    """Of one host."""

    python: str
    packages: dict[str, str]  # "" where one is missing
    project: str  # checksum of this project's files
    open_files: int  # the soft limit
    free_bytes: int  # of the disk below the run folders
    write_mb_s: float  # to it, synced
    folder_error: str  # why it cannot be written; "" if it can
    backend: str  # what JAX finds, such as "tpu 4"; "" where it was not asked


class HostExam:
    """`folder`: where run folders are to lie; `ask_jax`: it has devices that JAX must find."""

    def __init__(self, folder: Path, name: str, ask_jax: bool):
        self._folder, self._name, self._ask_jax = folder, name, ask_jax
        self._server: socket.socket | None = None

    def report(self) -> Report:
        """Takes seconds: a file is written, and JAX is started where it is to be asked."""
        error, speed, free = "", 0.0, 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._mark(self._name).write_text(self._name)
            speed, free = self._write_speed(), shutil.disk_usage(self._folder).free
        except OSError as failure:
            error = failure.strerror or str(failure)
        return Report(
            python=platform.python_version(),
            packages={name: _version(name) for name in PACKAGES},
            project=project_checksum(ROOT),
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            free_bytes=free,
            write_mb_s=speed,
            folder_error=error,
            backend=jax_backend() if self._ask_jax else "",
        )

    def clock(self) -> float:
        return time.time()

    def seen(self) -> list[str]:
        """The names of those whose marks lie in the folder, as this host sees it."""
        return sorted(path.name.removeprefix(_MARK) for path in self._folder.glob(f"{_MARK}*"))

    def listen(self) -> int:
        """A port that is open until `close`."""
        self._server = socket.create_server(("", 0), backlog=64)
        return self._server.getsockname()[1]

    def reaches(self, addresses: list[tuple[str, int]]) -> list[bool]:
        return [_connects(address, port) for address, port in addresses]

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._mark(self._name).unlink(missing_ok=True)

    def _mark(self, name: str) -> Path:
        return self._folder / f"{_MARK}{name}"

    def _write_speed(self) -> float:
        path = self._folder / f".doctor-speed-{self._name}"
        block, began = os.urandom(2**20), time.perf_counter()
        try:
            with path.open("wb") as file:
                for _ in range(_WRITTEN // len(block)):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            return _WRITTEN / 1e6 / (time.perf_counter() - began)
        finally:
            path.unlink(missing_ok=True)


def project_checksum(root: Path) -> str:
    """Of every file whose difference would make hosts work against each other."""
    files = [root / "uv.lock", root / "launch.py"]
    for layer in ("configs", "cluster", "learner", "actors"):
        files += sorted((root / layer).rglob("*.py"))
    digest = sha256()
    for path in files:
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def jax_backend() -> str:
    """What a fresh process finds, as "tpu 4"; or why it finds nothing."""
    code = "import jax; print(jax.default_backend(), jax.local_device_count())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_BACKEND_S
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_BACKEND_S:.0f} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1][:200]
    return done.stdout.strip().splitlines()[-1]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _connects(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=_CONNECT_S):
            return True
    except OSError:
        return False
