"""Tiny random networks of every family and their logits by `transformers`: writes families.npz.

Run in an environment of its own, which the project's tests do not need:

    python -m venv /tmp/oracle && /tmp/oracle/bin/pip install torch==2.13.0 transformers==5.24.0
    /tmp/oracle/bin/python tests/learner/golden/make_families.py [FILE]

Weights are multiples of 1/1024, so that they take half the room and are exact in both libraries.
Rows are padded on the left and on the right; sliding windows are shorter than the rows.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers

TOKENS, ROWS, LENGTHS = 14, 3, (14, 9, 5)
SIZES = {
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
GEMMA = {"query_pre_attn_scalar": 8, "sliding_window": 4}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CASES = {
    "gemma2": ("gemma2", GEMMA),
    "gemma2-one-head-each": ("gemma2", GEMMA | {"num_key_value_heads": 4}),
    "gemma3": (
        "gemma3_text",
        GEMMA
        | {
            "num_key_value_heads": 1,
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "rope_parameters": {
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            },
        },
    ),
    "gemma3-scaled-by-width": (
        "gemma3_text",
        GEMMA | {"query_pre_attn_scalar": 4, "num_hidden_layers": 7},
    ),
    "llama-tied": ("llama", {"tie_word_embeddings": True, "rope_theta": 100_000.0}),
    "llama-3.1": ("llama", {"rope_theta": 500_000.0, "rope_scaling": LLAMA3}),
    "qwen2": ("qwen2", {"rope_theta": 1e6, "rms_norm_eps": 1e-5}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"rope_theta": 1e6, "tie_word_embeddings": True}),
    "qwen3-untied": ("qwen3", {"num_key_value_heads": 4}),
}


def network(family: str, more: dict, rng: np.random.Generator) -> tuple[dict, torch.nn.Module]:
    """The configuration as `transformers` writes it, and the network with fresh weights."""
    config = transformers.AutoConfig.for_model(family, **{**SIZES, **more})
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model.eval()
    with torch.no_grad():
        for value in model.parameters():
            scale = 0.3 if value.ndim == 1 else 1.5 / np.sqrt(value.shape[-1])
            drawn = scale * rng.standard_normal(value.shape)
            value.copy_(torch.tensor(np.round(drawn * 1024) / 1024, dtype=torch.float32))
    return config.to_dict(), model


def masks() -> dict[str, np.ndarray]:
    """[ROWS, TOKENS] of 0 and 1: pads on either side."""
    places = np.arange(TOKENS)[None]
    lengths = np.array(LENGTHS)[:, None]
    return {"right": places < lengths, "left": places >= TOKENS - lengths}


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("families.npz")
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for name, (family, more) in CASES.items():
        config, model = network(family, more, rng)
        arrays[f"{name}/config"] = np.array(json.dumps(config))
        tied = config.get("tie_word_embeddings")
        for key, value in model.state_dict().items():
            if not (tied and key == "lm_head.weight"):
                arrays[f"{name}/weights/{key}"] = value.numpy().astype(np.float16)
                assert (arrays[f"{name}/weights/{key}"] == value.numpy()).all(), key
        tokens = rng.integers(0, SIZES["vocab_size"], (ROWS, TOKENS))
        arrays[f"{name}/tokens"] = tokens.astype(np.int32)
        for side, mask in masks().items():
            mask_t = torch.tensor(mask.astype(np.int64))
            positions = torch.clamp(torch.cumsum(mask_t, -1) - 1, min=0)
            with torch.no_grad():
                logits = model(
                    torch.tensor(tokens), attention_mask=mask_t, position_ids=positions
                ).logits
            # those of the pads mean nothing
            arrays[f"{name}/{side}"] = np.where(mask[..., None], logits.numpy(), 0)
    np.savez_compressed(path, **arrays)
    print(path, {name.split("/")[0] for name in arrays})


if __name__ == "__main__":
    main()
