"""`launch.py plan`: what a run would put where, and what that takes. Nothing is started."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from cluster.doctor.check_file import check_file
from cluster.doctor.files import ClusterFile, read_cluster_file
from cluster.doctor.gcp import is_tpu, slice_shape
from cluster.hosts import ROLE_LABEL, Chosen, Host, choose
from cluster.placement import Plan, plan
from configs.errors import InputError
from configs.schema import RunConfig

if TYPE_CHECKING:
    from learner.policy.model import PolicyModel
    from learner.policy.room import Room

_GIB = 2**30
# memory of one chip in GiB, by the generation in the name of its slice (Google's TPU documentation)
_CHIP_GIB = {"v4": 32, "v5litepod": 16, "v5p": 95, "v6e": 32, "v7x": 192}
_BYTE_PIECES = 256  # on top of the pieces of a tokenizer that is trained here
_SEQUENCE_HOSTS = "10.0.0.{}"  # hosts of a file have no address yet
_GKE = "cloud.google.com/gke-tpu-"
_GKE_KINDS = {
    "tpu-v4-podslice": "v4",
    "tpu-v5p-slice": "v5p",
    "tpu-v6e-slice": "v6e",
    "tpu7x": "v7x",
}


@dataclass(frozen=True)
class Planned:
    """Who does what, by host number; and the learner's devices."""

    plan: Plan
    names: tuple[str, ...]  # kind of each host
    devices: int
    chip: str = ""  # generation, such as v5litepod; "": a CPU


def plan_run(config: RunConfig, hosts: int, file: Path | None) -> int:
    """Print roles, mesh, memory and wire. 1: it would not fit into the devices."""
    from learner.budget import budget_of, work_lines
    from learner.footprint import footprint
    from learner.policy.room import room_of
    from learner.policy.sharding import mesh_shape

    planned = plan_file(file, hosts, config) if file else plan_local(hosts, config)
    mesh = mesh_shape(config.learner, planned.devices)
    model = built_model(config)
    found = footprint(model, config, mesh)
    lines = planned.plan.lines(planned.names)
    sizes = " x ".join(f"{axis} {size}" for axis, size in mesh.items())
    lines.append(f"mesh        {sizes}; {planned.devices} device(s) of the learner")
    lines.append(f"policy      {found.parameters:,} parameters")
    parts = {
        "trained parameters and moments": found.state,
        "reference": found.reference,
        f"{config.loop.max_staleness + 1} version(s) of the policy": found.policies,
        "gradient": found.gradient,
        "logits of a chunk": found.logits,
    }
    lines.append(f"per device  {_size(found.device)} at most, and activations:")
    lines += [f"  {_size(size):>10}  {name}" for name, size in parts.items()]
    senders = len(planned.plan.learner)
    lines.append(
        f"per sync    {_size(found.sync)} to each of {len(set(planned.plan.rollout))} host(s), in "
        f"pieces from {senders} learner process(es)"
    )
    needs = budget_of(model, config, planned.devices)
    weights = sum(needs.rollout_bytes.values()) - needs.rollout_bytes["cache"]
    lines.append(sampler_line(config, room_of(model, config.rollout), weights, planned.chip))
    lines += work_lines(needs, config)
    print("\n".join(lines))
    limit = _CHIP_GIB.get(planned.chip, math.inf) * _GIB
    if found.device > limit:
        print(
            f"does not fit: a {planned.chip} chip has {_CHIP_GIB[planned.chip]} GiB; raise "
            "learner.fsdp, or take a larger slice"
        )
        return 1
    return 0


def sampler_line(config: RunConfig, room: "Room", weights: int, chip: str) -> str:
    """What a rollout actor takes, and how many slots its memory has room for beside the weights:
    that of a chip, or what is free on this machine, shared by all actors."""
    section = config.rollout
    if chip in _CHIP_GIB:
        memory = _CHIP_GIB[chip] * _GIB * section.tp
        where = f"a {chip} chip" if section.tp == 1 else f"what {section.tp} {chip} chips have"
    else:
        free = psutil.virtual_memory().available
        memory, where = free // section.actors, "what is free on this machine"
    return (
        f"per sampler {_size(weights)} of weights, {_size(room.cache + room.reading)} of cache for "
        f"rollout.slots = {section.slots}; {where} has room for "
        f"{room.slots(memory - weights, section.group_size)}"
    )


def built_model(config: RunConfig) -> "PolicyModel":
    """The model, abstractly, as a run with this configuration would make it.

    Of weights that are not here, the preset is taken.
    """
    from learner.policy.folder import with_architecture
    from learner.policy.model import build_model

    if Path(config.model.weights).exists():
        config = with_architecture(config)
    published = config.model.preset or config.model.architecture
    vocabulary = None if published else config.model.tokenizer_pieces + _BYTE_PIECES
    return build_model(config.model, vocabulary)


def plan_local(hosts: int, config: RunConfig) -> Planned:
    """On hosts of whose devices nothing is known: as many as the mesh needs, at least one each."""
    planned = plan(hosts, config)
    names = tuple(f"local {number}" for number in range(hosts))
    wanted = max(config.learner.fsdp, 1) * config.learner.tp
    return Planned(planned, names, devices=math.lcm(wanted, len(planned.learner)))


def plan_file(path: Path, hosts: int, config: RunConfig) -> Planned:
    """On the hosts that a cluster file keeps up.

    Raises InputError when it is wrong, or has too few.
    """
    wrong, _ = check_file(path)
    if wrong:
        raise InputError("\n  ".join([finding.text(path) for finding in wrong]))
    kinds, every = [], []
    for kind, host in _hosts(read_cluster_file(path)):
        kinds.append(kind)
        every.append(host)
    chosen = choose(every, hosts, config)
    if not isinstance(chosen, Chosen):
        raise InputError(f"{path}: {chosen}; {chosen.remedy}")
    learners = [chosen.hosts[number] for number in chosen.plan.learner]
    return Planned(
        chosen.plan,
        tuple(kinds[every.index(host)] for host in chosen.hosts),
        devices=sum(host.chips or 1 for host in learners),
        chip=learners[0].pod_type.split("-")[0],
    )


def _hosts(file: ClusterFile) -> Iterator[tuple[str, Host]]:
    """Kind and host, for each that the file keeps up; the head first."""
    number = 0
    for kind, role, slices, shape in _kinds(file):
        hosts, chips, pod_type, topology = shape
        for which in range(slices):
            for rank in range(hosts):
                number += 1
                name = f"{kind}-{which}" if chips else ""
                yield (
                    kind,
                    Host(
                        f"{kind}-{which}-{rank}",
                        _SEQUENCE_HOSTS.format(number),
                        *("" if role == "any" else role, name, pod_type, topology, rank, chips),
                    ),
                )


def _kinds(file: ClusterFile) -> Iterator[tuple[str, str, int, tuple[int, int, str, str]]]:
    """Name, role, how many, and (hosts, chips of a host, type, topology) of each kind of host."""
    if file.at("kind") == "RayCluster":
        yield "head", "head", 1, (1, 0, "", "")
        for group in file.at("spec", "workerGroupSpecs"):
            yield group["groupName"], _role(group), group["replicas"], _group_shape(group)
    elif file.at("provider", "type") == "local":
        yield "head", "any", 1, (1, 0, "", "")
        yield "worker", "any", len(file.at("provider", "worker_ips")), (1, 0, "", "")
    else:
        head = file.at("head_node_type")
        kinds = dict(file.at("available_node_types"))
        for name, kind in ((head, kinds.pop(head)), *kinds.items()):
            count = 1 if name == head else kind["min_workers"]
            yield name, _role(kind), count, _slice_shape(kind)


def _role(kind: dict) -> str:
    return kind["labels"][ROLE_LABEL]


def _slice_shape(kind: dict) -> tuple[int, int, str, str]:
    if not is_tpu(kind):
        return 1, 0, "", ""
    accelerator = kind["node_config"]["acceleratorType"]
    hosts, chips = slice_shape(accelerator)
    return hosts, chips, accelerator, f"{hosts}x{chips}"


def _group_shape(group: dict) -> tuple[int, int, str, str]:
    pod = group["template"]["spec"]
    chips = int(pod["containers"][0]["resources"]["limits"].get("google.com/tpu", 0))
    selector = pod.get("nodeSelector", {})
    if not chips:
        return 1, 0, "", ""
    kind = _GKE_KINDS.get(selector[_GKE + "accelerator"], "v5litepod")
    return group["numOfHosts"], chips, kind, selector[_GKE + "topology"]


def _size(count: int) -> str:
    return f"{count / _GIB:.2f} GiB" if count >= _GIB / 10 else f"{count / 2**20:.2f} MiB"
