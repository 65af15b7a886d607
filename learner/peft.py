"""An adapter in the format of PEFT: `adapter_config.json` and `adapter_model.safetensors`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from configs.lora import LoraSection
from configs.run_folder import write_json

_PREFIX = "base_model.model."  # of a tensor's name: PEFT's wrapper around the model


def write_adapter(
    adapter: Mapping[str, np.ndarray], section: LoraSection, base: Path, folder: Path
) -> None:
    """Factors [rank, in] and [out, rank] by their own names; `base`: the Hugging Face folder with
    the weights that the adapter lies over."""
    tensors = {_PREFIX + name: np.ascontiguousarray(value) for name, value in adapter.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": section.rank,
        "lora_alpha": section.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(section.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "modules_to_save": None,
    }
    write_json(folder / "adapter_config.json", described)
