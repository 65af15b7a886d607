"""What a configuration takes on the learner's devices and on the wire, without any of either.

Activations are left out: they depend on the compiler. What is here is exact.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jax.sharding import PartitionSpec

from configs.schema import RunConfig
from learner.policy.model import PolicyModel

_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Footprint:
    """All in bytes, per learner device where nothing else is said."""

    parameters: int  # how many numbers, in all
    state: int  # float32 master parameters and both Adam moments
    gradient: int  # float32
    reference: int  # float32
    policies: int  # versions that permits may still name, in compute dtype
    gathered: int  # one whole policy while it is exported
    logits: int  # of one chunk, float32
    sync: int  # one policy on the wire, to one rollout host

    @property
    def device(self) -> int:
        """The largest sum of what is there at a time."""
        resident = self.state + self.reference + self.policies
        return resident + max(self.gradient + self.logits, self.gathered)


def footprint(model: PolicyModel, config: RunConfig, mesh: Mapping[str, int]) -> Footprint:
    specs = model.partition_specs()
    shapes = {name: x.shape for name, x in model.abstract_params().items()}
    parameters = sum(math.prod(shape) for shape in shapes.values())
    share = sum(math.prod(shape) // parts(specs[name], mesh) for name, shape in shapes.items())
    compute = _BYTES[config.model.compute_dtype]
    return Footprint(
        parameters=parameters,
        state=3 * 4 * share,
        gradient=4 * share,
        reference=4 * share,
        policies=(config.loop.max_staleness + 1) * compute * share,
        gathered=compute * parameters,
        logits=4 * config.learner.logits_chunk * model.architecture.vocabulary // mesh["tp"],
        sync=compute * parameters,
    )


def parts(spec: PartitionSpec, mesh: Mapping[str, int]) -> int:
    """Over how many devices a parameter of this spec is split."""
    entries = [entry if isinstance(entry, tuple) else (entry,) for entry in spec if entry]
    return math.prod(mesh[axis] for entry in entries for axis in entry)
