"""Tokenizers as Hugging Face folders have them: `tokenizer.json`, and the files beside it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers

from configs.errors import InputError
from configs.run_folder import write_json, write_text
from learner.policy.literal import apart

_CONFIG, _TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
_GENERATION, _MAP = "generation_config.json", "special_tokens_map.json"


class JsonTokenizer:
    """A `tokenizer.json`; `config` is what its tokenizer_config.json says."""

    def __init__(self, text: str, config: dict[str, Any]):
        self.text, self.config = text, config
        self._core = tokenizers.Tokenizer.from_str(text)
        self._core.no_padding()
        self._core.no_truncation()
        ids = self._core.get_vocab(with_added_tokens=True).values()
        self.vocabulary = max(ids) + 1
        self.bos_text, self.eos_text = self._named("bos_token"), self._named("eos_token")
        self.bos, eos = self._id(self.bos_text), self._id(self.eos_text)
        pad = self._id(self._named("pad_token"))
        self.eos: int = -1 if eos is None else eos
        self.pad: int = self.eos if pad is None else pad
        added = self._core.get_added_tokens_decoder().values()
        self._specials = tuple(sorted(token.content for token in added if token.special))
        first = self._core.encode("", add_special_tokens=True).ids[:1]
        self._first = first if first == [self.bos] else []
        # some end a turn with one token and the text with another
        self.more_stops: tuple[int, ...] = tuple(config.get("generation_eos", ()))
        self.chat_template: str = config.get("chat_template") or ""

    def __reduce__(self):
        return JsonTokenizer, (self.text, self.config)

    @staticmethod
    def load(path: Path) -> "JsonTokenizer":
        """Raises InputError when the file cannot be read or names no end-of-sequence token."""
        try:
            config = _read(path.with_name(_MAP)) | _read(path.with_name(_CONFIG))
            eos = _read(path.with_name(_GENERATION)).get("eos_token_id", [])
            config["generation_eos"] = eos if isinstance(eos, list) else [eos]
            if (template := path.with_name(_TEMPLATE)).exists():
                config["chat_template"] = template.read_text(encoding="utf-8")
            if isinstance(several := config.get("chat_template"), list):
                named = {one["name"]: one["template"] for one in several}
                config["chat_template"] = named.get("default", "")
            tokenizer = JsonTokenizer(path.read_text(encoding="utf-8"), config)
        except OSError as error:
            raise InputError(
                f"model.tokenizer = {path}: {error.strerror}; give a tokenizer.json or a "
                "SentencePiece .model file"
            ) from error
        except Exception as error:  # the library raises bare ones
            raise InputError(
                f"model.tokenizer = {path}: not a tokenizer.json ({str(error)[:200]})"
            ) from error
        if tokenizer.eos < 0:
            raise InputError(
                f"model.tokenizer = {path}: {_CONFIG} beside it names no eos_token that the "
                "tokenizer has, which training needs; fetch the whole folder"
            )
        return tokenizer

    def specials(self, around: str) -> tuple[str, ...]:
        """All that the file calls special, whether the template uses it or not."""
        return self._specials

    def encode_prompt(self, *texts: str, begin: bool = True) -> list[int]:
        ids = [number for text in texts for number in self._ids(text)]
        return [*self._first, *ids] if begin else ids

    def encode_completion(self, text: str) -> list[int]:
        pieces = apart(text, self.specials(""))
        return [*(number for piece in pieces for number in self._ids(piece)), self.eos]

    def stops(self, pieces: Iterable[str]) -> tuple[int, ...]:
        """Raises InputError for a piece that the tokenizer does not have."""
        ids = {piece: self._id(piece) for piece in pieces}
        unknown = [piece for piece, number in ids.items() if number is None]
        if unknown:
            raise InputError(f"rollout.stop_tokens: the tokenizer has no piece {unknown[0]!r}")
        found = (self.eos, *self.more_stops, *(n for n in ids.values() if n is not None))
        return tuple(dict.fromkeys(found))

    def decode(self, tokens: Iterable[int]) -> str:
        special = {self.pad, self.bos, self.eos, *self.more_stops}
        kept = [int(token) for token in tokens if int(token) not in special]
        return self._core.decode(kept, skip_special_tokens=False)

    def save(self, folder: Path) -> None:
        config = {key: value for key, value in self.config.items() if key != "generation_eos"}
        write_text(folder / "tokenizer.json", self.text)
        write_json(folder / _CONFIG, config)
        if self.more_stops:
            write_json(folder / _GENERATION, {"eos_token_id": list(self.more_stops)})

    def _ids(self, text: str) -> list[int]:
        return self._core.encode(text, add_special_tokens=False).ids

    def _named(self, key: str) -> str:
        """A token's text; older files have an object there."""
        value = self.config.get(key) or ""
        return value if isinstance(value, str) else value.get("content", "")

    def _id(self, text: str) -> int | None:
        return self._core.token_to_id(text) if text else None


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
