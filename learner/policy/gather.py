"""Weights that are whole only while they are used.

Parameters, moments and gradients lie split over the mesh axis `fsdp`; each layer's are brought
together just before it runs, and once more for its gradient, so that the weights of one layer exist
as a whole at a time. The vocabulary is the largest matrix and is never brought together: its words
are split over all devices that share a copy, which exchange states instead, and each token's
vector is looked up in parts.

V = vocabulary, D = width, R = rows, L = their slots.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

_ROWS = ("data", "fsdp")


def is_split(mesh: Mesh | None) -> TypeGuard[Mesh]:
    """Whether there is anything to bring together."""
    return mesh is not None and mesh.shape["fsdp"] > 1


def through_layers(run: Callable, layers: Sequence, kinds: Sequence, module: Any, x, caches):
    """What comes out of the last layer, and the new cache of each: a list like `caches`.

    `run(layer, number, x, cache)` gives the new cache and the output of a layer. `kinds`: what
    layers differ in but their weights. `module.again`: nothing of a layer is kept for the gradient
    but what went in. Split layers run in a loop over their period, since a compiler that sees all
    of them in a row brings all of them together in advance.
    """
    if is_split(module.mesh):
        return _in_a_loop(run, layers, _period(kinds), module, x, caches)
    new_caches = []
    for number, (layer, cache) in enumerate(zip(layers, caches, strict=True)):
        here = _again(run, layer, number) if module.again else partial(run, layer, number)
        new_cache, x = here(x, cache)
        new_caches.append(new_cache)
    return x, new_caches


def _again(run: Callable, layer: nnx.Module, number: int) -> Callable:
    graph, state = nnx.split(layer)

    def here(state, x, cache):
        return run(nnx.merge(graph, state), number, x, cache)

    return partial(jax.checkpoint(here), state)


def _in_a_loop(run: Callable, layers: Sequence, period: int, module: Any, x, caches):
    parts = [nnx.split(layer) for layer in layers]
    graphs = [graph for graph, _ in parts[:period]]
    names = jax.checkpoint_policies.save_anything_except_these_names("whole")
    policy = None if module.again else names

    def of_kind(number: int):
        """The layers at this place of a period, one behind the other."""
        here = [(state, cache) for (_, state), cache in zip(parts, caches, strict=True)]
        return jax.tree.map(lambda *x: jnp.stack(x), *here[number::period])

    def one_period(x, inputs):
        new_caches = []
        for number, (graph, (state, cache)) in enumerate(zip(graphs, inputs, strict=True)):

            def here(state, x, cache, graph=graph, number=number):
                whole = jax.tree.map(partial(_whole, module.mesh), state, is_leaf=_is_variable)
                return run(nnx.merge(graph, whole), number, x, cache)

            again = jax.checkpoint(here, prevent_cse=False, policy=policy)
            new_cache, x = again(state, x, cache)
            new_caches.append(new_cache)
        return x, new_caches

    x, stacked = jax.lax.scan(one_period, x, [of_kind(number) for number in range(period)])
    return x, [
        jax.tree.map(lambda x, turn=number // period: x[turn], stacked[number % period])
        for number in range(len(layers))
    ]


def _period(kinds: Sequence) -> int:
    """After how many layers their kinds repeat; all of them where they do not."""
    count = len(kinds)
    return next(
        size
        for size in range(1, count + 1)
        if count % size == 0 and all(kinds[n] == kinds[n % size] for n in range(count))
    )


def look_up(encode: Callable, tokens_RL: jax.Array, mesh: Mesh | None) -> jax.Array:
    """`encode(tokens)` [R, L, D]: each device looks up its part of the vectors of all rows."""
    if not is_split(mesh):
        return encode(tokens_RL)
    parts_RLD = _put(encode(_put(tokens_RL, mesh, P("data"))), mesh, P("data", None, "fsdp"))
    return _put(parts_RLD, mesh, P(_ROWS))


def by_word(states_RLD: jax.Array, weight_DV: jax.Array, mesh: Mesh | None):
    """States seen by all devices of a copy, and the projection with its words split over them."""
    if not is_split(mesh):
        return states_RLD, weight_DV
    even = weight_DV.shape[1] % (mesh.shape["tp"] * mesh.shape["fsdp"]) == 0
    words = P(None, ("tp", "fsdp") if even else "tp")
    return _put(states_RLD, mesh, P("data")), _put(weight_DV, mesh, words)


def split(grads: dict[str, Any], mesh: Mesh | None, specs: dict[str, P]) -> dict[str, Any]:
    """Gradients where their parameters lie."""
    if not is_split(mesh):
        return grads
    return {name: _put(x, mesh, specs[name]) for name, x in grads.items()}


def each_time(params: Any, number: jax.Array, mesh: Mesh | None) -> Any:
    """Parameters in turn `number` of a loop.

    They are the same in every turn; a compiler that knows it brings all of them together in front
    of the loop.
    """
    if not is_split(mesh):
        return params
    return jax.lax.optimization_barrier((params, number))[0]


def _is_variable(x: Any) -> bool:
    return isinstance(x, nnx.Variable)


def _whole(mesh: Mesh, variable: nnx.Variable) -> nnx.Variable:
    spec = P(*variable.get_metadata()["out_sharding"])
    return variable.replace(checkpoint_name(_gathered(variable.get_value(), mesh, spec), "whole"))


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gathered(weight: jax.Array, mesh: Mesh, spec: P) -> jax.Array:
    """A constraint alone would have its gradient whole, too."""
    return _put(weight, mesh, P(*(None if axis == "fsdp" else axis for axis in spec)))


def _gathered_forward(weight, mesh, spec):
    return _gathered(weight, mesh, spec), None


def _gathered_backward(mesh, spec, _, gradient):
    return (_put(gradient, mesh, spec),)


_gathered.defvjp(_gathered_forward, _gathered_backward)


def _put(x: jax.Array, mesh: Mesh, spec: P) -> jax.Array:
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))
