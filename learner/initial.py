"""The weights that a run begins with: published ones, those of another run, or random ones."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import jax

from configs.errors import InputError
from configs.schema import RunConfig
from learner.checkpoint import restore_tree
from learner.policy.folder import is_hugging_face, kaggle_checkpoint
from learner.policy.model import Params, PolicyModel
from learner.policy.pretrained import check_room, load_weights


def initial_params(
    model: PolicyModel, config: RunConfig, abstract: Mapping[str, jax.ShapeDtypeStruct]
) -> Params:
    """Float32, placed as `abstract` says.

    Raises InputError for `model.weights` that are none, or do not fit into memory.
    """
    shardings = {name: x.sharding for name, x in abstract.items()}
    if not config.model.weights:
        return _drawn(model, tuple(shardings.items()))(config.run.seed)
    weights = Path(config.model.weights)
    # parameters, two moments and the reference; what an adapter takes is next to nothing
    check_room(abstract, shardings, copies=1 if config.lora.rank else 4)
    trained = weights / "checkpoints" / "reference"
    if trained.exists():
        return restore_tree(trained, abstract)
    if not (is_hugging_face(weights) or kaggle_checkpoint(weights)):
        raise InputError(
            f"model.weights = {weights}: neither published weights nor a run folder with a "
            "finished cold start"
        )
    return load_weights(model.architecture, weights, shardings)


@cache
def _drawn(model: PolicyModel, shardings: tuple) -> Callable:
    """(seed) -> random parameters; one program, however many learners a process has had."""
    return jax.jit(model.init, out_shardings=dict(shardings))
