"""Published weights: from their folder straight into the shardings of a mesh.

Each host reads, tensor by tensor, the rows that its own devices hold. Nothing else is in memory.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import psutil
from jax.sharding import Sharding

from configs.errors import InputError
from learner.policy.architecture import Architecture
from learner.policy.folder import Tensors, kaggle_checkpoint
from learner.policy.kaggle import load_checkpoint
from learner.policy.layout import Stored, stored_layout


def load_weights(
    found: Architecture, folder: Path, shardings: Mapping[str, Sharding]
) -> dict[str, jax.Array]:
    """The float32 parameters in a folder of Hugging Face or Kaggle, each in its sharding.

    Raises InputError for a folder that does not hold exactly the architecture's tensors.
    """
    if kaggle := kaggle_checkpoint(folder):
        return load_checkpoint(found, kaggle, shardings)
    loaded: dict[str, jax.Array] = {}
    with Tensors(folder) as tensors:
        tensors.check(found)
        for name, stored in stored_layout(found).items():

            def rows_of(index: Any, stored: Stored = stored) -> np.ndarray:
                return stored.read(tensors.read, index)

            loaded[name] = jax.make_array_from_callback(stored.whole, shardings[name], rows_of)
            loaded[name].block_until_ready()  # its host copy goes before the next one comes
    return loaded


def check_room(shapes: Mapping[str, Any], shardings: Mapping[str, Sharding], copies: int) -> None:
    """Raises InputError when `copies` of the float32 parameters do not fit into memory.

    What activations, logits and gradients need comes on top.
    """
    device = jax.local_devices()[0]
    needed = copies * sum(
        4 * int(np.prod(shardings[name].shard_shape(shape.shape))) for name, shape in shapes.items()
    )
    stats = device.memory_stats() or {}
    limit = stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)
    if device.platform == "cpu":
        limit = psutil.virtual_memory().available // jax.local_device_count()
    if limit and needed > limit:
        raise InputError(
            f"model.weights: parameters, moments and reference take {needed / 2**30:.1f} GiB on "
            f"each {device.device_kind} device, {limit / 2**30:.1f} GiB are free; give more "
            "devices with learner.fsdp, or more hosts"
        )
