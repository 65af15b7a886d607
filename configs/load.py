"""Reading a run's configuration: a TOML file, then `section.key=value` overrides, then the schema.

Whatever a user can get wrong ends as one InputError that lists every problem, each with its dotted
key, the value, where it stood, and what is allowed.
"""

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from configs.errors import InputError, nearest, problem, read_toml
from configs.schema import RunConfig


def load(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The checked configuration. Raises InputError."""
    _, tree = read_toml(Path(path), "configuration", "give a TOML file with --config")
    origins: dict[str, str] = {}
    for item in overrides:
        key, value = _parse_override(item)
        _put(tree, key, value)
        origins[key] = f"the override {item}"
    try:
        return RunConfig.model_validate(tree, strict=True)
    except ValidationError as error:
        lines = [_problem(detail, origins, str(path)) for detail in error.errors()]
        raise InputError("\n  ".join(["the configuration is not usable:", *lines])) from error


def dump(config: RunConfig) -> str:
    """The resolved configuration as TOML; `load` of it gives an equal one."""
    return tomli_w.dumps(config.model_dump())


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """`key: old -> new` for each setting that differs."""
    before, after = dict(_leaves(old.model_dump())), dict(_leaves(new.model_dump()))
    return [
        f"{key}: {before[key]!r} -> {after[key]!r}" for key in after if before[key] != after[key]
    ]


def known_keys() -> list[str]:
    """Every setting as `section.key`."""
    return [key for key, _ in _leaves(RunConfig().model_dump())]


def _parse_override(item: str) -> tuple[str, Any]:
    key, sign, text = item.partition("=")
    if not sign or key.count(".") != 1 or not all(key.split(".")):
        raise InputError(f"{item!r} is no setting: write section.key=value, as in loop.steps=200")
    try:
        return key, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return (
            key,
            text,
        )  # a bare word, as in data.train=rows.jsonl; or nothing, as in model.weights=


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    section, name = key.split(".")
    if not isinstance(tree.setdefault(section, {}), dict):
        raise InputError(f"{section} is a section: write [{section}] in the file")
    tree[section][name] = value


def _problem(detail: Any, origins: dict[str, str], path: str) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    near = nearest(key, known_keys())
    sections = f"known sections: {', '.join(RunConfig.model_fields)}"
    return problem(detail, origins.get(key, path), f"did you mean {near}?" if near else sections)


def _leaves(tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, values in tree.items():
        for name, value in values.items():
            yield f"{section}.{name}", value
