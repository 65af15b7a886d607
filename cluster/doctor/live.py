"""`launch.py doctor` without a file: would a run work on this cluster? Looks at every host."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from rich.console import Console
from rich.table import Table

from cluster.calls import resolve_all
from cluster.connect import Connection
from cluster.doctor.exam import HostExam
from cluster.doctor.verdicts import Check, Host, Needs, verdicts
from cluster.join import check_local, find_cluster, hosts_for
from cluster.placement import Plan
from cluster.plan import built_model
from cluster.workers import start_actor
from configs.schema import RunConfig

_EXAM_S = 300.0
_STATE_BYTES = 12  # of a parameter in a checkpoint: itself and two moments, float32


def report_cluster(config: RunConfig, hosts: int, given: str, folder: Path) -> int:
    """Print a table of checks. 0: a run would work; 1: it would fail.

    Raises InputError where there are too few hosts, or the cluster lets nobody in.
    """
    address = find_cluster(given)
    check_local(hosts, config, address)
    with hosts_for(hosts, config, address) as (connection, planned):
        print("\n".join(planned.lines(connection.addresses)), flush=True)
        found = examine(connection, planned, folder.absolute())
    checks = verdicts(found, _needs(config))
    _print(checks)
    failing = [check for check in checks if check.remedy]
    print(f"{len(failing)} of {len(checks)} checks failed" if failing else "a run would work")
    return 1 if failing else 0


def examine(connection: Connection, planned: Plan, folder: Path) -> list[Host]:
    """One actor on each host; each call goes to all of them at once."""
    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes()}
    resources = [nodes[node] for node in connection.nodes]
    names = list(connection.names)
    devices = [_devices(connection, number, resources[number]) for number in range(len(names))]
    actors = [
        start_actor(
            HostExam, connection, number, (folder, f"host{number}", bool(devices[number])), {}
        )
        for number in range(len(names))
    ]
    try:
        reports = resolve_all([actor.report.remote() for actor in actors], _EXAM_S, names)
        skews = [_skew(actor) for actor in actors]
        ports = resolve_all([actor.listen.remote() for actor in actors], _EXAM_S, names)
        doors = list(zip(connection.addresses, ports, strict=True))
        reached = resolve_all([actor.reaches.remote(doors) for actor in actors], _EXAM_S, names)
        seen = resolve_all([actor.seen.remote() for actor in actors], _EXAM_S, names)
        resolve_all([actor.close.remote() for actor in actors], _EXAM_S, names)
    finally:
        for actor in actors:
            ray.kill(actor)
    return [
        Host(
            name=f"host{number}",
            writes=number == 0 or number in planned.learner,
            report=reports[number],
            skew_s=skews[number],
            seen=tuple(seen[number]),
            unreached=tuple(f"host{n}" for n, ok in enumerate(reached[number]) if not ok),
            store_bytes=int(resources[number].get("object_store_memory", 0)),
            devices=devices[number],
        )
        for number in range(len(names))
    ]


def _devices(connection: Connection, number: int, resources: dict[str, float]) -> str:
    """What JAX is to find on a host whose devices a run would reserve."""
    options: Any = connection.options[number] if connection.options else {}
    if "resources" in options:
        return f"tpu {int(resources['TPU'])}"
    return f"gpu {int(resources['GPU'])}" if "num_gpus" in options else ""


def _skew(actor: Any) -> float:
    """Seconds by which a host's clock is ahead, less what the call itself may have taken."""
    before = time.time()
    theirs = ray.get(actor.clock.remote(), timeout=_EXAM_S)
    after = time.time()
    return max(0.0, theirs - after) or min(0.0, theirs - before)


def _needs(config: RunConfig) -> Needs:
    model = built_model(config)
    parameters = sum(x.size for x in model.abstract_params().values())
    checkpoint = _STATE_BYTES * parameters
    kept = config.checkpoint.keep_last + config.checkpoint.keep_best + 1
    wire = 2 if config.model.compute_dtype == "bfloat16" else 4
    return Needs(wire * parameters, kept * checkpoint, checkpoint)


def _print(checks: Sequence[Check]) -> None:
    table = Table("check", "host", "found", "what to do", box=None, pad_edge=False)
    for check in sorted(checks, key=lambda check: not check.remedy):
        table.add_row(check.what, check.host, check.found, check.remedy)
    Console(width=None if Console().is_terminal else 160).print(table)
