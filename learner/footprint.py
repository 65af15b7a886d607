"""What a configuration takes on the learner's devices and on the wire, without any of either.

Activations are left out: they depend on the compiler. What is here is exact.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jax.sharding import PartitionSpec

from configs.schema import RunConfig
from learner.policy.lora import Trained
from learner.policy.model import PolicyModel

_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Footprint:
    """All in bytes, per learner device where nothing else is said."""

    parameters: int  # how many numbers, in all
    state: int  # float32: what is trained, all parameters or an adapter, and both Adam moments
    gradient: int  # float32
    reference: int  # float32
    policies: int  # versions of what is trained that permits may still name, in compute dtype
    logits: int  # of one chunk, float32
    sync: int  # what is trained on the wire, to one rollout host: in pieces, from all processes

    @property
    def device(self) -> int:
        """The largest sum of what is there at a time."""
        resident = self.state + self.reference + self.policies
        return resident + self.gradient + self.logits


def footprint(model: PolicyModel, config: RunConfig, mesh: Mapping[str, int]) -> Footprint:
    (parameters, share), (trained, own) = (
        _counts(which, mesh) for which in (model, Trained(model, config.lora))
    )
    compute = _BYTES[config.model.compute_dtype]
    return Footprint(
        parameters=parameters,
        state=3 * 4 * own,
        gradient=4 * own,
        reference=4 * share,
        policies=(config.loop.max_staleness + 1) * compute * own,
        logits=4 * config.learner.logits_chunk * model.architecture.vocabulary // mesh["tp"],
        sync=compute * trained,
    )


def _counts(which: PolicyModel | Trained, mesh: Mapping[str, int]) -> tuple[int, int]:
    """Numbers in all, and of one device."""
    specs = which.partition_specs()
    sizes = {name: x.size for name, x in which.abstract_params().items()}
    return sum(sizes.values()), sum(n // parts(specs[name], mesh) for name, n in sizes.items())


def parts(spec: PartitionSpec, mesh: Mapping[str, int]) -> int:
    """Over how many devices a parameter of this spec is split."""
    entries = [entry if isinstance(entry, tuple) else (entry,) for entry in spec if entry]
    return math.prod(mesh[axis] for entry in entries for axis in entry)
