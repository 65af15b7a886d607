"""The device mesh and where arrays lie on it."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from configs.errors import InputError
from configs.schema import LearnerSection, RunConfig

ROWS = P(("data", "fsdp"))  # a batch is split over both; tensor-parallel devices see the same rows
PACKED_ROWS = P(None, ("data", "fsdp"))  # the same, of every micro-batch


def mesh_shape(section: LearnerSection, devices: int) -> dict[str, int]:
    """Sizes of the axes (data, fsdp, tp). Raises InputError when the devices do not divide."""
    fsdp = devices // section.tp if section.fsdp == -1 else section.fsdp
    if fsdp < 1 or devices % (fsdp * section.tp):
        raise InputError(
            f"learner.fsdp = {section.fsdp} x learner.tp = {section.tp} does not divide the "
            f"{devices} devices of the learner"
        )
    return {"data": devices // (fsdp * section.tp), "fsdp": fsdp, "tp": section.tp}


def make_mesh(section: LearnerSection, devices: int | None = None) -> Mesh:
    """Mesh (data, fsdp, tp) over the slice's devices. Raises InputError if they do not divide."""
    devices = jax.device_count() if devices is None else devices
    shape = mesh_shape(section, devices)
    # jax.make_mesh defaults to explicit axes, under which a plain gather is refused
    return jax.make_mesh(
        tuple(shape.values()),
        tuple(shape),
        axis_types=(AxisType.Auto,) * 3,
        devices=jax.devices()[:devices],
    )


def row_parts(mesh: Mesh) -> int:
    """Devices that rows are split over; those of `tp` share theirs."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def place(rows, mesh: Mesh, spec: P):
    """A tree of numpy arrays on the mesh; those with fewer axes than `spec` go everywhere.

    A host uploads only the rows of its own devices.
    """

    def placed(x: np.ndarray) -> jax.Array:
        sharding = NamedSharding(mesh, spec if x.ndim >= len(spec) else P())
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(placed, rows)


def check_rows(config: RunConfig, mesh: Mesh) -> None:
    """Raises InputError when a batch of the cold start does not divide over the mesh."""
    rows = config.sft.batch_size
    if config.sft.steps and rows % row_parts(mesh):
        raise InputError(
            f"sft.batch_size gives {rows} rows, which {row_parts(mesh)} devices of the learner "
            "cannot share equally; change it or the number of hosts"
        )
