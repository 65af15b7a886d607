"""An engine over several devices of a host: which of them holds what.

All devices work on every slot. Each holds its share of the heads, of the feed-forward part and of
the vocabulary, and the keys and values of its heads; XLA puts in what they tell each other. What
does not divide by their number is whole on each. Weights then take a part of a device's memory
each, and log-probabilities change by rounding: sums are taken in parts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from configs.errors import InputError
from learner.policy.model import PolicyModel

_AXIS = "tp"
AxisOf = Callable[[str, Any], int | None]


def engine_mesh(count: int) -> Mesh | None:
    """The first `count` devices of this process; None for one, which needs no mesh.

    Raises InputError when there are fewer.
    """
    found = jax.local_devices()
    if count > len(found):
        raise InputError(
            f"rollout.tp = {count}: this rollout actor has {len(found)} {found[0].device_kind} "
            "device(s); lower it, or give fewer rollout.actors, which share a host's devices"
        )
    if count == 1:
        return None
    return jax.make_mesh((count,), (_AXIS,), (AxisType.Auto,), devices=found[:count])


def whole(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """The same on every device."""
    return x if mesh is None else jax.lax.with_sharding_constraint(x, NamedSharding(mesh, P()))


def placed(arrays: Any, mesh: Mesh | None, axis_of: AxisOf) -> Any:
    """A tree of abstract arrays in dictionaries, lists or tuples, with where each lies:
    `axis_of(name, array)`, of the key nearest to it, is split over the devices."""
    if mesh is None:
        return arrays

    def place(path, array) -> jax.ShapeDtypeStruct:
        keys = [step.key for step in path if hasattr(step, "key")]
        sharding = _split(mesh, axis_of(keys[-1] if keys else "", array), array.shape)
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    return jax.tree_util.tree_map_with_path(place, arrays)


def placed_params(model: PolicyModel, mesh: Mesh | None) -> dict[str, jax.ShapeDtypeStruct]:
    """The parameters in compute dtype, split by the axes that the model's family names."""
    specs = model.partition_specs()

    def axis_of(name: str, _) -> int | None:
        return next((at for at, axis in enumerate(specs[name]) if axis == _AXIS), None)

    found = {
        name: jax.ShapeDtypeStruct(value.shape, model.compute_dtype)
        for name, value in model.abstract_params().items()
    }
    return placed(found, mesh, axis_of)


def putting(model: PolicyModel, mesh: Mesh | None) -> Callable[[str, jax.Array], jax.Array]:
    """What moves a parameter, by its name, to where it lies; an adapter's go everywhere."""
    if mesh is None:
        return lambda _, value: value
    places = {name: value.sharding for name, value in placed_params(model, mesh).items()}
    return lambda name, value: jax.device_put(value, places.get(name, NamedSharding(mesh, P())))


def jitted(function: Callable, mesh: Mesh | None, results: Any, donated: Sequence[int] = ()) -> Any:
    """Compiled so that its results lie where these abstract ones do."""
    if mesh is None:
        return jax.jit(function, donate_argnums=donated)
    everywhere = NamedSharding(mesh, P())
    out = jax.tree.map(lambda one: one.sharding or everywhere, results)
    return jax.jit(function, donate_argnums=donated, out_shardings=out)


def _split(mesh: Mesh, axis: int | None, shape: tuple[int, ...]) -> NamedSharding:
    """One axis over the devices, if they divide it."""
    if axis is None or shape[axis] % mesh.size:
        return NamedSharding(mesh, P())
    return NamedSharding(mesh, P(*(None,) * axis, _AXIS))
