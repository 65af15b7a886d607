"""KubeRay files: keys of a RayCluster, slices, roles, authentication."""

from collections.abc import Iterator
from importlib.metadata import version
from math import prod
from typing import Any

from cluster.doctor.commands import HEALTH
from cluster.doctor.files import ClusterFile, Finding, Key
from cluster.doctor.roles import check_roles
from cluster.hosts import ROLE_LABEL
from configs.errors import nearest

_GROUP = {"labels", "rayStartParams", "resources", "template"}
_HEAD = _GROUP | {"enableIngress", "headService", "ingressOptions", "serviceType"}
_WORKERS = _GROUP | {
    *("groupName", "idleTimeoutSeconds", "maxReplicas", "minReplicas", "numOfHosts"),
    *("priority", "replicas", "scaleStrategy", "suspend"),
}
_SPEC = {
    *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions"),
    *("headGroupSpec", "headServiceAnnotations", "historyServerOptions", "managedBy"),
    *("networkPolicy", "rayVersion", "suspend", "tlsOptions", "upgradeStrategy"),
    "workerGroupSpecs",
}
_TPU = "google.com/tpu"
_ACCELERATOR, _TOPOLOGY = "gke-tpu-accelerator", "gke-tpu-topology"
_GKE = "cloud.google.com/"
_ACCELERATORS = (
    *("tpu-v4-podslice", "tpu-v5-lite-podslice", "tpu-v5-lite-device", "tpu-v5p-slice"),
    *("tpu-v6e-slice", "tpu7x"),
)


def check_kuberay(file: ClusterFile) -> Iterator[Finding]:
    spec = file.at("spec", default={}) or {}
    yield from _unknown(file, ("spec",), _SPEC)
    if file.at("spec", "authOptions", "mode") != "token":
        yield file.finding(
            ("spec", "authOptions", "mode"),
            "without token authentication whoever reaches port 6379 runs code here",
            "write authOptions: {mode: token}",
            value=file.at("spec", "authOptions", "mode", default="not set"),
        )
    if str(spec.get("rayVersion")) != version("ray"):
        yield file.finding(
            ("spec", "rayVersion"),
            f"the image holds ray {version('ray')}, that of uv.lock",
            f"write rayVersion: {version('ray')}",
        )
    yield from _check_head(file)
    groups = [
        ("spec", "workerGroupSpecs", number)
        for number, group in enumerate(spec.get("workerGroupSpecs") or [])
        if isinstance(group, dict)
    ]
    for key in groups:
        yield from _unknown(file, key, _WORKERS)
        yield from _check_group(file, key)
    yield from _check_images(file, [("spec", "headGroupSpec"), *groups])
    labels = {(*key, "labels", ROLE_LABEL): key for key in groups}
    yield from check_roles(
        file,
        {label: file.at(*label) for label in labels},
        {label: int(file.at(*key, "minReplicas", default=0)) for label, key in labels.items()},
    )


def _unknown(file: ClusterFile, key: Key, known: set[str]) -> Iterator[Finding]:
    for name in file.at(*key, default={}) or {}:
        if name not in known:
            near = nearest(str(name), sorted(known))
            yield file.finding(
                (*key, name),
                "no such key: Kubernetes would drop it without a word",
                f"did you mean {near}?" if near else "take it out",
            )


def _check_head(file: ClusterFile) -> Iterator[Finding]:
    key = ("spec", "headGroupSpec")
    yield from _unknown(file, key, _HEAD)
    host = file.at(*key, "rayStartParams", "dashboard-host")
    if host != "127.0.0.1":
        yield file.finding(
            (*key, "rayStartParams", "dashboard-host"),
            "the dashboard, which runs any job it is given, listens beyond its pod",
            "write dashboard-host: 127.0.0.1 and reach it with `kubectl port-forward`",
            value=host or "0.0.0.0, the default",
        )
    container = _container(file, key)
    env = {
        str(entry.get("name")): str(entry.get("value"))
        for entry in file.at(*container, "env", default=[]) or []
        if isinstance(entry, dict)
    }
    for name, value in HEALTH.items():
        if env.get(f"RAY_health_check_{name}") != str(value):
            yield file.finding(
                (*container, "env"),
                "a host that is cut off is missed only after 65 s",
                f'add {{name: RAY_health_check_{name}, value: "{value}"}}',
                value=f"RAY_health_check_{name}",
            )


def _check_group(file: ClusterFile, key: Key) -> Iterator[Finding]:
    low, count, high = (
        file.at(*key, name, default=1) for name in ("minReplicas", "replicas", "maxReplicas")
    )
    if not low <= count <= high:
        yield file.finding(
            (*key, "replicas"), f"is not from {low} to {high}", "write minReplicas <= replicas"
        )
    resources = (*_container(file, key), "resources")
    chips = {where: file.at(*resources, where, _TPU) for where in ("limits", "requests")}
    if chips["limits"] != chips["requests"]:
        yield file.finding(
            (*resources, "requests", _TPU),
            f"requests must equal limits, which say {chips['limits']}",
            f'write {_TPU}: "{chips["limits"]}"',
            value=chips["requests"] or "nothing",
        )
    selector = file.at(*key, "template", "spec", "nodeSelector", default={}) or {}
    if chips["limits"] or any(_ACCELERATOR in name or _TOPOLOGY in name for name in selector):
        yield from _check_slice(file, key, chips["limits"], (*resources, "limits", _TPU))


def _check_slice(file: ClusterFile, key: Key, chips: Any, chips_key: Key) -> Iterator[Finding]:
    selector = (*key, "template", "spec", "nodeSelector")
    kind = file.at(*selector, _GKE + _ACCELERATOR)
    if kind not in _ACCELERATORS:
        yield file.finding(
            (*selector, _GKE + _ACCELERATOR),
            "GKE has no such TPU",
            f"write one of {', '.join(_ACCELERATORS)}",
            value=kind or "nothing",
        )
    topology = str(file.at(*selector, _GKE + _TOPOLOGY, default=""))
    sides = topology.split("x")
    if not all(side.isdecimal() for side in sides):
        yield file.finding(
            (*selector, _GKE + _TOPOLOGY), "is no topology", "write one such as 4x4 or 2x2x2"
        )
        return
    total, hosts = prod(int(side) for side in sides), file.at(*key, "numOfHosts", default=1)
    per_host = int(chips) if str(chips).isdecimal() else 0
    if per_host not in (1, 4, 8) or (hosts > 1 and per_host != 4):
        yield file.finding(
            chips_key,
            "a host of a slice of several has 4 chips" if hosts > 1 else "a host has 1, 4 or 8",
            f'write {_TPU}: "{4 if hosts > 1 else min(total, 8)}" in limits and requests',
            value=chips or "nothing",
        )
    elif hosts * per_host != total:
        yield file.finding(
            (*key, "numOfHosts"),
            f"{topology} has {total} chips, {per_host} on a host",
            f"write numOfHosts: {max(1, total // per_host)}",
            value=hosts,
        )


def _check_images(file: ClusterFile, groups: list[Key]) -> Iterator[Finding]:
    images = {key: file.at(*_container(file, key), "image") for key in groups}
    for key, image in images.items():
        if image != images[groups[0]]:
            yield file.finding(
                (*_container(file, key), "image"),
                f"the head has another image, {images[groups[0]]}: versions would differ",
                "write the same image everywhere",
            )


def _container(file: ClusterFile, group: Key) -> Key:
    return (*group, "template", "spec", "containers", 0)
