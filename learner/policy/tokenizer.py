"""Text to token ids and back, whichever file says how; which one that is, its name tells."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from configs.errors import InputError
from learner.policy.json_tokenizer import JsonTokenizer
from learner.policy.sentence_pieces import SentencePieceTokenizer, train_tokenizer

__all__ = ["Tokenizer", "find_tokenizer", "load_tokenizer", "text_end", "train_tokenizer"]
MODEL, JSON = "tokenizer.model", "tokenizer.json"


class Tokenizer(Protocol):
    """What both kinds do. They pickle as the content of their files, and travel to actors."""

    vocabulary: int  # ids are below
    pad: int
    eos: int
    bos: int | None
    chat_template: str  # Jinja, or ""

    def specials(self, around: str) -> tuple[str, ...]:
        """The texts that would be read as structure in a prompt between `around`."""
        ...

    def encode_prompt(self, *texts: str, begin: bool = True) -> list[int]:
        """Ids of a templated prompt; pieces of it are encoded apart, and never merge.

        `begin`: with the begin-of-sequence token first, where the tokenizer sets one.
        """
        ...

    def encode_completion(self, text: str) -> list[int]:
        """Ids of a completion, the end-of-sequence token last."""
        ...

    def stops(self, pieces: Iterable[str]) -> tuple[int, ...]:
        """The ids that end a completion: the end of the sequence, and these pieces.

        Raises InputError for a piece that the tokenizer does not have.
        """
        ...

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of a completion, without pad, begin and end tokens."""
        ...

    def save(self, folder: Path) -> None:
        """Write its files into a folder, from which `load_tokenizer` gives an equal one."""
        ...


def load_tokenizer(path: str | Path) -> Tokenizer:
    """From a SentencePiece `.model` file, a `tokenizer.json`, or a folder with either.

    A folder's tokenizer.json wins: its neighbours say what begins, ends and pads a sequence.
    Raises InputError when it cannot be read or lacks what training needs.
    """
    path = Path(path)
    if path.is_dir():
        found = find_tokenizer(path)
        if found is None:
            raise InputError(f"model.tokenizer = {path}: it holds neither {JSON} nor {MODEL}")
        path = found
    return JsonTokenizer.load(path) if path.suffix == ".json" else SentencePieceTokenizer.load(path)


def find_tokenizer(folder: Path) -> Path | None:
    """The tokenizer's file in a folder, if it has one."""
    return next((folder / name for name in (JSON, MODEL) if (folder / name).exists()), None)


def text_end(
    decode: Callable[[Sequence[int]], str], strings: Sequence[str], tokens: Sequence[int], seen: int
) -> int:
    """The number of tokens with which the text first contains one of the strings; 0: none does.

    The first `seen` tokens are known to contain none. It is looked for in the text: a string may be
    several tokens, or end inside of one.
    """

    def contains(count: int) -> bool:
        text = decode(tokens[:count])
        return any(string in text for string in strings)

    if not contains(len(tokens)):
        return 0
    return next(count for count in range(seen + 1, len(tokens) + 1) if contains(count))
