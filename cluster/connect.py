"""Starting a Ray cluster of several nodes on this machine. `cluster.join` joins one that is up."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private.state import state as ray_state
from ray.cluster_utils import Cluster

from cluster.keeper import MARK, kept_folder
from cluster.placement import Plan
from cluster.security import own_token
from configs.errors import InputError

ROOT = Path(__file__).parents[1]
_JOIN_TIMEOUT_S = 120.0
_LOCAL_CPUS = 16  # logical: places actors, does not limit threads
_STORE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Connection:
    """A cluster that is up: Ray node ids by host number, the head first."""

    nodes: tuple[str, ...]
    addresses: tuple[str, ...]  # IP by host number
    local: bool  # all hosts are this machine
    scratch: str = ""  # a folder that goes with the connection, where they are
    options: tuple[dict[str, Any], ...] = ()  # of learner and rollout actors, by host number

    @property
    def without_devices(self) -> "Connection":
        """For actors that need no accelerator."""
        return replace(self, options=())

    def settled(self) -> "Connection":
        """The same hosts by number; each that was lost by another one that is there.

        That is a host which joined since, or else one of those that are left. One that is to be
        taken away counts as lost.
        """
        alive = {
            node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]
        }
        stays = {node: alive[node] for node in alive.keys() - draining()}
        return stand_in(self, stays or alive)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(
            f"host {number} ({address}, {node[:8]})"
            for number, (node, address) in enumerate(zip(self.nodes, self.addresses, strict=True))
        )


def stand_in(connection: Connection, alive: Mapping[str, str]) -> Connection:
    """`settled`, with the nodes that are `alive` (id -> address)."""
    spare = [node for node in alive if node not in connection.nodes]
    left = [node for node in connection.nodes if node in alive]
    nodes = list(connection.nodes)
    for host, node in enumerate(nodes):
        if node not in alive:
            nodes[host] = spare.pop(0) if spare else left[host % len(left)]
    return replace(connection, nodes=tuple(nodes), addresses=tuple(alive[node] for node in nodes))


@contextmanager
def connect(plan: Plan) -> Iterator[Connection]:
    """Start `plan.hosts` local Ray nodes; they end with the context."""
    own_token()
    # a short path: Ray's sockets below it must not exceed 107 bytes
    with kept_folder(os.getpid()) as place:
        folder = str(place)
        cluster = _start_local(plan.hosts, folder)
        try:
            connection = _registered(plan.hosts, local=True, timeout_s=_JOIN_TIMEOUT_S)
            yield replace(connection, scratch=folder)
        finally:
            ray.shutdown()
            cluster.shutdown()


def draining() -> set[str]:
    """Nodes that the cluster has begun to drain: they will be taken away."""
    return set(ray_state.get_draining_nodes())


def leaving(connection: Connection, plan: Plan) -> str:
    """The hosts of driver and learner that will be taken away, by name; "" when those stay: without
    the others a run goes on."""
    going, needed = draining(), sorted({0, *plan.learner})
    return ", ".join(connection.names[n] for n in needed if connection.nodes[n] in going)


def check_memory(plan: Plan, available_gib: float | None = None) -> None:
    """Raises InputError when local hosts for the plan would not fit into this machine's memory."""
    if available_gib is None:
        available_gib = psutil.virtual_memory().available / 2**30
    if plan.memory_gib > available_gib:
        raise InputError(
            f"--hosts {plan.hosts}: {plan.hosts} local hosts need about {plan.memory_gib:.1f} GiB, "
            f"{available_gib:.1f} GiB are available; give fewer hosts, or join a cluster with "
            "--address"
        )


def _start_local(hosts: int, folder: str) -> Cluster:
    """Ray nodes on this machine, reachable from its network as any Ray node is.

    A start that dies under load is tried once more. Two traps, both measured: with the address
    127.0.0.1 Ray's driver looks for the head on the machine's outer address and never finds it, and
    a `temp_dir` without `RAY_TMPDIR` fails where /tmp/ray does not exist.
    """
    os.environ[MARK] = folder  # also keeps a bare ray.init() elsewhere from joining us
    os.environ["SPT_NOENV"] = "1"  # Ray's processes would write their titles over it
    # a host that is killed is missed after five refused calls: 5 s, not 15
    os.environ.setdefault("RAY_health_check_period_ms", "1000")
    (Path(folder) / "ray").mkdir()  # Ray notes the cluster's address there, but does not make it
    node: dict[str, Any] = {
        "num_cpus": _LOCAL_CPUS,
        "num_gpus": 0,
        "object_store_memory": _STORE_BYTES,
        "include_dashboard": False,
        # each is a Python process more to start: nothing here scales, and nobody follows the logs
        "no_monitor": True,
        "include_log_monitor": False,
    }
    for attempt in (1, 2):
        cluster = Cluster()
        try:
            for _ in range(hosts):
                cluster.add_node(**node)
            init(address=str(cluster.address))
            return cluster
        except Exception:  # whatever Ray's start raises: timeouts, connection and runtime errors
            ray.shutdown()
            cluster.shutdown()
            if attempt == 2:
                raise
    raise AssertionError("unreachable")


def init(address: str) -> None:
    ray.init(
        address=address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}},
    )


def _registered(hosts: int, local: bool, timeout_s: float) -> Connection:
    """Wait until the hosts are there; says every 30 s what it waits for."""
    began, said = time.monotonic(), time.monotonic()
    while True:
        alive = [node for node in ray.nodes() if node["Alive"]]
        if len(alive) >= hosts:
            break
        now = time.monotonic()
        if now - began > timeout_s:
            raise InputError(
                f"--hosts {hosts}: the cluster has {len(alive)} hosts, {hosts - len(alive)} are "
                f"missing after {timeout_s:.0f} s; start them, or give --hosts {len(alive)}"
            )
        if now - said > 30:
            said = now
            print(f"waiting for hosts: {hosts} wanted, {len(alive)} registered", flush=True)
        time.sleep(0.5)
    head = ray.get_runtime_context().get_node_id()
    alive.sort(
        key=lambda node: (node["NodeID"] != head, node["NodeManagerAddress"], node["NodeID"])
    )
    chosen = alive[:hosts]
    return Connection(
        tuple(node["NodeID"] for node in chosen),
        tuple(node["NodeManagerAddress"] for node in chosen),
        local,
    )
