"""A trained policy as a folder that other tools load: weights, tokenizer, how to sample, a card."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
from safetensors.numpy import save_file

from configs.errors import InputError
from configs.load import load
from configs.run_folder import RunFolder, write_json, write_text
from configs.schema import RunConfig
from learner.peft import write_adapter
from learner.policy.architecture import FAMILIES, Architecture, architecture_of, config_json
from learner.policy.as_json import save_as_json
from learner.policy.folder import is_hugging_face
from learner.policy.kaggle import save_checkpoint
from learner.policy.layout import as_stored
from learner.policy.lora import merged
from learner.policy.sentence_pieces import SentencePieceTokenizer
from learner.policy.tokenizer import Tokenizer, load_tokenizer
from learner.stored import checkpoint_steps

FORMATS = ("hf", "orbax", "peft")
SHARD_BYTES = 5 * 10**9
_DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
Params = dict[str, np.ndarray]


def export_run(run: Path, step: str, to: str, out: Path) -> int:
    """Write the policy of a run's step into the new folder `out`; returns the step.

    `step`: "last", "best" (by reward) or a number, 0 being the policy that GRPO began with; `to`:
    one of FORMATS. Of a run with an adapter, "hf" and "orbax" have it merged; "peft" is the adapter
    alone, and writes what it lies over to `RUN/export/hf-0` where that was not published.
    Raises InputError for a step, a run or a folder that does not go.
    """
    folder = RunFolder(run.absolute())
    if not folder.config_file.exists():
        raise InputError(f"{run}: no run folder, {folder.config_file} is missing")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"--out {out}: the folder is not empty; give a new one")
    config = load(folder.config_file)
    number = chosen_step(folder.checkpoints, step)
    tokenizer = load_tokenizer(folder.path)
    found = architecture_of(config.model, tokenizer.vocabulary)
    _check_format(to, config, found, number)
    params = read_params(folder.checkpoints, number)
    base = _base(folder, config) if to == "peft" else None
    if config.lora.rank and number and not base:
        params = _merged(found, config, read_params(folder.checkpoints, 0), params)
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        if base:
            write_adapter(params, config.lora, base, unfinished)
        elif to == "orbax":
            save_checkpoint(found, params, unfinished / "params")
        else:
            _write_hugging_face(params, found, config, tokenizer, unfinished)
        if not base:  # beside an adapter, peft would cut the embedding to the tokenizer's ids
            _write_tokenizer(config, tokenizer, unfinished)
        write_text(unfinished / "README.md", _card(folder, config, number))
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return number


def _check_format(to: str, config: RunConfig, found: Architecture, step: int) -> None:
    if to == "orbax" and found.family != "gemma2":
        raise InputError(f"--to orbax: that is Gemma2's layout, the run is of a {found.family}")
    if to == "peft" and not (config.lora.rank and step):
        why = "step 0 has none" if config.lora.rank else "the run trained all weights (lora.rank)"
        raise InputError(f"--to peft: that is an adapter, and {why}; give --to hf")


def _base(folder: RunFolder, config: RunConfig) -> Path:
    """A Hugging Face folder with the weights that the run's adapter lies over."""
    published = Path(config.model.weights).absolute()
    if config.model.weights and not config.sft.steps and is_hugging_face(published):
        return published
    exported = folder.path / "export" / "hf-0"
    if not exported.exists():
        export_run(folder.path, "0", "hf", exported)
    return exported


def _merged(found: Architecture, config: RunConfig, base: Params, adapter: Params) -> Params:
    return jax.tree.map(np.asarray, merged(found, config.lora, base, adapter))


def chosen_step(checkpoints: Path, step: str) -> int:
    """Raises InputError for a step that is not kept."""
    steps = checkpoint_steps(checkpoints)
    if (checkpoints / "reference").exists():
        steps = [0, *steps]
    if not steps:
        raise InputError(f"{checkpoints.parent}: no checkpoint of GRPO yet")
    if step == "last":
        return steps[-1]
    if step == "best":
        return max(steps, key=lambda number: _reward(checkpoints, number))
    if not step.isdecimal() or int(step) not in steps:
        kept = ", ".join(map(str, steps))
        raise InputError(f"--step {step}: give best, last, or one that is kept: {kept}")
    return int(step)


def read_params(checkpoints: Path, step: int) -> Params:
    """What is trained in a checkpoint, float32, without moments, whole in memory; of step 0 what
    GRPO began from.

    Raises InputError when it is damaged.
    """
    place = checkpoints / "reference" if step == 0 else checkpoints / "grpo" / str(step) / "state"
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            metadata: Any = checkpointer.metadata(place).item_metadata
            names = list(metadata.tree if step == 0 else metadata.tree["params"])
            wanted: Any = dict.fromkeys(names, 0)
            how: Any = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
            if step:
                wanted, how = {"params": wanted}, {"params": how}
            restored = checkpointer.restore(
                place,
                args=ocp.args.PyTreeRestore(item=wanted, restore_args=how, partial_restore=True),
            )
    except Exception as error:  # Orbax and its stores raise all kinds
        raise InputError(
            f"checkpoint {place} cannot be read ({type(error).__name__}); choose another --step"
        ) from error
    return restored["params"] if step else restored


def _reward(checkpoints: Path, step: int) -> float:
    record = checkpoints / "grpo" / str(step) / "record" / "metadata"
    kept = json.loads(record.read_text()) if record.exists() else {}
    reward = (kept.get("metrics") or {}).get("reward")
    return float("-inf") if reward is None else reward


def _write_hugging_face(
    params: Params, found: Architecture, config: RunConfig, tokenizer: Tokenizer, out: Path
) -> None:
    written = config_json(config.model, tokenizer.vocabulary)
    name = written.get("dtype") or written.get("torch_dtype") or "float32"
    if name not in _DTYPES:
        name = "float32"
    written |= {"architectures": [FAMILIES[found.family]], "eos_token_id": tokenizer.eos}
    written |= {"bos_token_id": tokenizer.bos, "pad_token_id": tokenizer.pad}
    write_json(out / "config.json", written | {"torch_dtype": name})
    dtype = np.dtype(_DTYPES[name])
    shards = list(_shards(params, found, dtype))
    total = sum(value.nbytes for shard in shards for value in shard.values())
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = "model.safetensors"
        if len(shards) > 1:
            file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, out / file, metadata={"format": "pt"})
        index |= dict.fromkeys(shard, file)
    if len(shards) > 1:
        content = {"metadata": {"total_size": total}, "weight_map": index}
        write_json(out / "model.safetensors.index.json", content)


def _shards(params: Params, found: Architecture, dtype: np.dtype) -> Iterator[Params]:
    """The stored tensors in files of at most `SHARD_BYTES`."""
    shard: Params = {}
    for tensors in as_stored(found, params, dtype):
        size = sum(value.nbytes for value in (*shard.values(), *tensors.values()))
        if shard and size > SHARD_BYTES:
            yield shard
            shard = {}
        shard |= tensors
    yield shard


def _write_tokenizer(config: RunConfig, tokenizer: Tokenizer, out: Path) -> None:
    tokenizer.save(out)
    if isinstance(tokenizer, SentencePieceTokenizer):
        save_as_json(tokenizer, config.data, out)
    write_json(out / "generation_config.json", _generation(config, tokenizer))


def _generation(config: RunConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "do_sample": True,
        "temperature": config.rollout.temperature,
        "max_new_tokens": config.rollout.max_new_tokens,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": list(tokenizer.stops(config.rollout.stop_tokens)),
        "pad_token_id": tokenizer.pad,
    }


def _card(folder: RunFolder, config: RunConfig, step: int) -> str:
    """The model card: what it was trained on, how, and what came of it."""
    summary = json.loads(folder.summary_file.read_text()) if folder.summary_file.exists() else {}
    lines = [
        "---",
        "library_name: transformers",
        "tags: [grpo, reasoning, showwork]",
        "---",
        f"# {folder.path.name}, step {step}",
        "",
        "Trained with Showwork to answer as `<reasoning>...</reasoning><answer>...</answer>`, by",
        "group-relative policy optimisation (GRPO).",
        "",
        f"- Start: {config.model.weights or config.model.preset or 'random weights'}",
        f"- Data: {config.data.train}; held out: {config.data.heldout}",
        f"- Template: `{config.data.template!r}`",
        f"- Rubric: {config.judge.rubric} (below)",
        f"- Steps: {step} of {config.loop.steps}, {config.loop.groups_per_step} prompts x "
        f"{config.rollout.group_size} completions, temperature {config.rollout.temperature}",
        f"- Learning rate {config.learner.learning_rate}, KL {config.grpo.kl_coefficient}, "
        + (f"LoRA of rank {config.lora.rank}" if config.lora.rank else "all weights"),
        f"- Seed: {config.run.seed}; commit: {summary.get('git_commit') or 'unknown'}",
        "",
        "## Results",
        "",
        *_results(summary),
        "",
        "## Rubric",
        "",
        "```toml",
        folder.rubric_file.read_text().strip() if folder.rubric_file.exists() else "",
        "```",
    ]
    return "\n".join(lines) + "\n"


def _results(summary: dict[str, Any]) -> list[str]:
    """Held-out accuracy before and after, as the run measured it at its end."""
    after = summary.get("eval_after") or {}
    if not after:
        return ["The run was not evaluated to its end."]
    lines = ["| domain | mode | accuracy (95 %) | format | reward |", "|---|---|---|---|---|"]
    for domain, modes in after.items():
        for mode, found in modes.items():
            low, high = found["interval"]
            lines.append(
                f"| {domain} | {mode} | {found['accuracy']:.3f} ({low:.3f}-{high:.3f}) | "
                f"{found['format']:.3f} | {found['reward']:.3f} |"
            )
    return lines
