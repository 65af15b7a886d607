"""What the reports of all hosts mean for a run. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.doctor.exam import PACKAGES, Report

_GIB = 2**30
_SKEW_S = 2.0
_SLOW_S = 600.0  # a checkpoint that takes longer holds up the run


@dataclass(frozen=True)
class Host:
    """A host of the plan, and what was found out about it."""

    name: str
    writes: bool  # learner or driver: it writes into the run folder
    report: Report
    skew_s: float  # its clock against the driver's; the part that the network cannot explain
    seen: tuple[str, ...]  # names of hosts whose files it sees in the run folder
    unreached: tuple[str, ...]  # names of hosts that it cannot connect to
    store_bytes: int  # of its object store
    devices: str  # what Ray says it has, as "tpu 4"; "": none


@dataclass(frozen=True)
class Needs:
    """Of the run, in bytes."""

    policy: int  # one version on the wire
    checkpoints: int  # all that are kept, and the one being written
    checkpoint: int


@dataclass(frozen=True)
class Check:
    what: str
    host: str
    found: str
    remedy: str = ""  # "": it is well


def verdicts(hosts: Sequence[Host], needs: Needs) -> list[Check]:
    """Everything that was looked at, by host; what would make the run fail has a remedy."""
    return [check for host in hosts for check in _of(host, hosts, needs)]


def _of(host: Host, hosts: Sequence[Host], needs: Needs) -> Iterator[Check]:
    first, report = hosts[0].report, host.report
    yield _same(host, "Python", report.python, first.python, "install that one on every host")
    for name in PACKAGES:
        mine, theirs = report.packages[name] or "missing", first.packages[name] or "missing"
        if mine != theirs:
            yield _same(host, name, mine, theirs, "run `uv sync --locked` on every host")
    yield _same(host, "project", report.project, first.project, "run `ray up` again: files differ")
    yield Check(
        *("clock", host.name, f"{host.skew_s:+.1f} s"),
        "set the clocks by NTP" if abs(host.skew_s) > _SKEW_S else "",
    )
    wanted = 512 + 32 * len(hosts)
    yield Check(
        *("open files", host.name, str(report.open_files)),
        f"at least {wanted}: `ulimit -n 65536` before `ray start`"
        if 0 <= report.open_files < wanted
        else "",
    )
    yield _reached(host)
    yield _store(host, needs)
    if host.devices:
        ok = report.backend == host.devices
        yield Check(
            *("JAX", host.name, report.backend),
            "" if ok else f"Ray has {host.devices} here: install the extra tpu or cuda",
        )
    if host.writes:
        yield from _folder(host, hosts, needs)


def _same(host: Host, what: str, mine: str, theirs: str, remedy: str) -> Check:
    return Check(
        *(what, host.name, mine), "" if mine == theirs else f"the driver's is {theirs}: {remedy}"
    )


def _reached(host: Host) -> Check:
    others = ", ".join(host.unreached)
    return Check(
        *("network", host.name, f"does not reach {others}" if others else "reaches all"),
        "open all tcp ports between the hosts of the cluster" if others else "",
    )


def _store(host: Host, needs: Needs) -> Check:
    wanted = 3 * needs.policy  # two versions that are kept, and one on its way
    return Check(
        *("object store", host.name, f"{host.store_bytes / _GIB:.2f} GiB"),
        f"at least {wanted / _GIB:.2f} GiB, three policies: --object-store-memory at `ray start`"
        if host.store_bytes < wanted
        else "",
    )


def _folder(host: Host, hosts: Sequence[Host], needs: Needs) -> Iterator[Check]:
    report = host.report
    if report.folder_error:
        yield Check("run folder", host.name, report.folder_error, "make it writable there")
        return
    unseen = [other.name for other in hosts if _writes(other) and other.name not in host.seen]
    yield Check(
        *("shared folder", host.name, "not shared" if unseen else "shared"),
        f"files of {unseen[0]} are not seen here: mount the same folder on all learner hosts"
        if unseen
        else "",
    )
    yield Check(
        *("free disk", host.name, f"{report.free_bytes / _GIB:.1f} GiB"),
        f"the checkpoints take {needs.checkpoints / _GIB:.1f} GiB: give a larger disk"
        if report.free_bytes < needs.checkpoints
        else "",
    )
    slow_s = needs.checkpoint / 1e6 / max(report.write_mb_s, 1e-3)
    yield Check(
        *("write speed", host.name, f"{report.write_mb_s:.0f} MB/s"),
        f"a checkpoint would take {slow_s:.0f} s: give a faster disk" if slow_s > _SLOW_S else "",
    )


def _writes(host: Host) -> bool:
    return host.writes and not host.report.folder_error
