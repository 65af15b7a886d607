"""Labels that say what a host is for, and whether a cluster file provides each kind of host."""

from collections.abc import Iterator, Mapping

from cluster.doctor.files import ClusterFile, Finding, Key
from cluster.hosts import ROLE_LABEL, ROLES

HEAD, ANY = "head", "any"


def check_roles(
    file: ClusterFile, roles: Mapping[Key, object], counts: Mapping[Key, int]
) -> Iterator[Finding]:
    """`roles`: the label of each kind of host by the key of the label; `counts`: hosts at least."""
    for key, role in roles.items():
        if role not in (*ROLES, HEAD, ANY):
            yield file.finding(
                key,
                "no such role" if role else "the hosts have no role",
                f"write {ROLE_LABEL}: one of {', '.join((*ROLES, HEAD, ANY))}",
            )
    if ANY in roles.values():
        return
    for wanted in ROLES:
        keys = [key for key, role in roles.items() if role == wanted]
        if not keys:
            yield file.finding(
                (next(iter(roles))[0],) if roles else (),
                f"no hosts are labelled {ROLE_LABEL}: {wanted}, and a run needs at least one",
                "add a kind of host for it, as in the shipped file",
            )
        elif sum(counts[key] for key in keys) < 1:
            yield file.finding(
                keys[0], f"no {wanted} host is kept up: a run would wait for one", "keep at least 1"
            )
