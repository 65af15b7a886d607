"""What a network looks like, whichever family it is of: sizes, windows, rotations, caps.

It is read from a Hugging Face `config.json`, from a preset, or from the sizes in the configuration.
What the code does not compute as the family's own implementation does is refused, never guessed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.errors import InputError
from configs.schema import ModelSection

FAMILIES = {  # Hugging Face's model_type -> its class, and ours
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
GEMMAS = ("gemma2", "gemma3_text")

_GEMMA2 = {
    "model_type": "gemma2",
    "vocab_size": 256_000,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": True,
    "hidden_activation": "gelu_pytorch_tanh",
}
PRESETS: dict[str, dict[str, Any]] = {  # as the published config.json of each says
    "gemma2_2b": _GEMMA2
    | {
        "num_hidden_layers": 26,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
    "gemma2_9b": _GEMMA2
    | {
        "num_hidden_layers": 42,
        "hidden_size": 3584,
        "intermediate_size": 14336,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
    },
}

# what a config.json that leaves a key out means by it; they differ between the families
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma2": _GEMMA2,
    "gemma3_text": {
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
        "tie_word_embeddings": True,
        "hidden_activation": "gelu_pytorch_tanh",
    },
    "llama": {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "hidden_act": "silu"},
    "qwen2": {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "hidden_act": "silu"},
    "qwen3": {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "hidden_act": "silu", "head_dim": 128},
}


@dataclass(frozen=True)
class Rotation:
    """Rotary position embedding of a layer."""

    theta: float
    scaling: tuple[tuple[str, Any], ...] = ()  # as "rope_type" and its numbers; () is none

    def frequencies(self, head_dim: int) -> np.ndarray:
        """[head_dim / 2] float32: radians per position."""
        rates = self.theta ** -(np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
        numbers = dict(self.scaling)
        match numbers.get("rope_type", "default"):
            case "linear":
                rates = rates / numbers["factor"]
            case "llama3":
                rates = _llama3_rates(rates, numbers)
        return rates.astype(np.float32)


@dataclass(frozen=True)
class Architecture:
    """A decoder of one of the `FAMILIES`."""

    family: str
    layers: int
    width: int  # of the residual stream
    hidden: int  # of the feed-forward layers
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int  # rows of the embedding
    windows: tuple[int | None, ...]  # of each layer: tokens it sees, itself included; None: all
    rotations: tuple[Rotation, ...]  # of each layer
    tied: bool  # the embedding is the output projection too
    norm_epsilon: float
    query_scale: float  # of the attention scores


def architecture_of(section: ModelSection, vocabulary: int | None = None) -> Architecture:
    """The network of a configuration.

    `vocabulary`: ids of the tokenizer; a network from scratch, or of a preset without weights, has
    as many. Raises InputError for an architecture that this code does not have.
    """
    if vocabulary is None and not (section.architecture or section.preset):
        raise ValueError("a model from scratch needs the size of its tokenizer's vocabulary")
    return from_hugging_face(config_json(section, vocabulary or _GEMMA2["vocab_size"]))


def config_json(section: ModelSection, vocabulary: int) -> dict[str, Any]:
    """What a `config.json` says of the network of a configuration."""
    if section.architecture:
        return dict(section.architecture)
    if section.preset:
        return PRESETS[section.preset] | {"vocab_size": vocabulary}
    return from_sizes(section, vocabulary)


def from_sizes(section: ModelSection, vocabulary: int) -> dict[str, Any]:
    """The `config.json` of a Gemma2 with the sizes in the configuration."""
    return _GEMMA2 | {
        "num_hidden_layers": section.layers,
        "hidden_size": section.embed_dim,
        "intermediate_size": section.hidden_dim,
        "num_attention_heads": section.heads,
        "num_key_value_heads": section.kv_heads,
        "head_dim": section.head_dim,
        "query_pre_attn_scalar": section.head_dim,
        "sliding_window": section.sliding_window,
        "vocab_size": vocabulary,
    }


def from_hugging_face(config: Mapping[str, Any]) -> Architecture:
    """Raises InputError naming what is missing or not supported in a `config.json`."""
    family = config.get("model_type", "")
    if family not in FAMILIES:
        raise InputError(
            f"config.json: model_type = {family!r} is not supported; these are: "
            + ", ".join(FAMILIES)
        )
    config = _DEFAULTS[family] | {key: value for key, value in config.items() if value is not None}
    try:
        heads, width = config["num_attention_heads"], config["hidden_size"]
        layers = config["num_hidden_layers"]
        kinds = _layer_kinds(config, layers)
        found = Architecture(
            family=family,
            layers=layers,
            width=width,
            hidden=config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads", heads),
            head_dim=config.get("head_dim", width // heads),
            vocabulary=config["vocab_size"],
            windows=tuple(config["sliding_window"] if local else None for local in kinds),
            rotations=tuple(_rotation(config, local) for local in kinds),
            tied=config.get("tie_word_embeddings", False),
            norm_epsilon=config["rms_norm_eps"],
            query_scale=config.get("query_pre_attn_scalar", 0) ** -0.5
            if family in GEMMAS
            else config.get("head_dim", width // heads) ** -0.5,
        )
    except KeyError as error:
        raise InputError(f"config.json: {error.args[0]} is missing") from error
    _check(config, found)
    return found


def _layer_kinds(config: Mapping[str, Any], layers: int) -> list[bool]:
    """Is each layer local, with a sliding window?"""
    if given := config.get("layer_types"):
        return [kind == "sliding_attention" for kind in given]
    match config["model_type"]:
        case "gemma2":
            return [number % 2 == 0 for number in range(layers)]
        case "gemma3_text":
            every = config.get("sliding_window_pattern", 6)
            return [(number + 1) % every != 0 for number in range(layers)]
        case "qwen2" | "qwen3" if config.get("use_sliding_window"):
            first = config.get("max_window_layers", 28)
            return [number >= first for number in range(layers)]
    return [False] * layers


def _rotation(config: Mapping[str, Any], local: bool) -> Rotation:
    kind = "sliding_attention" if local else "full_attention"
    given = config.get("rope_parameters") or {}
    given = given.get(kind, given)  # newer files have one set a kind of layer
    if config["model_type"] == "gemma3_text" and local and "rope_theta" not in given:
        return Rotation(float(config["rope_local_base_freq"]))
    scaling = {**(config.get("rope_scaling") or {}), **given}
    theta = float(scaling.pop("rope_theta", config["rope_theta"]))
    scaling.setdefault("rope_type", scaling.pop("type", "default"))
    scaling.pop("type", None)
    if scaling["rope_type"] == "default":
        return Rotation(theta)
    if scaling["rope_type"] not in ("linear", "llama3"):
        raise InputError(
            f"config.json: rope_type = {scaling['rope_type']!r} is not supported; default, linear "
            "and llama3 are"
        )
    return Rotation(theta, tuple(sorted(scaling.items())))


def _llama3_rates(rates: np.ndarray, numbers: Mapping[str, Any]) -> np.ndarray:
    """Llama 3.1's stretching of slow rotations, as in `transformers`' modeling_rope_utils."""
    low, high = numbers["low_freq_factor"], numbers["high_freq_factor"]
    turns = numbers["original_max_position_embeddings"] * rates / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - smooth) * rates / numbers["factor"] + smooth * rates


def _check(config: Mapping[str, Any], found: Architecture) -> None:
    """Raises InputError for what the family's Tunix model computes otherwise."""
    expected: dict[str, tuple[Any, Any]] = {
        name: (config.get(name, value), value) for name, value in _FIXED.items()
    }
    match found.family:
        case "gemma2":
            caps = ("final_logit_softcapping", "attn_logit_softcapping")
            expected |= {name: (config[name], _GEMMA2[name]) for name in caps}
            expected["rope_theta"] = (found.rotations[0].theta, 10_000.0)
            expected |= _gemma_numbers(config, found, [found.head_dim])
        case "gemma3_text":
            expected |= {"final_logit_softcapping": (config.get("final_logit_softcapping"), None)}
            expected |= _gemma_numbers(config, found, [found.head_dim, found.width // found.heads])
        case _:
            expected["hidden_act"] = (config["hidden_act"], "silu")
    for name, (value, wanted) in expected.items():
        if value != wanted:
            raise InputError(
                f"config.json: {name} = {value!r} is not supported for {found.family}; "
                f"{wanted!r} is"
            )
    if len(found.windows) != found.layers:
        raise InputError(
            f"config.json: layer_types has {len(found.windows)} entries for {found.layers} layers"
        )


_FIXED = {"mlp_bias": False, "attention_bias": False, "pretraining_tp": 1}


def _gemma_numbers(config: Mapping[str, Any], found: Architecture, scalars: list[int]) -> dict:
    """(value, expected value) of what both Gemmas have as constants."""
    scalar = config["query_pre_attn_scalar"]
    return {
        "hidden_activation": (config["hidden_activation"], "gelu_pytorch_tanh"),
        "rms_norm_eps": (found.norm_epsilon, 1e-6),
        "tie_word_embeddings": (found.tied, True),
        "query_pre_attn_scalar": (scalar, scalar if scalar in scalars else scalars[0]),
    }
