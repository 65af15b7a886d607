"""Cluster files with the line of every value, and what is found in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from configs.errors import InputError

Key = tuple[str | int, ...]
YOURS = "# yours"


@dataclass(frozen=True)
class Finding:
    """One thing to change in a file."""

    line: int  # 1 is the first
    key: str  # dotted, as in provider.region
    value: str
    problem: str
    remedy: str
    open: bool = False  # not wrong: only not filled in yet

    def text(self, path: Path) -> str:
        shown = f" = {self.value}" if self.value else ""
        return f"{path}:{self.line}: {self.key}{shown}: {self.problem}; {self.remedy}"


@dataclass(frozen=True)
class ClusterFile:
    """One YAML document: plain values, and the line on which each begins."""

    path: Path
    tree: dict[str, Any]
    lines: dict[Key, int]
    text: str

    def at(self, *key: str | int, default: Any = None) -> Any:
        """The value at a key, or `default` where there is none."""
        value: Any = self.tree
        for part in key:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return default
        return value

    def line(self, key: Key) -> int:
        """Of a key; of the nearest that contains it where it is missing."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)

    def finding(self, key: Key, problem: str, remedy: str, value: Any = None) -> Finding:
        value = self.at(*key) if value is None else value
        shown = "" if value is None or isinstance(value, dict | list) else str(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return Finding(self.line(key), dotted(key), shown, problem, remedy)


def dotted(key: Key) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in key]
    return "".join(parts).removeprefix(".") or "the file"


def read_cluster_file(path: Path) -> ClusterFile:
    """The first document of a YAML file. Raises InputError where it is none."""
    try:
        text = path.read_text(encoding="utf-8")
        node = next(iter(yaml.compose_all(text)), None)
        tree = next(iter(yaml.safe_load_all(text)), None)
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; give a cluster file, such as cluster/tpu.yaml"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or error
        raise InputError(f"{path}{place}: not YAML: {what}") from error
    if not isinstance(tree, dict) or node is None:
        raise InputError(f"{path}: holds no keys; give a cluster file, such as cluster/tpu.yaml")
    lines: dict[Key, int] = {}
    for key, line in _lines(node, ()):
        if key in lines:
            raise InputError(
                f"{path}:{line}: {dotted(key)} stands twice, first on line {lines[key]}; "
                "only the last would count"
            )
        lines[key] = line
    return ClusterFile(path, tree, lines, text)


def open_values(file: ClusterFile) -> list[Finding]:
    """The lines marked as the user's own which are still those of the shipped file."""
    shipped = Path(__file__).parents[1] / file.path.name
    if file.path.parent.name == "kuberay":
        shipped = Path(__file__).parents[1] / "kuberay" / file.path.name
    if not shipped.exists():
        return []
    examples = {line.strip() for line in shipped.read_text().splitlines() if YOURS in line}
    return [
        Finding(
            number,
            key=_start(line),
            value="",
            problem="still the example's",
            remedy="write your own, or drop the mark if it is right",
            open=True,
        )
        for number, line in enumerate(file.text.splitlines(), 1)
        if line.strip() in examples
    ]


def _start(line: str) -> str:
    """The key that a line of text begins with, else its first words."""
    key = re.match(r"[\s-]*([\w.-]+):\s", line)
    return key[1] if key else " ".join(line.replace(YOURS, "").split()[:6])


def _lines(node: yaml.Node, key: Key) -> Iterator[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            below = (*key, name.value)
            yield below, name.start_mark.line + 1
            yield from _lines(value, below)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            below = (*key, number)
            yield below, value.start_mark.line + 1
            yield from _lines(value, below)
