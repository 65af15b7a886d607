"""SentencePiece tokenizers: a given `.model` (Gemma's format), or a small one from the data."""

import io
import re
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from configs.errors import InputError
from configs.run_folder import write_bytes

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
_TURNS = ("<start_of_turn>", "<end_of_turn>", "\n", "user", "model")
_OPERATORS = tuple(f"▁{sign}▁" for sign in ("+", "-", "x", "/", "=", ">", "<"))
_STEP_NUMBERS = tuple(f"{number}.▁" for number in range(1, 5))


class SentencePieceTokenizer:
    """A `.model` file. Pickles as its bytes."""

    chat_template: str = ""

    def __init__(self, model: bytes):
        self.model = model
        self._pieces = sentencepiece.SentencePieceProcessor()
        self._pieces.LoadFromSerializedProto(model)
        self.vocabulary: int = self._pieces.get_piece_size()
        self.pad: int = self._pieces.pad_id()
        self.eos: int = self._pieces.eos_id()
        self.bos: int | None = self._pieces.bos_id()

    def __reduce__(self):
        return SentencePieceTokenizer, (self.model,)

    @staticmethod
    def load(path: Path) -> "SentencePieceTokenizer":
        """Raises InputError when the file cannot be read, is no model, or lacks pad, eos or bos."""
        try:
            tokenizer = SentencePieceTokenizer(path.read_bytes())
        except OSError as error:
            raise InputError(
                f"model.tokenizer = {path}: {error.strerror}; give a SentencePiece .model file"
            ) from error
        except RuntimeError as error:
            raise InputError(
                f"model.tokenizer = {path}: not a SentencePiece model ({error})"
            ) from error
        missing = [name for name in ("pad", "eos", "bos") if getattr(tokenizer, name) < 0]
        if missing:
            raise InputError(
                f"model.tokenizer = {path}: it has no {', '.join(missing)} token, which training "
                "needs; give a model with them (Gemma's has)"
            )
        return tokenizer

    def specials(self, around: str) -> tuple[str, ...]:
        """Symbols in angle brackets that the template itself uses; control pieces never match."""
        found = set(re.findall(r"<[^<>\s]+>", around))
        return tuple(sorted(piece for piece in found if self._has(piece)))

    def encode_prompt(self, *texts: str, begin: bool = True) -> list[int]:
        ids = [piece for text in texts for piece in self._pieces.encode(text)]
        return [self._pieces.bos_id(), *ids] if begin else ids

    def encode_completion(self, text: str) -> list[int]:
        return [*self._pieces.encode(text), self.eos]

    def stops(self, pieces: Iterable[str]) -> tuple[int, ...]:
        """Raises InputError for a piece that the model does not have."""
        ids = {piece: self._pieces.piece_to_id(piece) for piece in pieces}
        unknown = [piece for piece in ids if not self._has(piece)]
        if unknown:
            raise InputError(f"rollout.stop_tokens: the tokenizer has no piece {unknown[0]!r}")
        return self.eos, *ids.values()

    def decode(self, tokens: Iterable[int]) -> str:
        special = {self.pad, self.eos, self.bos}
        return self._pieces.decode([int(token) for token in tokens if int(token) not in special])

    def save(self, folder: Path) -> None:
        write_bytes(folder / "tokenizer.model", self.model)

    def _has(self, piece: str) -> bool:
        return self._pieces.piece_to_id(piece) != self._pieces.unk_id()


def train_tokenizer(texts: Iterable[str], pieces: int) -> SentencePieceTokenizer:
    """A byte-pair model whose tags and spaced operators are single pieces; unknown bytes fall back.

    Deterministic in `texts` and `pieces`. Digits are split, so that arithmetic is about digits.
    Raises InputError when `pieces` cannot hold the bytes and the symbols.
    """
    output = io.BytesIO()
    symbols = [*_TURNS, *TAGS, *_OPERATORS, *_STEP_NUMBERS]
    lines = (line for text in texts for line in text.split("\n") if line)
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=lines,
            model_writer=output,
            model_type="bpe",
            vocab_size=pieces + 256,  # the 256 byte pieces come on top
            hard_vocab_limit=False,
            byte_fallback=True,
            split_digits=True,
            user_defined_symbols=symbols,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            character_coverage=1.0,
            pad_id=0,
            eos_id=1,
            bos_id=2,
            unk_id=3,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError(f"model.tokenizer_pieces = {pieces}: {error}") from error
    return SentencePieceTokenizer(output.getvalue())
