"""Which host runs what. Pure: the same hosts and configuration give the same plan."""

from collections.abc import Sequence
from dataclasses import dataclass

from configs.errors import InputError
from configs.schema import RunConfig

GIB_PER_HOST = 0.5  # a local Ray node before it runs anything: raylet, agents, object store
GIB_PER_PROCESS = 0.7  # an actor with jax and tunix imported and small programs compiled


@dataclass(frozen=True)
class Plan:
    """Host numbers from 0 on; host 0 is the head, where the driver runs."""

    hosts: int
    learner: tuple[int, ...]  # by learner process
    rollout: tuple[int, ...]  # by rollout actor
    judge: tuple[int, ...]  # by judge actor

    def lines(self, addresses: Sequence[str] = ()) -> list[str]:
        """The plan, for people; with the IP address of each host where they differ."""
        roles = {"learner": self.learner, "rollout": self.rollout, "judge": self.judge}
        lines = [f"plan        {self.hosts} host(s)"]
        for host in range(self.hosts):
            here = [
                f"{role} {','.join(str(n) for n, place in enumerate(places) if place == host)}"
                for role, places in roles.items()
                if host in places
            ]
            driver = ["driver"] if host == 0 else []
            at = f"    {addresses[host]}" if len(set(addresses)) > 1 else ""
            lines.append(f"  host {host}{at}    {' | '.join(driver + here) or 'idle'}")
        return lines

    @property
    def memory_gib(self) -> float:
        """What the plan needs when all its hosts are on one machine (an estimate)."""
        processes = len(self.learner) + len(self.rollout) + len(self.judge) + 1
        return self.hosts * GIB_PER_HOST + processes * GIB_PER_PROCESS


def plan(hosts: int, config: RunConfig) -> Plan:
    """Learner, rollout and judge pools on different hosts as far as there are hosts.

    Of four or more, half are the learner's, one is the judges', the others sample.
    Raises InputError when the learner would leave no host for the rest.
    """
    if hosts < 1:
        raise InputError(f"--hosts = {hosts}: a run needs at least 1 host")
    if hosts == 1:
        learner, rollout, judge = (0,) * max(1, config.learner.hosts), (0,), (0,)
    else:
        count = config.learner.hosts or (1 if hosts < 4 else hosts // 2)
        if count >= hosts:
            raise InputError(
                f"learner.hosts = {count} leaves none of the {hosts} hosts for the other pools; "
                f"give --hosts {count + 1} or more"
            )
        rest = tuple(range(count, hosts))
        learner, judge = tuple(range(count)), rest[-1:]
        rollout = rest[:-1] or rest
    return Plan(
        hosts,
        learner,
        spread(rollout, max(config.rollout.actors, len(rollout))),
        spread(judge, config.judge.actors),
    )


def spread(hosts: tuple[int, ...], count: int) -> tuple[int, ...]:
    """`count` actors on these hosts, round after round."""
    return tuple(hosts[number % len(hosts)] for number in range(count))
