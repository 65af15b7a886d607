"""Gemma2 as Kaggle ships it: an Orbax checkpoint of the Flax parameters.

Its tree is flat but for the last level: {"transformer/layer_0/attn/q_einsum": {"w": array}}.
Attention is stored as in Tunix; gate and up are one array, for the larger models transposed.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from configs.errors import InputError
from learner.policy.architecture import PRESETS, Architecture
from learner.policy.layout import stored_layout

_RENAMED = {"post_attn_norm": "post_attention_norm"}
Place = tuple[str, str]  # module path, leaf


def read_shapes(checkpoint: Path) -> dict[Place, tuple[int, ...]]:
    """Of every array, from the metadata alone. Raises InputError when it cannot be read."""
    try:
        metadata: Any = ocp.PyTreeCheckpointer().metadata(checkpoint).item_metadata
        tree = metadata.tree
        return {
            (module, leaf): tuple(array.shape)
            for module, leaves in tree.items()
            for leaf, array in leaves.items()
        }
    except Exception as error:  # Orbax and its stores raise all kinds
        first = str(error).strip().splitlines()[:1]
        raise InputError(
            f"model.weights: {checkpoint} is no Gemma2 checkpoint that Orbax can read "
            f"({type(error).__name__}: {''.join(first)[:200]}); fetch it again"
        ) from error


def architecture_of_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """The config.json that the checkpoint does not have, told by its shapes."""
    shapes = read_shapes(checkpoint)
    names = [module for module, _ in shapes if module.startswith("transformer/layer_")]
    layers = len({name.split("/")[1] for name in names})
    try:
        rows, width = shapes["transformer/embedder", "input_embedding"]
        heads, _, head_dim = shapes["transformer/layer_0/attn/q_einsum", "w"]
        _, kv_heads, _, _ = shapes["transformer/layer_0/attn/kv_einsum", "w"]
        hidden, _ = shapes["transformer/layer_0/mlp/linear", "w"]
        shapes["transformer/layer_0/post_ffw_norm", "scale"]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"model.weights: {checkpoint} holds no Gemma2 ({error} does not fit); give the Flax "
            "checkpoint of a Gemma2, or a Hugging Face folder"
        ) from error
    return PRESETS["gemma2_2b"] | {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "query_pre_attn_scalar": head_dim,
        "vocab_size": rows,
    }


def check_checkpoint(checkpoint: Path, found: Architecture) -> None:
    """Raises one InputError that names every array that is missing, unexpected or wrong."""
    shapes, wanted = read_shapes(checkpoint), _shapes(found)
    problems = [f"missing: {'.'.join(place)}" for place in sorted(wanted.keys() - shapes.keys())]
    problems += [f"unexpected: {'.'.join(place)}" for place in sorted(shapes.keys() - wanted)]
    problems += [
        f"{'.'.join(place)} has the shape {shapes[place]}, wanted is {allowed[0]}"
        for place, allowed in sorted(wanted.items())
        if place in shapes and shapes[place] not in allowed
    ]
    if problems:
        raise InputError("\n  ".join([f"model.weights = {checkpoint}:", *problems[:8]]))


def load_checkpoint(
    found: Architecture, checkpoint: Path, shardings: Mapping[str, Sharding]
) -> dict[str, jax.Array]:
    """The float32 parameters, each in its sharding. Raises InputError as `check_checkpoint`."""
    check_checkpoint(checkpoint, found)
    loaded: dict[str, jax.Array] = {}
    places = {name: _place(name) for name in stored_layout(found)}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        for place in sorted(set(places.values())):
            names = [name for name, of in places.items() if of == place]
            sharding = shardings[names[0]] if len(names) == 1 else _stacked(shardings[names[0]])
            value = _read(checkpointer, checkpoint, place, sharding)
            if len(names) == 1:
                loaded[names[0]] = value
                continue
            for name in names:  # gate and up
                part = value[0 if "gate" in name else 1]
                turned = part.T if part.shape[1] == found.width else part
                loaded[name] = jax.device_put(turned, shardings[name])
    return loaded


def save_checkpoint(found: Architecture, params: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write parameters so that `load_checkpoint` and Gemma's own library read them."""
    tree: dict[str, dict[str, np.ndarray]] = {}
    for name, value in params.items():
        module, leaf = _place(name)
        if "gate_proj" in name:
            up = params[name.replace("gate_proj", "up_proj")]
            tree.setdefault(module, {})[leaf] = np.stack([value, up])
        elif "up_proj" not in name:
            tree.setdefault(module, {})[leaf] = np.asarray(value)
    shutil.rmtree(folder, ignore_errors=True)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(folder.absolute(), args=ocp.args.PyTreeSave(tree))


def _read(checkpointer: ocp.Checkpointer, checkpoint: Path, place: Place, sharding: Sharding):
    module, leaf = place
    wanted = {module: {leaf: 0}}
    how = {module: {leaf: ocp.ArrayRestoreArgs(sharding=sharding, dtype=jnp.float32)}}
    restored = checkpointer.restore(
        checkpoint.absolute(),
        args=ocp.args.PyTreeRestore(item=wanted, restore_args=how, partial_restore=True),
    )
    return restored[module][leaf]


def _stacked(sharding: Sharding) -> Sharding:
    """Gate and up come as one array whose layout is not known before: whole on each device."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec())
    return sharding


def _place(name: str) -> Place:
    """Where one of our parameters lies."""
    *modules, leaf = name.split(".")
    if modules[0] == "layers":
        modules = [f"layer_{modules[1]}", *modules[2:]]
    if modules[-1] in ("gate_proj", "up_proj"):
        modules, leaf = [*modules[:-1], "gating_einsum"], "w"
    elif modules[-1] == "down_proj":
        modules, leaf = [*modules[:-1], "linear"], "w"
    return "/".join(["transformer", *(_RENAMED.get(part, part) for part in modules)]), leaf


def _shapes(found: Architecture) -> dict[Place, list[tuple[int, ...]]]:
    """The shapes that each array may have."""
    shapes: dict[Place, list[tuple[int, ...]]] = {}
    for name, stored in stored_layout(found).items():
        shape = stored.whole
        if "gate_proj" in name:
            shapes[_place(name)] = [(2, *shape), (2, *reversed(shape))]
        elif "up_proj" not in name:
            shapes[_place(name)] = [shape]
    return shapes
