"""The rollout and judge actors of a run, on hosts that come and go.

A host of the plan keeps its number. When it is lost, what ran there goes on at a spare host or at
one of the others, until a host of its kind joins and takes its place; further ones work beside. A
host that is to be taken away finishes the groups that it has in progress first.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import ray

from cluster.connect import Connection, draining
from cluster.hosts import ROLES, Host, devices_of, read_hosts
from cluster.workers import WorkerPool

_LOOK_S = 5.0  # for hosts that have joined, or are to be taken away
_DRAINS = "rollout"  # the role whose hosts are spot machines


@dataclass(frozen=True)
class Joined:
    """A host that works for the run from now on."""

    role: str
    host: int  # its number in the run
    again: bool  # that of a host that was lost


class Crew:
    """`start`: makes the pool of a role on hosts of the run, wherever those are at present."""

    def __init__(
        self,
        connection: Connection,
        hosts: Mapping[str, Sequence[int]],
        start: Callable[[str, Callable[[], Connection], Sequence[int]], WorkerPool],
        tell: Callable[[str], None],
    ):
        self.connection, self._start, self._tell = connection, start, tell
        self._pools = {role: start(role, self.settled, places) for role, places in hosts.items()}
        self._looked_at = time.monotonic()
        self._leaving: set[str] = set()  # nodes

    def settled(self) -> Connection:
        return self.connection.settled()

    def places(self, role: str) -> tuple[int, ...]:
        """Host by number of an actor."""
        return tuple(self._pools[role].hosts)

    def replace(self) -> dict[str, str]:
        """Replace what died or hangs, and take in hosts: actor id -> what happened, of those that
        had work."""
        lost: dict[str, str] = {}
        if time.monotonic() - self._looked_at > _LOOK_S and not self.connection.local:
            self._looked_at = time.monotonic()
            going = draining()
            self._let_go(going - self._leaving)
            lost = self._take_in(going)
        for pool in self._pools.values():
            lost |= pool.replace()
        return lost

    def restart(self, role: str) -> None:
        """All actors of a role anew."""
        places = self.places(role)
        self._pools[role].kill()
        self._pools[role] = self._start(role, self.settled, places)

    def doing(self) -> list[str]:
        """What each actor said last."""
        return [line for pool in self._pools.values() for line in pool.doing()]

    def kill(self) -> None:
        for pool in self._pools.values():
            pool.kill()

    def _let_go(self, going: set[str]) -> None:
        self._leaving |= going
        for number in set(self.places(_DRAINS)):
            if self.connection.nodes[number] in going:
                self._tell(f"{self.connection.names[number]} is to be taken away: it drains")
                self._pools[_DRAINS].leave(number)

    def _take_in(self, going: set[str]) -> dict[str, str]:
        every = read_hosts(ray.nodes(), self.connection.nodes[0])
        places = {role: self.places(role) for role in self._pools}
        stay = [host for host in every if host.node not in going]
        self.connection, joined = seat(self.connection, places, stay)
        lost: dict[str, str] = {}
        for each in joined:
            self._tell(f"{self.connection.names[each.host]} has joined: {each.role}")
            if each.again:
                lost |= self._pools[each.role].move(each.host)
            else:
                self._pools[each.role].add(each.host)
        return lost


def seat(
    connection: Connection, places: Mapping[str, Sequence[int]], hosts: Sequence[Host]
) -> tuple[Connection, list[Joined]]:
    """The connection with `hosts` (those that are up and stay) that joined since, and what they do.

    `places`: of each role, the hosts of the run. A host labelled with a role joins it, one without
    a label samples; where no host is labelled, and with the label of learners, it is a spare.
    """
    joined = []
    for host, role in _new(connection, hosts) if any(h.role in ROLES for h in hosts) else ():
        if role not in places:
            continue
        up = {each.node for each in hosts}
        lost = [n for n in places[role] if connection.nodes[n] not in up]
        number = lost[0] if lost else len(connection.nodes)
        connection = _seated(connection, number, host)
        joined.append(Joined(role, number, bool(lost)))
    return connection, joined


def _new(connection: Connection, hosts: Sequence[Host]) -> Iterator[tuple[Host, str]]:
    for host in hosts:
        if host.node not in connection.nodes:
            yield host, host.role or "rollout"


def _seated(connection: Connection, number: int, host: Host) -> Connection:
    def put(values: tuple, value: object) -> tuple:
        return (*values[:number], value, *values[number + 1 :])

    options = connection.options
    return replace(
        connection,
        nodes=put(connection.nodes, host.node),
        addresses=put(connection.addresses, host.address),
        options=put(options, devices_of(host, 1))
        if options and number == len(options)
        else options,
    )
