"""The files every contestant of the GRPO race reads, in one folder.

`tokenizer.model` (SentencePiece), `pieces.json` (the same pieces, for contestants that have no
SentencePiece), `prompts.jsonl` (prompts and the token ids that they must become).
"""

import json
import random
import tempfile
from pathlib import Path

import sentencepiece as spm

from benchmarks.peers.work import BOS, EOS, PAD, UNK, WORK


def _question(rng: random.Random) -> tuple[str, str]:
    terms = [rng.randint(0, 999) for _ in range(rng.randint(7, 11))]
    text = f"Question: what is {' + '.join(map(str, terms))} ? Think step by step. Answer:"
    return text, str(sum(terms))


def _train_tokenizer(prefix: Path, lines: list[str]) -> spm.SentencePieceProcessor:
    """SentencePiece BPE with Gemma's special ids, of exactly the vocabulary's size."""
    symbols = ["<start_of_turn>", "<end_of_turn>"]

    def train(size: int, unused: int, hard: bool) -> spm.SentencePieceProcessor:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as corpus:
            corpus.write("\n".join(lines))
            corpus.flush()
            spm.SentencePieceTrainer.train(
                input=corpus.name,
                model_prefix=str(prefix),
                vocab_size=size,
                hard_vocab_limit=hard,
                user_defined_symbols=symbols + [f"<unused{i}>" for i in range(unused)],
                model_type="bpe",
                byte_fallback=True,
                split_digits=True,
                character_coverage=1.0,
                pad_id=PAD,
                eos_id=EOS,
                bos_id=BOS,
                unk_id=UNK,
                minloglevel=2,
            )
        return spm.SentencePieceProcessor(model_file=f"{prefix}.model")

    # So plain a text yields fewer pieces than asked for: the rest are <unusedN>, as in Gemma.
    natural = train(360, 0, hard=False).vocab_size()
    return train(WORK.vocabulary, WORK.vocabulary - natural, hard=True)


def write_inputs(folder: Path, count: int, seed: int = 0) -> None:
    """Write tokenizer, pieces and `count` prompts (about 45 to 64 tokens long) into `folder`."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    corpus = [" ".join(_question(rng)) for _ in range(4000)]
    tokenizer = _train_tokenizer(folder / "tokenizer", corpus)
    pieces = [
        [tokenizer.id_to_piece(i), tokenizer.get_score(i)] for i in range(tokenizer.vocab_size())
    ]
    (folder / "pieces.json").write_text(json.dumps(pieces))
    rows = []
    while len(rows) < count:
        text, answer = _question(rng)
        ids = [BOS, *tokenizer.encode(text)]
        if len(ids) <= WORK.max_prompt_tokens:
            rows.append({"prompt": text, "answer": answer, "ids": ids})
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
