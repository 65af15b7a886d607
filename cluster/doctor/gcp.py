"""Launcher files for Google Cloud: node types against the cloud's own schemas, TPU slices."""

import json
import math
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import jsonschema

from cluster.doctor.commands import check_autoscaler, setup_lists
from cluster.doctor.files import ClusterFile, Finding, Key
from cluster.doctor.roles import check_roles
from cluster.hosts import ROLE_LABEL
from configs.errors import InputError, nearest

_TYPES = "available_node_types"


def check_gcp(file: ClusterFile) -> Iterator[Finding]:
    provider = file.at("provider", default={})
    for name in ("project_id", "region", "availability_zone"):
        if not isinstance(provider.get(name), str):
            yield file.finding(("provider", name), "is missing", "write it")
    region, zone = str(provider.get("region")), str(provider.get("availability_zone"))
    if not zone.startswith(region + "-"):
        yield file.finding(
            ("provider", "availability_zone"),
            f"is not in the region {region}",
            f"write a zone such as {region}-a",
        )
    if provider.get("use_internal_ips") is not True:
        yield file.finding(
            ("provider", "use_internal_ips"),
            "hosts get addresses that the internet can reach",
            "write use_internal_ips: true",
        )
    kinds = {
        name: kind
        for name, kind in (file.at(_TYPES, default={}) or {}).items()
        if isinstance(kind, dict) and isinstance(kind.get("node_config"), dict)
    }
    for name, kind in kinds.items():
        yield from _check_kind(file, name, kind)
    yield from _check_counts(file, kinds)
    yield from _check_head(file, kinds)
    roles: dict[Key, object] = {
        (_TYPES, name, "labels", ROLE_LABEL): (kind.get("labels") or {}).get(ROLE_LABEL)
        for name, kind in kinds.items()
    }
    counts: dict[Key, int] = {
        (_TYPES, name, "labels", ROLE_LABEL): int(kind.get("min_workers") or 0)
        for name, kind in kinds.items()
    }
    yield from check_roles(file, roles, counts)


def is_tpu(kind: dict[str, Any]) -> bool:
    node = kind["node_config"]
    return "machineType" not in node and ("acceleratorType" in node or "acceleratorConfig" in node)


def slice_shape(accelerator: str) -> tuple[int, int]:
    """Hosts and chips per host of a slice such as v5litepod-16. Raises ValueError."""
    from ray._private.accelerators import tpu

    if not tpu.TPUAcceleratorManager.is_valid_tpu_accelerator_type(accelerator):
        raise ValueError(f"{accelerator} is no type of slice")
    per_host = tpu.get_num_tpu_visible_chips_per_host(accelerator)
    chips = tpu.get_total_chips_from_accelerator_type(accelerator)
    return max(1, math.ceil(chips / per_host)), per_host


def _check_kind(file: ClusterFile, name: str, kind: dict[str, Any]) -> Iterator[Finding]:
    key = (_TYPES, name)
    if is_tpu(kind):
        yield from _check_slice(file, key, kind)
    else:
        yield from _check_machine(file, key, kind)
    low, high = kind.get("min_workers") or 0, kind.get("max_workers")
    if isinstance(high, int) and isinstance(low, int) and low > high:
        yield file.finding(
            (*key, "min_workers"), f"is above max_workers = {high}", "raise max_workers"
        )
    schema = _schema("tpu.v2alpha1", "Node") if is_tpu(kind) else _schema("compute.v1", "Instance")
    for error in jsonschema.Draft7Validator(schema).iter_errors(kind["node_config"]):
        yield schema_finding(file, (*key, "node_config"), error)


def _check_slice(file: ClusterFile, key: Key, kind: dict[str, Any]) -> Iterator[Finding]:
    node = kind["node_config"]
    accelerator = str(node.get("acceleratorType") or "")
    where = (*key, "node_config", "acceleratorType")
    try:
        hosts, chips = slice_shape(accelerator)
    except ValueError:
        yield file.finding(
            where,
            "no such type of slice",
            "write a generation and its chips or cores, such as v5litepod-16, v6e-16 or v5p-32",
        )
        return
    said = (kind.get("resources") or {}).get("TPU")
    if said != chips:
        yield file.finding(
            (*key, "resources", "TPU"),
            f"a host of {accelerator} has {chips} chips",
            f"write TPU: {chips}",
            value=said if said is not None else "nothing",
        )
    if not node.get("runtimeVersion"):
        yield file.finding(
            (*key, "node_config", "runtimeVersion"),
            "a slice needs the name of its system image",
            "write runtimeVersion, such as v2-alpha-tpuv5-lite",
        )
    if hosts > 1:
        yield from _check_multihost(file, key, kind, hosts, accelerator)
    yield from _check_libtpu(file, key)


def _check_multihost(
    file: ClusterFile, key: Key, kind: dict[str, Any], hosts: int, accelerator: str
) -> Iterator[Finding]:
    yield from check_autoscaler(
        file, f"version 2 of Ray's autoscaler stops {hosts - 1} of the {hosts} hosts of a slice"
    )
    scheduling = kind["node_config"].get("schedulingConfig") or {}
    role = (kind.get("labels") or {}).get(ROLE_LABEL)
    for name in ("preemptible", "spot"):
        if role == "learner" and scheduling.get(name):
            yield file.finding(
                (*key, "node_config", "schedulingConfig", name),
                f"the learner's {accelerator} could be taken away at any time, and the run with it",
                f"write {name}: false, or take it out",
            )


def _check_libtpu(file: ClusterFile, key: Key) -> Iterator[Finding]:
    lists = setup_lists(file)
    own = (*key, "worker_setup_commands")
    where = own if own in lists else ("worker_setup_commands",)
    if "--extra tpu" not in lists.get(where, ""):
        yield file.finding(
            where,
            "TPU hosts would get a JAX that sees no TPU",
            "add --extra tpu to their `uv sync`",
        )


def _check_machine(file: ClusterFile, key: Key, kind: dict[str, Any]) -> Iterator[Finding]:
    node, resources = kind["node_config"], kind.get("resources") or {}
    if "TPU" in resources:
        yield file.finding(
            (*key, "resources", "TPU"), "a virtual machine has no TPU chips", "take it out"
        )
    size = re.search(r"-(\d+)$", str(node.get("machineType")))
    if size and resources.get("CPU") != int(size[1]):
        yield file.finding(
            (*key, "resources", "CPU"),
            f"{node['machineType']} has {size[1]} CPUs",
            f"write CPU: {size[1]}",
            value=resources.get("CPU", "nothing"),
        )
    for number, interface in enumerate(node.get("networkInterfaces") or []):
        yield from _check_subnetwork(file, (*key, "node_config", "networkInterfaces", number))
        if isinstance(interface, dict) and interface.get("accessConfigs"):
            yield file.finding(
                (*key, "node_config", "networkInterfaces", number, "accessConfigs"),
                "gives the host an address that the internet can reach",
                "take it out",
            )


def _check_subnetwork(file: ClusterFile, key: Key) -> Iterator[Finding]:
    named = str(file.at(*key, "subnetwork", default=""))
    found = re.fullmatch(r"projects/([^/]+)/regions/([^/]+)/subnetworks/[^/]+", named)
    wanted = (file.at("provider", "project_id"), file.at("provider", "region"))
    if found is None or found.groups() != wanted:
        yield file.finding(
            (*key, "subnetwork"),
            f"does not lie in the project {wanted[0]} and the region {wanted[1]}",
            f"write projects/{wanted[0]}/regions/{wanted[1]}/subnetworks/NAME",
        )


def _check_counts(file: ClusterFile, kinds: dict[str, Any]) -> Iterator[Finding]:
    head, limit = file.at("head_node_type"), file.at("max_workers", default=2)
    wanted = sum(int(kind.get("min_workers") or 0) for name, kind in kinds.items() if name != head)
    if isinstance(limit, int) and wanted > limit:
        yield file.finding(
            ("max_workers",),
            f"the kinds of hosts below want at least {wanted}",
            f"write max_workers: {wanted} or more",
        )


def _check_head(file: ClusterFile, kinds: dict[str, Any]) -> Iterator[Finding]:
    head = file.at("head_node_type")
    if head not in kinds:
        near = nearest(str(head), list(kinds))
        yield file.finding(
            ("head_node_type",),
            f"no such kind of host among {_TYPES}",
            f"write {near or 'the name of one'}",
        )
    elif is_tpu(kinds[head]):
        yield file.finding(
            ("head_node_type",), "a TPU slice cannot be the head", "name a virtual machine"
        )
    if "--extra gcp" not in setup_lists(file).get(("head_setup_commands",), ""):
        yield file.finding(
            ("head_setup_commands",),
            "the head makes the slices, and has no client of the cloud",
            "add --extra gcp to its `uv sync`",
        )


def schema_finding(file: ClusterFile, above: Key, error: jsonschema.ValidationError) -> Finding:
    """What a JSON schema has against a value, with the nearest name it would have taken."""
    key = (*above, *error.path)
    if error.validator == "additionalProperties":
        schema: Any = error.schema
        known, instance = list(schema.get("properties", {})), cast("dict[str, Any]", error.instance)
        unknown = next(name for name in instance if name not in known)
        near = nearest(unknown, known)
        return file.finding(
            (*key, unknown),
            "no such key",
            f"did you mean {near}?" if near else "known are " + ", ".join(sorted(known)[:12]),
        )
    return file.finding(key, error.message[:160], "see the shipped file")


_schemas: dict[tuple[str, str], dict[str, Any]] = {}


def _schema(api: str, name: str) -> dict[str, Any]:
    """The JSON schema of a REST resource, made of the discovery document of Google's client."""
    if (api, name) not in _schemas:
        spec = find_spec("googleapiclient")
        if spec is None or spec.origin is None:
            raise InputError(
                "a file for Google Cloud is checked against the schemas in its client: "
                "uv sync --extra gcp, then ask again"
            )
        folder = Path(spec.origin).parent / "discovery_cache" / "documents"
        every = json.loads((folder / f"{api}.json").read_text())["schemas"]
        definitions = {key: _converted(value) for key, value in every.items()}
        _schemas[api, name] = {"definitions": definitions, "$ref": f"#/definitions/{name}"}
    return _schemas[api, name]


def _converted(found: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in found:
        return {"$ref": f"#/definitions/{found['$ref']}"}
    schema: dict[str, Any] = {key: found[key] for key in ("type", "enum") if key in found}
    if schema.get("type") == "any":
        del schema["type"]
    if found.get("format") in ("int64", "uint64"):  # in JSON, either will do
        schema = {"type": ["string", "integer"]}
    if "properties" in found:
        schema["additionalProperties"] = False
        schema["properties"] = {
            key: _converted(value)
            for key, value in found["properties"].items()
            if not value.get("readOnly")
        }
    elif "additionalProperties" in found:
        schema["additionalProperties"] = _converted(found["additionalProperties"])
    if "items" in found:
        schema["items"] = _converted(found["items"])
    return schema
