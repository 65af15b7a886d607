"""Launcher files for machines of one's own."""

import ipaddress
from collections import Counter
from collections.abc import Iterator

from cluster.doctor.commands import check_autoscaler
from cluster.doctor.files import ClusterFile, Finding


def check_local(file: ClusterFile) -> Iterator[Finding]:
    head = file.at("provider", "head_ip")
    workers = file.at("provider", "worker_ips", default=[])
    if not isinstance(workers, list):
        yield file.finding(("provider", "worker_ips"), "is no list", "write [ADDRESS, ADDRESS]")
        return
    addresses = {("provider", "head_ip"): head}
    addresses |= {("provider", "worker_ips", n): address for n, address in enumerate(workers)}
    for key, address in addresses.items():
        if not _is_address(address):
            yield file.finding(
                key, "is no IP address", "write the address by which the other hosts reach it"
            )
    for address, times in Counter(addresses.values()).items():
        if times > 1:
            key = [key for key, value in addresses.items() if value == address][-1]
            yield file.finding(key, "is named twice", "name each host once")
    yield from _check_counts(file, len(workers))
    if file.at("available_node_types") is not None:
        yield file.finding(
            ("available_node_types",),
            "machines of one's own are of one kind to Ray",
            "take it out; a host's role is in its file ~/.showwork-role",
        )
    if not file.at("auth", "ssh_user"):
        yield file.finding(("auth", "ssh_user"), "is missing", "name the user that ssh logs in as")


def _check_counts(file: ClusterFile, workers: int) -> Iterator[Finding]:
    for name in ("min_workers", "max_workers"):
        count = file.at(name, default=workers)
        if count != workers:
            yield file.finding(
                (name,),
                f"worker_ips names {workers} hosts, and all of them are to be up",
                f"write {name}: {workers}",
            )
    if workers > 1:
        yield from check_autoscaler(
            file, "version 2 of Ray's autoscaler brings up one worker host and no other"
        )
    minutes = file.at("idle_timeout_minutes", default=5)
    if not isinstance(minutes, int | float) or minutes < 24 * 60:
        yield file.finding(
            ("idle_timeout_minutes",),
            "Ray stops its node on a host that was idle for so long, such as a judge's",
            "write idle_timeout_minutes: 1000000",
            value=minutes,
        )


def _is_address(text: object) -> bool:
    try:
        ipaddress.ip_address(str(text))
    except ValueError:
        return False
    return True
