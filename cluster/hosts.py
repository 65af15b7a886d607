"""Hosts of a cluster to join, and which of them do what. Pure: no call reaches the cluster."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.placement import Plan, plan, spread
from configs.errors import InputError
from configs.schema import RunConfig

ROLE_LABEL = "showwork-role"
ROLES = ("learner", "rollout", "judge")


@dataclass(frozen=True)
class Host:
    """One Ray node."""

    node: str  # its id
    address: str  # IP
    role: str = ""  # by its label; "": whatever is needed
    slice: str = ""  # name of its TPU slice
    pod_type: str = ""  # of the slice, such as v5litepod-16
    topology: str = ""  # of the slice, such as 4x4
    rank: int = 0  # in the slice: the worker id of the TPU
    chips: int = 0  # TPU
    gpus: int = 0

    @property
    def slice_hosts(self) -> int:
        """How many hosts its slice has."""
        if not self.slice or not self.topology:
            return 1
        chips = math.prod(int(side) for side in self.topology.split("x"))
        return max(1, chips // max(1, self.chips))


@dataclass(frozen=True)
class Chosen:
    """Hosts of a run, the driver's first, and what each does."""

    hosts: tuple[Host, ...]
    plan: Plan


@dataclass(frozen=True)
class Shortage:
    """What is missing, and what to change."""

    what: str  # such as "learner hosts of one slice"
    wanted: int
    registered: int
    remedy: str

    def __str__(self) -> str:
        missing = self.wanted - self.registered
        return f"{self.wanted} {self.what} wanted, {self.registered} registered, {missing} missing"


def read_hosts(nodes: Sequence[Mapping[str, Any]], driver: str) -> list[Host]:
    """The live ones of `ray.nodes()`: that of the driver first, the others by slice and address."""
    hosts = [_read(node) for node in nodes if node["Alive"]]
    return sorted(hosts, key=lambda h: (h.node != driver, h.slice, h.rank, _order(h.address)))


def devices_of(host: Host, actors: int) -> dict[str, Any]:
    """Ray's options for each of so many actors that share the accelerators of a host.

    Raises InputError where those are too few.
    """
    if actors and host.chips:
        return {"resources": {"TPU": _share(host.address, host.chips, actors, "TPU chips")}}
    if actors and host.gpus:
        return {"num_gpus": _share(host.address, host.gpus, actors, "GPUs")}
    return {}


def _share(address: str, devices: int, actors: int, what: str) -> int:
    if devices < actors:
        raise InputError(
            f"the host {address} has {devices} {what} for {actors} actors; give fewer "
            "rollout.actors, or more hosts"
        )
    return devices // actors


def choose(hosts: Sequence[Host], wanted: int, config: RunConfig) -> Chosen | Shortage:
    """Hosts for a run of at least `wanted` of them, by their labels.

    Without labels: the first `wanted`, planned as local ones are. With labels: one whole slice (or
    all learner hosts, where they are in none), and every host of the other roles.
    Raises InputError where no further host would help.
    """
    labelled = [host for host in hosts if host.role in ROLES]
    workers = [host for host in hosts if host.role in (*ROLES, "")] if labelled else list(hosts)
    if len(workers) < wanted:
        return Shortage(
            "hosts",
            wanted,
            len(workers),
            f"start more, or give --hosts {max(1, len(workers))}",
        )
    if not labelled:
        return Chosen(tuple(hosts[:wanted]), plan(wanted, config))
    pools = _pools(hosts, workers)
    learners = _learners(pools["learner"], config)
    if isinstance(learners, Shortage):
        return learners
    if not pools["rollout"]:
        return Shortage(
            "rollout host",
            1,
            0,
            f"start one, with the label {ROLE_LABEL}=rollout (in a cluster file: min_workers)",
        )
    return _planned(hosts[0], learners, pools, config)


def _planned(
    driver: Host, learners: list[Host], pools: dict[str, list[Host]], config: RunConfig
) -> Chosen:
    judges = pools["judge"] or [driver]
    used = list(dict.fromkeys([driver, *learners, *pools["rollout"], *judges]))
    number = {host: place for place, host in enumerate(used)}
    rollout = tuple(number[host] for host in pools["rollout"])
    judge = tuple(number[host] for host in judges)
    return Chosen(
        tuple(used),
        Plan(
            len(used),
            tuple(number[host] for host in learners),
            spread(rollout, max(config.rollout.actors, len(rollout))),
            spread(judge, max(config.judge.actors, len(judge))),
        ),
    )


def _pools(hosts: Sequence[Host], workers: Sequence[Host]) -> dict[str, list[Host]]:
    """Hosts by role; those of no role fill the pools that are empty, else they sample."""
    pools = {role: [host for host in workers if host.role == role] for role in ROLES}
    empty = [role for role in ROLES if not pools[role]] or ["rollout"]
    free = [host for host in workers if not host.role and host is not hosts[0]]
    for place, host in enumerate(free):
        pools[empty[place % len(empty)]].append(host)
    return pools


def _learners(hosts: Sequence[Host], config: RunConfig) -> list[Host] | Shortage:
    """The hosts of one slice by their rank in it; all of them where they are in none."""
    count = config.learner.hosts
    if not any(host.slice_hosts > 1 for host in hosts):
        wanted = count or max(1, len(hosts))
        if len(hosts) < wanted:
            return Shortage(
                "learner hosts",
                wanted,
                len(hosts),
                f"start more with the label {ROLE_LABEL}=learner, or give learner.hosts=0",
            )
        return list(hosts[:wanted])
    largest, present = Counter(host.slice for host in hosts if host.slice).most_common(1)[0]
    gang = sorted((h for h in hosts if h.slice == largest), key=lambda host: host.rank)
    whole = gang[0].slice_hosts
    if count and count != whole:
        raise InputError(
            f"learner.hosts = {count}: the slice {largest} ({gang[0].pod_type}) is taken whole, "
            f"all {whole} hosts of it; give learner.hosts={whole}, or 0"
        )
    if present < whole:
        return Shortage(
            f"hosts of the slice {largest}",
            whole,
            present,
            "look into its startup log: a slice works only whole",
        )
    return gang


def _read(node: Mapping[str, Any]) -> Host:
    labels, resources = node.get("Labels") or {}, node.get("Resources") or {}
    role = labels.get(ROLE_LABEL, "")
    return Host(
        node=node["NodeID"],
        address=node["NodeManagerAddress"],
        role="" if role == "any" else role,
        slice=labels.get("ray.io/tpu-slice-name", ""),
        pod_type=labels.get("ray.io/tpu-pod-type", ""),
        topology=labels.get("ray.io/tpu-topology", ""),
        rank=int(labels.get("ray.io/tpu-worker-id", 0)),
        chips=int(resources.get("TPU", 0)),
        gpus=int(resources.get("GPU", 0)),
    )


def _order(address: str) -> tuple[int, ...] | tuple[str]:
    parts = address.split(".")
    return tuple(int(part) for part in parts) if all(p.isdecimal() for p in parts) else (address,)
