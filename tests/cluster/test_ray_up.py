"""`ray up cluster/tpu.yaml`, all of it but the cloud and its hosts.

Ray's launcher runs, then the autoscaler that it starts on the head, with the configuration it sent
there. Each REST call and each remote command is looked at.
"""

import json
import time
from functools import partial

import jsonschema
import pytest
import yaml

from cluster.doctor.commands import ROOT
from cluster.doctor.gcp import _schema
from tests.cluster.cloud import Cloud, Shell, connect_ray

HEAD = "10.0.0.2"


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The cloud and what its hosts were told, once nothing changes any more."""
    from ray.autoscaler._private import commands, updater

    home, project = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("project")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("not-a-real-token")
    (home / "showwork").mkdir()
    (project / "launch.py").write_text("# a file to send\n")
    cloud, shell = Cloud(), Shell()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.chdir(project)
        connect_ray(monkeypatch, cloud)
        monkeypatch.setattr(updater, "READY_CHECK_INTERVAL", 0.01)
        monkeypatch.setattr(commands, "POLL_INTERVAL", 0.01)
        create = partial(commands.get_or_create_head_node, _runner=shell)
        monkeypatch.setattr(commands, "get_or_create_head_node", create)
        commands.create_or_update_cluster(
            str(ROOT / "cluster" / "tpu.yaml"),
            None,
            None,
            False,
            False,
            yes=True,
            no_config_cache=True,
        )
        config = yaml.safe_load(shell.sent["~/ray_bootstrap_config.yaml"])
        (home / "ray_bootstrap_key.pem").write_text("key")
        _autoscale(config, shell, cloud)
    return cloud, shell


class NoNodes:
    """Of the GCS, the autoscaler asks only to drain nodes that it takes down."""

    def drain_nodes(self, nodes, timeout):
        raise AssertionError(f"nodes were taken down: {nodes}")


def _autoscale(config, shell, cloud):
    """Run the head's autoscaler until all is up, and some rounds more."""
    from ray.autoscaler._private.autoscaler import StandardAutoscaler
    from ray.autoscaler._private.load_metrics import LoadMetrics

    metrics = LoadMetrics()
    autoscaler = StandardAutoscaler(
        lambda: config, metrics, NoNodes(), process_runner=shell, update_interval_s=0
    )
    quiet = 0
    for _ in range(300):
        before = len(shell.told), len(cloud.calls)
        for address in list(metrics.last_heartbeat_time_by_ip):
            metrics.mark_active(address)  # a host that is up goes on to answer, however slow we are
        autoscaler.update()
        time.sleep(0.05)
        # one that ended after a round had read the hosts' tags, and before it looked, starts anew
        for updater in autoscaler.updaters.values():
            updater.join()
        quiet = 0 if before != (len(shell.told), len(cloud.calls)) else quiet + 1
        if quiet == 10 and autoscaler.pending_launches.value == 0:
            return
    raise AssertionError("the cluster does not come to rest")


def slice_of(cloud, kind):
    (found,) = [s for s in cloud.slices.values() if s["acceleratorType"] == kind]
    return [endpoint["ipAddress"] for endpoint in found["networkEndpoints"]]


def starts_on(shell, address):
    return [command for command in shell.on(address) if "ray start" in command]


def test_all_hosts_come_up_and_stay(launched):
    cloud, _ = launched
    assert len(slice_of(cloud, "v5litepod-16")) == 4
    assert len(slice_of(cloud, "v5litepod-8")) == 1
    assert sorted(machine["labels"]["ray-node-type"] for machine in cloud.machines.values()) == [
        "head",
        "worker",
    ]
    assert not [call for call in cloud.calls if call[0] == "DELETE"]


def test_every_resource_that_was_asked_for_fits_the_clouds_schema(launched):
    cloud, _ = launched
    made = [
        call
        for call in cloud.calls
        if call[0] == "POST" and call[1].endswith(("/instances", "/nodes"))
    ]
    assert len(made) == 4
    for _, path, body in made:
        tpu = path.endswith("/nodes")
        schema = _schema("tpu.v2alpha1", "Node") if tpu else _schema("compute.v1", "Instance")
        # (`validate` would check the schema itself too, for 4 s)
        assert not list(jsonschema.Draft7Validator(schema).iter_errors(body))
        network = body["networkConfig"] if tpu else body["networkInterfaces"][0]
        assert network.get("enableExternalIps") is (False if tpu else None)
        assert "accessConfigs" not in network


def test_each_host_starts_ray_once_with_its_role_and_chips(launched):
    cloud, shell = launched
    for kind, role, chips in (("v5litepod-16", "learner", 4), ("v5litepod-8", "rollout", 8)):
        for rank, address in enumerate(slice_of(cloud, kind)):
            (start,) = starts_on(shell, address)
            resources = {"TPU": chips} | ({f"TPU-{kind}-head": 1} if rank == 0 else {})
            assert _exported(start, "RAY_OVERRIDE_RESOURCES") == resources
            assert _exported(start, "RAY_OVERRIDE_LABELS") == {"showwork-role": role}
            assert _exported(start, "RAY_HEAD_IP") == HEAD
            assert "RAY_AUTH_MODE=token" in start.split("ray start")[0]


def test_every_host_gets_project_token_and_the_packages_of_the_lock_file(launched):
    cloud, shell = launched
    tpu_hosts = [*slice_of(cloud, "v5litepod-16"), *slice_of(cloud, "v5litepod-8")]
    for address in [HEAD, *tpu_hosts, "10.0.0.3"]:
        told = shell.on(address)
        position = {
            part: next(n for n, command in enumerate(told) if part in command)
            for part in (
                "-> ~/showwork",
                "auth_token",
                "chmod 600",
                "uv sync --locked",
                "ray start",
            )
        }
        assert list(position.values()) == sorted(position.values()), "in this order"
        install = told[position["uv sync --locked"]]
        assert ("--extra tpu" in install) == (address in tpu_hosts)
        assert ("--extra gcp" in install) == (address == HEAD)


def test_the_heads_autoscaler_is_the_one_that_keeps_slices_whole(launched):
    _, shell = launched
    (start,) = starts_on(shell, HEAD)
    before = start.split("ray start")[0]
    # `ray up` itself switches version 2 on, ahead of the file's own commands
    assert before.rindex("RAY_enable_autoscaler_v2=0") > before.rindex("autoscaler_v2=1")
    assert "--dashboard-host=127.0.0.1" in start


def _exported(command, name):
    value = command.split(f"export {name}=", 1)[1].split(";", 1)[0].strip("'\"")
    return json.loads(value) if value.startswith("{") else value
