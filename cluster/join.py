"""Joining a Ray cluster that is up: finding it, waiting for its hosts, reserving a slice whole."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import ray
from ray.exceptions import AuthenticationError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from ray.util.tpu import SlicePlacementGroup

from cluster.connect import Connection, check_memory, connect, init
from cluster.hosts import ROLE_LABEL, Chosen, Host, Shortage, choose, devices_of, read_hosts
from cluster.placement import Plan, plan
from cluster.security import check_certificates, check_closed, check_token_file
from configs.errors import InputError
from configs.schema import RunConfig

_SAY_EVERY_S = 10.0
_POLL_S = 0.5
_CURRENT = Path("/tmp/ray/ray_current_cluster")  # where `ray start` notes the address


def find_cluster(given: str) -> str:
    """The address to join: `--address`, else RAY_ADDRESS, else that of a cluster on this host.

    "" where there is none, or where `given` is "local".
    """
    if given == "local":
        return ""
    if named := given or os.environ.get("RAY_ADDRESS", ""):
        return named if named != "auto" else _on_this_host()
    return _on_this_host()


def check_local(hosts: int, config: RunConfig, address: str) -> None:
    """Without a cluster to join: raises InputError when local hosts cannot do it."""
    if not address:
        check_memory(plan(hosts, config))


@contextmanager
def hosts_for(hosts: int, config: RunConfig, address: str) -> Iterator[tuple[Connection, Plan]]:
    """Hosts of the cluster at an address, or local ones where it is ""."""
    if address:
        with join(address, hosts, config) as joined:
            yield joined
    else:
        planned = plan(hosts, config)
        with connect(planned) as connection:
            yield connection, planned


@contextmanager
def join(address: str, hosts: int, config: RunConfig) -> Iterator[tuple[Connection, Plan]]:
    """Connect to the cluster, and choose hosts for a run on it.

    What was reserved is given back when the context ends. Raises InputError when the cluster does
    not answer, takes orders from anyone, refuses the token, or has too few hosts for
    `loop.wait_timeout_s`.
    """
    check_token_file()
    check_certificates()
    check_closed(address)
    try:
        init(address)
    except (AuthenticationError, ConnectionError, RuntimeError, TimeoutError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"the cluster at {address} does not let this process in: {first}"
        ) from error
    reserved = None
    try:
        chosen = wait_for_hosts(
            lambda: _look(hosts, config), config.loop.wait_timeout_s, f"--hosts {hosts}"
        )
        learners = [chosen.hosts[number] for number in chosen.plan.learner]
        if learners[0].slice and len(learners) > 1:
            reserved = SliceReservation(learners[0], config.loop.wait_timeout_s)
            chosen = reserved.seat(chosen)
        yield _connection(chosen, reserved), chosen.plan
    finally:
        if reserved is not None:
            reserved.release()
        ray.shutdown()


def wait_for_hosts(look: Callable[[], Chosen | Shortage], limit_s: float, asked: str) -> Chosen:
    """Ask until there is no shortage; say what is waited for. Raises InputError after `limit_s`."""
    began = said = time.monotonic()
    while isinstance(found := look(), Shortage):
        now = time.monotonic()
        if now - began >= limit_s:
            raise InputError(
                f"{asked}: {found} after {limit_s:.0f} s (loop.wait_timeout_s); {found.remedy}"
            )
        if now - said >= _SAY_EVERY_S:
            said = now
            print(f"waiting     {found} ({now - began:.0f} of {limit_s:.0f} s)", flush=True)
        time.sleep(_POLL_S)
    return found


class SliceReservation:
    """All hosts of one free TPU slice of a kind, for as long as this object is not released."""

    def __init__(self, like: Host, limit_s: float):
        labels = {ROLE_LABEL: like.role} if like.role else {}
        try:
            self._slice = SlicePlacementGroup(
                topology=like.topology,
                accelerator_version=like.pod_type.split("-")[0],
                strategy="STRICT_SPREAD",
                chips_per_vm=like.chips,
                head_reservation_timeout_s=limit_s,
                bundle_label_selector=[labels] * like.slice_hosts if labels else None,
            )
        except TimeoutError as error:
            raise InputError(_taken(like, limit_s)) from error
        group = self._slice.slice_placement_group
        if group is None or not group.wait(limit_s):
            self.release()  # a reservation that is left pending takes the slice later, for nobody
            raise InputError(_taken(like, limit_s))
        self._group = group
        placed = ray.util.placement_group_table(group)["bundles_to_node_id"]
        self._bundle = {node: int(bundle) for bundle, node in placed.items()}
        # the head's own group stays: without it, another run would pick this slice and wait for it

    def seat(self, chosen: Chosen) -> Chosen:
        """The same plan with the learner on the hosts that were reserved, by their rank."""
        every = read_hosts(ray.nodes(), chosen.hosts[0].node)
        gang = sorted((host for host in every if host.node in self._bundle), key=lambda h: h.rank)
        seats = dict(zip(chosen.plan.learner, gang, strict=True))
        return replace(
            chosen,
            hosts=tuple(seats.get(number, host) for number, host in enumerate(chosen.hosts)),
        )

    def strategy(self, node: str) -> PlacementGroupSchedulingStrategy | None:
        """How an actor gets onto a host of the slice; None for another host."""
        if node not in self._bundle:
            return None
        return PlacementGroupSchedulingStrategy(
            self._group, placement_group_bundle_index=self._bundle[node]
        )

    def release(self) -> None:
        self._slice.shutdown()


def _taken(like: Host, limit_s: float) -> str:
    return (
        f"no slice of the kind {like.pod_type} became free within {limit_s:.0f} s "
        "(loop.wait_timeout_s): another run holds it; wait for its end, or add a slice"
    )


def _look(hosts: int, config: RunConfig) -> Chosen | Shortage:
    driver = ray.get_runtime_context().get_node_id()
    return choose(read_hosts(ray.nodes(), driver), hosts, config)


def _connection(chosen: Chosen, reserved: SliceReservation | None) -> Connection:
    everything = (*chosen.plan.learner, *chosen.plan.rollout)
    options = []
    for number, host in enumerate(chosen.hosts):
        place = devices_of(host, everything.count(number))
        if reserved and (strategy := reserved.strategy(host.node)):
            place["scheduling_strategy"] = strategy
        options.append(place)
    return Connection(
        tuple(host.node for host in chosen.hosts),
        tuple(host.address for host in chosen.hosts),
        local=False,
        options=tuple(options),
    )


def _on_this_host() -> str:
    """What this user's or root's `ray start` noted here, if it still answers.

    Any user may write below /tmp, and the token would go to whoever is named there.
    """
    try:
        if _CURRENT.stat().st_uid not in (0, os.getuid()):
            return ""
        address = _CURRENT.read_text().strip()
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=2.0):
            return address
    except (OSError, ValueError):
        return ""
