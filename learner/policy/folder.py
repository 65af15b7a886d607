"""What a folder of published weights holds, before any of it is loaded.

Only names, shapes and dtypes are read: enough to say everything that does not fit at once.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from configs.errors import InputError
from configs.load import load
from configs.run_folder import RunFolder
from configs.schema import ModelSection, RunConfig
from learner.policy.architecture import PRESETS, Architecture, from_hugging_face
from learner.policy.layout import may_be_ignored, stored_layout

_DTYPES = ("F32", "F16", "BF16")
_INDEX = "model.safetensors.index.json"
_NAMES_SHOWN = 6
_BLOCK_BYTES = 2**25
_ORBAX = ("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt")


def with_architecture(config: RunConfig) -> RunConfig:
    """The configuration with `model.architecture` filled in from the folder in `model.weights`.

    A run folder gives the one that it was trained with. Raises InputError when the folder is
    neither, or says something else than a `model.architecture` that is given.
    """
    section = config.model
    known = section.architecture and not Path(section.weights).exists()
    if not section.weights or known:  # a run that goes on needs its first weights no more
        return config
    found = _architecture_in(Path(section.weights))
    if found is None:
        return config
    if section.architecture and section.architecture != found:
        raise InputError(
            f"model.weights = {section.weights}: its architecture is not the one in "
            "model.architecture; leave that out, or give the folder that it came from"
        )
    read = from_hugging_face(found)
    if section.preset:
        preset = PRESETS[section.preset] | {"vocab_size": read.vocabulary}
        if read != from_hugging_face(preset):
            raise InputError(
                f"model.weights = {section.weights}: its config.json does not describe a "
                f"{section.preset}; give another folder, or leave model.preset out"
            )
    return config.model_copy(update={"model": section.model_copy(update={"architecture": found})})


def is_hugging_face(folder: Path) -> bool:
    return (folder / "config.json").exists() or any(folder.glob("*.safetensors"))


def kaggle_checkpoint(folder: Path) -> Path | None:
    """The Orbax checkpoint in a folder as unpacked from Kaggle: itself, or the only one below."""
    for places in ([folder], list(folder.glob("*/"))):
        found = [place for place in places if any((place / sign).is_file() for sign in _ORBAX)]
        if len(found) == 1:
            return found[0]
    return None


def check_weights(section: ModelSection, vocabulary: int) -> None:
    """Do the files hold every tensor of the architecture, and does the tokenizer fit?

    Reads headers only. Raises InputError.
    """
    folder = Path(section.weights)
    kaggle = kaggle_checkpoint(folder)
    if not section.architecture or not (kaggle or is_hugging_face(folder)):
        return
    found = from_hugging_face(section.architecture)
    if vocabulary > found.vocabulary:
        raise InputError(
            f"model.weights = {folder}: its embedding has {found.vocabulary} rows, the tokenizer "
            f"has {vocabulary} ids; give the tokenizer that belongs to the weights"
        )
    if kaggle:
        from learner.policy.kaggle import check_checkpoint  # heavy: jax and Orbax

        check_checkpoint(kaggle, found)
        return
    with Tensors(folder) as tensors:
        tensors.check(found)


class Tensors:
    """The tensors of a folder's safetensors files, open for reading."""

    def __init__(self, folder: Path):
        self.folder, self._stack = folder, ExitStack()
        self._files: dict[str, Any] = {}  # tensor -> open file
        try:
            for path, names in _files(folder).items():
                with _readable(path):
                    file = self._stack.enter_context(safe_open(path, framework="numpy"))
                self._files |= dict.fromkeys(file.keys(), file)
                if absent := set(names) - set(file.keys()):
                    raise InputError(
                        f"model.weights: {path} lacks {_some(absent)}, which {_INDEX} looks for "
                        "there; fetch the folder again"
                    )
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> "Tensors":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """Part of a tensor as float32; blocks of its rows are all that exists of it beside."""
        with _readable(self.folder):
            part = self._files[name].get_slice(name)
            places = [range(n)[own] for own, n in zip(index, part.get_shape(), strict=True)]
            sizes = [len(place) for place in places]
            values = np.empty(sizes, np.float32)
            rows = max(1, _BLOCK_BYTES // max(1, 4 * int(np.prod(sizes[1:]))))
            first = places[0].start
            for start in range(0, sizes[0], rows):
                stop = min(start + rows, sizes[0])
                block = part[(slice(first + start, first + stop), *index[1:])]
                values[start:stop] = block
        return values

    def check(self, found: Architecture) -> None:
        """Raises one InputError that names every tensor that is missing, unexpected or wrong."""
        wanted = {
            name: stored.shape for stored in stored_layout(found).values() for name in stored.names
        }
        problems = []
        if missing := wanted.keys() - self._files.keys():
            problems.append(f"missing: {_some(missing)}")
        surplus = {n for n in self._files.keys() - wanted.keys() if not may_be_ignored(n, found)}
        if surplus:
            problems.append(f"unexpected: {_some(surplus)}")
        for name in sorted(wanted.keys() & self._files.keys()):
            part = self._files[name].get_slice(name)
            if tuple(part.get_shape()) != wanted[name]:
                problems.append(
                    f"{name} has the shape {tuple(part.get_shape())}, wanted is {wanted[name]}"
                )
            elif part.get_dtype() not in _DTYPES:
                problems.append(f"{name} is {part.get_dtype()}; {', '.join(_DTYPES)} can be read")
        if problems:
            more = [f"and {len(problems) - _NAMES_SHOWN} more"] * (len(problems) > _NAMES_SHOWN)
            raise InputError(
                "\n  ".join(
                    [
                        f"model.weights = {self.folder} does not hold a {found.family} of the "
                        "sizes in its config.json:",
                        *problems[:_NAMES_SHOWN],
                        *more,
                    ]
                )
            )


def _files(folder: Path) -> dict[Path, list[str]]:
    """The safetensors files, and which tensors each must hold as far as an index says."""
    index = folder / _INDEX
    if not index.exists():
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise InputError(f"model.weights = {folder}: it has no .safetensors file")
        return {path: [] for path in files}
    named: dict[Path, list[str]] = {}
    for name, file in _json(index).get("weight_map", {}).items():
        named.setdefault(folder / file, []).append(name)
    if absent := [path.name for path in named if not path.exists()]:
        raise InputError(
            f"model.weights = {folder}: {', '.join(sorted(absent))} of the files in {_INDEX} "
            "is missing; fetch the folder again"
        )
    return named


def _architecture_in(folder: Path) -> dict[str, Any] | None:
    """The config.json of a folder, or that which a run folder was trained with, if it has one."""
    if (run := RunFolder(folder)).config_file.exists():
        return load(run.config_file).model.architecture or None
    if (folder / "config.json").exists():
        # what is null there is what a missing key means too, and TOML has no null
        return _without_null(_json(folder / "config.json"))
    if checkpoint := kaggle_checkpoint(folder):
        from learner.policy.kaggle import architecture_of_checkpoint

        return architecture_of_checkpoint(checkpoint)
    if is_hugging_face(folder):
        raise InputError(
            f"model.weights = {folder}: it has .safetensors files but no config.json, which says "
            "what they are; fetch that too"
        )
    kinds = "a Hugging Face folder, a Gemma2 checkpoint from Kaggle or a run folder"
    what = f"is none of {kinds}" if folder.exists() else f"does not exist; give {kinds}"
    raise InputError(f"model.weights = {folder}: {what}")


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(part) for key, part in value.items() if part is not None}
    return value


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"model.weights: {path} cannot be read ({error})") from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"model.weights: {path} is cut off or no safetensors file ({error}); fetch it again"
        ) from error


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _NAMES_SHOWN} more" if len(ordered) > _NAMES_SHOWN else ""
    return ", ".join(ordered[:_NAMES_SHOWN]) + more
