"""`launch.py doctor FILE`: is a cluster file right? Nothing is started and no cloud is asked."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema

from cluster.doctor.commands import check_commands
from cluster.doctor.files import ClusterFile, Finding, open_values, read_cluster_file
from cluster.doctor.gcp import check_gcp, schema_finding
from cluster.doctor.kuberay import check_kuberay
from cluster.doctor.onprem import check_local

_PROVIDERS = {"gcp": check_gcp, "local": check_local}


def check_file(path: Path) -> tuple[list[Finding], list[Finding]]:
    """What is wrong in the file, and which of its lines the user still has to fill in.

    Raises InputError when it is no cluster file at all.
    """
    file = read_cluster_file(path)
    found = sorted(set(_findings(file)), key=lambda finding: (finding.line, finding.key))
    return found, open_values(file)


def report_file(path: Path) -> int:
    """Print what was found. 0: ready; 1: lines of the user's own are open; 2: something wrong."""
    wrong, still_open = check_file(path)
    for finding in (*wrong, *still_open):
        print(finding.text(path))
    if wrong:
        print(f"{path}: {len(wrong)} to mend")
        return 2
    if still_open:
        print(f"{path}: sound, but {len(still_open)} lines are still the example's")
        return 1
    print(f"{path}: ready")
    return 0


def _findings(file: ClusterFile) -> Iterator[Finding]:
    if file.at("kind") == "RayCluster" or file.at("apiVersion"):
        if file.at("kind") != "RayCluster" or file.at("apiVersion") != "ray.io/v1":
            yield file.finding(
                ("kind",), "is no RayCluster of ray.io/v1", "see cluster/kuberay/cluster.yaml"
            )
            return
        yield from check_kuberay(file)
        return
    kind = file.at("provider", "type")
    # Ray moves this key of a file for one's own machines before it checks
    moved = ("min_workers",) if kind == "local" else ()
    tree = {key: value for key, value in file.tree.items() if key not in moved}
    for error in jsonschema.Draft7Validator(_launcher_schema()).iter_errors(tree):
        yield schema_finding(file, (), error)
    if kind not in _PROVIDERS:
        yield file.finding(
            ("provider", "type"),
            "no provider that this project has a file for",
            f"write {' or '.join(_PROVIDERS)}",
            value=kind or "nothing",
        )
        return
    yield from _PROVIDERS[kind](file)
    yield from check_commands(file)


def _launcher_schema() -> dict[str, Any]:
    """Ray's own schema of the files that `ray up` reads."""
    spec = find_spec("ray")
    assert spec is not None and spec.origin is not None
    return json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
