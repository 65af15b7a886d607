"""What must be right before anything is started: files, rows, tokenizer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from actors.bench import Judging
from actors.data.synthetic import write_synthetic
from actors.data.tables import check_prompt_lengths, load_table
from actors.rewards.format import render
from actors.stopping import endings_of
from configs.run_folder import RunFolder, write_text
from configs.schema import RunConfig
from learner.policy.chat import prompt_ids
from learner.policy.folder import check_weights
from learner.policy.tokenizer import Tokenizer, find_tokenizer, load_tokenizer, train_tokenizer

SYNTHETIC = "synthetic"
_ROWS_FOR_TOKENIZER = 4000  # more change no piece of a vocabulary of a few hundred


@dataclass(frozen=True)
class Corpus:
    """The checked data of a run, and what its completions are judged by."""

    train: pa.Table
    heldout: pa.Table
    tokenizer: Tokenizer
    judging: Judging


def prepare(folder: RunFolder, config: RunConfig, judging: Judging) -> Corpus:
    """Write what is synthetic, read and check every row, make or load the tokenizer, keep the
    rubric.

    Raises InputError for a file, a row or a prompt that cannot be used.
    """
    write_text(folder.rubric_file, judging.rubric.source)
    train_path, heldout_path = data_paths(folder.data, config)
    train, heldout = load_table(train_path), load_table(heldout_path)
    tokenizer = _tokenizer(folder.path, train, config)
    check_weights(config.model, tokenizer.vocabulary)
    endings_of(config, tokenizer)

    def count(prompt: str) -> int:
        return len(prompt_ids(prompt, tokenizer, config.data))

    for table, path in ((train, train_path), (heldout, heldout_path)):
        check_prompt_lengths(table, path, count, config.rollout.max_prompt_tokens)
    return Corpus(train, heldout, tokenizer, replace(judging, cache=folder.verdicts_file))


def data_paths(folder: Path, config: RunConfig) -> tuple[Path, Path]:
    """The two files; the synthetic ones are written on first use, from the run's seed."""
    data, sft = config.data, config.sft
    written = folder / "train.parquet", folder / "heldout.parquet"
    if SYNTHETIC in (data.train, data.heldout) and not all(path.exists() for path in written):
        folder.mkdir(parents=True, exist_ok=True)
        write_synthetic(
            folder,
            rows=data.synthetic_rows,
            heldout_rows=data.synthetic_heldout_rows,
            seed=config.run.seed,
            clean=sft.clean,
            slips=sft.slips,
        )
    return (
        written[0] if data.train == SYNTHETIC else Path(data.train),
        written[1] if data.heldout == SYNTHETIC else Path(data.heldout),
    )


def _tokenizer(folder: Path, train: pa.Table, config: RunConfig) -> Tokenizer:
    """The one that is given, else that of the run, else that of the weights, else a new one.

    A copy is kept in the run's folder.
    """
    section = config.model
    given = section.tokenizer or find_tokenizer(folder)
    if not given and section.weights:
        given = find_tokenizer(Path(section.weights))
    if given:
        tokenizer = load_tokenizer(given)
    else:
        tokenizer = train_tokenizer(_texts(train, config), section.tokenizer_pieces)
    tokenizer.save(folder)
    return tokenizer


def _texts(table: pa.Table, config: RunConfig) -> Iterator[str]:
    columns = table.select(["prompt", "reasoning", "answer"])
    for batch in columns.slice(0, _ROWS_FOR_TOKENIZER).to_batches(max_chunksize=512):
        for row in batch.to_pylist():
            yield config.data.template.replace("{prompt}", row["prompt"])
            yield render(row["reasoning"], row["answer"])
