"""SentencePiece tokenizers: a given `.model` (Gemma's format), or a small one from the data."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from configs.errors import InputError

TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
_TURNS = ("<start_of_turn>", "<end_of_turn>", "\n", "user", "model")
_OPERATORS = tuple(f"▁{sign}▁" for sign in ("+", "-", "x", "/", "=", ">", "<"))
_STEP_NUMBERS = tuple(f"{number}.▁" for number in range(1, 5))


class Tokenizer:
    """Text to token ids and back. Pickles as the bytes of its model, so it can travel to actors."""

    def __init__(self, model: bytes):
        self.model = model
        self._pieces = sentencepiece.SentencePieceProcessor()
        self._pieces.LoadFromSerializedProto(model)
        self.vocabulary = self._pieces.get_piece_size()
        self.pad, self.eos, self.bos = (
            self._pieces.pad_id(),
            self._pieces.eos_id(),
            self._pieces.bos_id(),
        )

    def __reduce__(self):
        return Tokenizer, (self.model,)

    @staticmethod
    def load(path: str | Path) -> "Tokenizer":
        """Raises InputError when the file cannot be read, is no model, or lacks pad, eos or bos."""
        try:
            tokenizer = Tokenizer(Path(path).read_bytes())
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

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a templated prompt, the begin-of-sequence token first."""
        return [self.bos, *self._pieces.encode(text)]

    def encode_completion(self, text: str) -> list[int]:
        """Ids of a completion, the end-of-sequence token last."""
        return [*self._pieces.encode(text), self.eos]

    def stops(self, pieces: Iterable[str]) -> tuple[int, ...]:
        """The ids that end a completion: the end of the sequence, and these pieces.

        Raises InputError for a piece that the model does not have.
        """
        ids = {piece: self._pieces.piece_to_id(piece) for piece in pieces}
        unknown = [piece for piece, number in ids.items() if number == self._pieces.unk_id()]
        if unknown:
            raise InputError(f"rollout.stop_tokens: the tokenizer has no piece {unknown[0]!r}")
        return self.eos, *ids.values()

    def text_end(self, strings: Sequence[str], tokens: Sequence[int], seen: int) -> int:
        """The number of tokens with which the text first contains one of the strings; 0: none does.

        The first `seen` tokens are known to contain none. It is looked for in the text: a string
        may be several tokens, or end inside of one.
        """

        def contains(count: int) -> bool:
            text = self.decode(tokens[:count])
            return any(string in text for string in strings)

        if not contains(len(tokens)):
            return 0
        return next(count for count in range(seen + 1, len(tokens) + 1) if contains(count))

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of a completion, without pad, begin and end tokens."""
        special = {self.pad, self.eos, self.bos}
        return self._pieces.decode([int(token) for token in tokens if int(token) not in special])


def train_tokenizer(texts: Iterable[str], pieces: int) -> Tokenizer:
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
    return Tokenizer(output.getvalue())
