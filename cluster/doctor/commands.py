"""What the shell commands of a launcher file must and must not do."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from cluster.doctor.files import ClusterFile, Finding, Key

ROOT = Path(__file__).parents[2]
TOKEN = "~/.ray/auth_token"
PYTHON = re.compile(r"--python[ =](\S+)")
UV = re.compile(r"\buv==(\S+)")
HEALTH = {"period_ms": 1000, "timeout_ms": 2000, "failure_threshold": 5}
_MISSED_S = 30.0  # a learner gang that waits longer for a host that is gone wastes a slice


def check_commands(file: ClusterFile) -> Iterator[Finding]:
    """Start and setup commands, and the files they need: for every kind of launcher file."""
    yield from _check_head_start(file)
    yield from _check_worker_start(file)
    yield from check_token(file)
    yield from _check_install(file)


def text_of(file: ClusterFile, *key: str | int) -> str:
    """All commands of a list as one text."""
    commands = file.at(*key, default=[])
    return "\n".join(str(command) for command in commands) if isinstance(commands, list) else ""


def variable(text: str, name: str) -> str | None:
    """The last value that a shell text gives to an environment variable before `ray start`."""
    before = text.split("ray start", 1)[0]
    values = re.findall(rf"(?<![\w$]){name}=([^\s;]*)", before)
    return values[-1] if values else None


def place(file: ClusterFile, key: Key, needle: str) -> Key:
    """The command of a list that holds a word; the list itself where none does."""
    for number, command in enumerate(file.at(*key, default=[]) or []):
        if needle in str(command):
            return (*key, number)
    return key


def check_autoscaler(file: ClusterFile, problem: str) -> Iterator[Finding]:
    """`ray up` switches version 2 on; the file's own commands come after that."""
    key = ("head_start_ray_commands",)
    if variable(text_of(file, *key), "RAY_enable_autoscaler_v2") != "0":
        yield file.finding(
            place(file, key, "ray start"),
            problem,
            "export RAY_enable_autoscaler_v2=0 before `ray start`",
            value="RAY_enable_autoscaler_v2",
        )


def _check_head_start(file: ClusterFile) -> Iterator[Finding]:
    key = ("head_start_ray_commands",)
    text, where = text_of(file, *key), place(file, key, "ray start")
    if "ray start" not in text or "--head" not in text:
        yield file.finding(key, "no `ray start --head`", "start the head as cluster/tpu.yaml does")
        return
    yield from _check_token_mode(file, text, where)
    host = _option(text, "--dashboard-host")
    if host not in ("127.0.0.1", "localhost"):
        yield file.finding(
            where,
            "the dashboard, which runs any job it is given, listens beyond this host",
            "write --dashboard-host=127.0.0.1 and reach it through `ray dashboard`",
            value=f"--dashboard-host={host}",
        )
    if "--autoscaling-config=" not in text:
        yield file.finding(
            where,
            "without --autoscaling-config the head starts no workers",
            "add --autoscaling-config=~/ray_bootstrap_config.yaml",
            value="ray start",
        )
    yield from _check_health(file, text, where)
    yield from _check_open_files(file, text, where)


def _check_worker_start(file: ClusterFile) -> Iterator[Finding]:
    key = ("worker_start_ray_commands",)
    text, where = text_of(file, *key), place(file, key, "ray start")
    if _option(text, "--address") is None:
        yield file.finding(
            key, "workers are not told where the head is", "add --address=$RAY_HEAD_IP:6379"
        )
        return
    head_port = _option(text_of(file, "head_start_ray_commands"), "--port") or "6379"
    address = _option(text, "--address") or ""
    if address != f"$RAY_HEAD_IP:{head_port}":
        yield file.finding(
            where,
            f"the head listens on port {head_port} of $RAY_HEAD_IP",
            f"write --address=$RAY_HEAD_IP:{head_port}",
            value=f"--address={address}",
        )
    yield from _check_token_mode(file, text, where)
    yield from _check_open_files(file, text, where)


def _check_token_mode(file: ClusterFile, text: str, where: Key) -> Iterator[Finding]:
    mode = variable(text, "RAY_AUTH_MODE")
    if mode != "token":
        yield file.finding(
            where,
            "without token authentication whoever reaches port 6379 runs code here",
            "export RAY_AUTH_MODE=token before `ray start`",
            value=f"RAY_AUTH_MODE={mode or 'not set'}",
        )


def _check_health(file: ClusterFile, text: str, where: Key) -> Iterator[Finding]:
    values = {name: variable(text, f"RAY_health_check_{name}") for name in HEALTH}
    numbers = [float(value) for value in values.values() if value and value.isdecimal()]
    # a host is missed once `failure_threshold` checks have failed, each a period and a timeout long
    missed_s = (
        (numbers[0] + numbers[1]) / 1000 * numbers[2] if len(numbers) == len(HEALTH) else 65.0
    )
    if missed_s > _MISSED_S:
        wanted = " ".join(f"RAY_health_check_{name}={value}" for name, value in HEALTH.items())
        yield file.finding(
            where,
            f"a host that is cut off is missed only after {missed_s:.0f} s",
            f"export {wanted} before `ray start`",
            value="RAY_health_check_*",
        )


def _check_open_files(file: ClusterFile, text: str, where: Key) -> Iterator[Finding]:
    limit = re.search(r"ulimit -n (\d+)", text.split("ray start", 1)[0])
    if limit is None or int(limit[1]) < 65536:
        yield file.finding(
            where,
            "Ray opens a socket for each worker and host, and the default limit is 1,024 files",
            "write `ulimit -n 65536;` before `ray start`",
            value=f"ulimit -n {limit[1] if limit else 'not set'}",
        )


def check_token(file: ClusterFile) -> Iterator[Finding]:
    mounts = file.at("file_mounts", default={}) or {}
    if TOKEN not in mounts:
        yield file.finding(
            ("file_mounts",),
            "the token does not reach the hosts, and none of them could join",
            f'add "{TOKEN}": "{TOKEN}"',
        )
    setup = text_of(file, "setup_commands")
    if not re.search(r"chmod (0?600|go=|u=rw,go=) ~/\.ray/auth_token", setup):
        yield file.finding(
            ("setup_commands",),
            "every user of a host could read the token: it arrives as mode 0644",
            f"add `chmod 600 {TOKEN}`",
        )


def setup_lists(file: ClusterFile) -> dict[Key, str]:
    """The setup that each kind of host runs: by the key of the list that is its own."""
    common = text_of(file, "setup_commands")
    lists: dict[Key, str] = {
        (name,): common + "\n" + text_of(file, name)
        for name in ("head_setup_commands", "worker_setup_commands")
        if file.at(name)
    } or {("setup_commands",): common}
    for name, kind in (file.at("available_node_types", default={}) or {}).items():
        if isinstance(kind, dict) and kind.get("worker_setup_commands"):
            key = ("available_node_types", name, "worker_setup_commands")
            lists[key] = text_of(file, *key)  # it replaces the common ones
    return lists


def _check_install(file: ClusterFile) -> Iterator[Finding]:
    lists = setup_lists(file)
    for key, text in lists.items():
        if not re.search(r"uv sync [^\n]*--(locked|frozen)", text):
            yield file.finding(
                key,
                "the hosts would not get the packages of uv.lock",
                "add `cd ~/showwork && ~/.local/bin/uv sync --locked --no-dev`",
            )
    if "~/showwork" not in (file.at("file_mounts", default={}) or {}):
        yield file.finding(
            ("file_mounts",), "this project does not reach the hosts", 'add "~/showwork": "."'
        )
    yield from _check_one_version(file, lists, PYTHON, "Python", "--python 3.11")
    yield from _check_one_version(file, lists, UV, "uv", "uv==0.13.9")
    yield from _check_python_allowed(file, lists)


def _check_one_version(
    file: ClusterFile, lists: dict[Key, str], pattern: re.Pattern, what: str, example: str
) -> Iterator[Finding]:
    found = {key: set(pattern.findall(text)) for key, text in lists.items()}
    for key, versions in found.items():
        if not versions:
            yield file.finding(key, f"the version of {what} is left open", f"write {example}")
    every = sorted(set().union(*found.values()))
    if len(every) > 1:
        key = next(key for key, versions in found.items() if versions != found[next(iter(found))])
        yield file.finding(
            place(file, key, every[0] if every[0] in lists[key] else every[-1]),
            f"hosts would have different versions of {what}, which cannot work together",
            f"write the same everywhere, such as {example}",
            value=", ".join(every),
        )


def _check_python_allowed(file: ClusterFile, lists: dict[Key, str]) -> Iterator[Finding]:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    low, high = re.findall(r"3\.(\d+)", wanted)
    for key, text in lists.items():
        for version in PYTHON.findall(text):
            minor = re.match(r"3\.(\d+)", version)
            if not minor or not int(low) <= int(minor[1]) < int(high):
                yield file.finding(
                    place(file, key, version),
                    f"this project runs on Python {wanted}",
                    "write --python 3.11",
                    value=version,
                )
                return


def _option(text: str, name: str) -> str | None:
    found = re.search(rf"{name}[= ](\S+)", text)
    return found[1] if found else None
