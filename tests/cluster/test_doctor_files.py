"""Cluster files as shipped, and with one thing broken at a time: each is found, with its line."""

import pytest

from cluster.doctor.check_file import check_file, report_file
from cluster.doctor.commands import ROOT
from configs.errors import InputError

FILES = {
    "tpu": ROOT / "cluster" / "tpu.yaml",
    "local": ROOT / "cluster" / "local.yaml",
    "kuberay": ROOT / "cluster" / "kuberay" / "cluster.yaml",
}

# file, what stands there, what is written instead, the key that is named, a part of the message
BROKEN = [
    ("tpu", "{TPU: 4}", "{TPU: 1}", "learner.resources.TPU", "write TPU: 4"),
    ("tpu", "{TPU: 8}", "{TPU: 4}", "rollout.resources.TPU", "write TPU: 8"),
    (
        "tpu",
        "Type: v5litepod-16",
        "Type: v5e-16",
        "learner.node_config.acceleratorType",
        "no such type",
    ),
    (
        "tpu",
        "token RAY_enable_autoscaler_v2=0",
        "token",
        "head_start_ray_commands[1]",
        "stops 3 of the 4",
    ),
    ("tpu", "RAY_AUTH_MODE=token RAY_e", "RAY_e", "head_start_ray_commands[1]", "runs code here"),
    ("tpu", "RAY_AUTH_MODE=token RAY_U", "RAY_U", "worker_start_ray_commands[1]", "RAY_AUTH_MODE"),
    ("tpu", "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "head_start", "dashboard"),
    ("tpu", "health_check_timeout_ms=2000", "health_check_timeout_ms=20000", "head_start", "105 s"),
    ("tpu", "head_node_type: head", "head_node_type: learner", "head_node_type", "cannot be the"),
    ("tpu", "head_node_type: head", "head_node_type: haed", "head_node_type", "write head"),
    ("tpu", "max_workers: 4", "max_workers: 2", "max_workers", "want at least 3"),
    ("tpu", "us-west4-a #", "us-east1-a #", "provider.availability_zone", "region us-west4"),
    ("tpu", "regions/us-west4", "regions/us-east1", "networkInterfaces[0].subnetwork", "project"),
    ("tpu", "showwork-role: rollout", "showwork-role: roll", "rollout.labels", "no such role"),
    ("tpu", "preemptible: false", "preemptible: true", "schedulingConfig.preemptible", "taken"),
    ("tpu", "preemptible: false", "preemtible: false", "preemtible", "did you mean preemptible"),
    ("tpu", "machineType: n2", "machinetype: n2", "head.node_config.machinetype", "machineType?"),
    ("tpu", "{CPU: 16}", "{CPU: 64}", "head.resources.CPU", "has 16 CPUs"),
    ("tpu", "chmod 600 ~", "chmod 644 ~", "setup_commands", "every user of a host"),
    ("tpu", ' "~/.ray/auth_token": "~/.ray/auth_token"', " #", "file_mounts", "does not reach"),
    ("tpu", "sync --locked", "sync", "learner.worker_setup_commands", "packages of uv.lock"),
    ("tpu", "--python 3.11", "--python 3.12", "setup_commands", "different versions of Python"),
    ("tpu", " --extra tpu", "", "learner.worker_setup_commands", "sees no TPU"),
    ("tpu", " --extra gcp", "", "head_setup_commands", "no client of the cloud"),
    ("tpu", "use_internal_ips: true", "use_internal_ips: false", "use_internal_ips", "internet"),
    ("tpu", "runtimeVersion: v2-alpha-tpuv5-lite", "", "runtimeVersion", "system image"),
    ("tpu", "upscaling_speed", "upscale_speed", "upscale_speed", "did you mean upscaling_speed?"),
    ("tpu", "ulimit -n 65536;", "", "head_start_ray_commands[1]", "1,024 files"),
    ("tpu", "$RAY_HEAD_IP:6379", "$RAY_HEAD_IP:6380", "worker_start_ray", "on port 6379"),
    ("local", "192.168.0.12]", "192.168.0.11]", "provider.worker_ips[1]", "named twice"),
    ("local", "192.168.0.12]", "host-twelve]", "provider.worker_ips[1]", "no IP address"),
    ("local", "head_ip: 192.168.0.10", "head_ip: 192.168.0.300", "head_ip", "no IP address"),
    ("local", "max_workers: 2", "max_workers: 1", "max_workers", "write max_workers: 2"),
    ("local", "min_workers: 2", "min_workers: 0", "min_workers", "write min_workers: 2"),
    ("local", "minutes: 1000000", "minutes: 5", "idle_timeout_minutes", "was idle for so long"),
    ("local", "ssh_user: ubuntu #", "#", "auth.ssh_user", "name the user"),
    ("local", "type: local", "type: aws", "provider.type", "write gcp or local"),
    ("local", "RAY_AUTH_MODE=token RAY_e", "RAY_e", "head_start_ray_commands[1]", "not set"),
    ("local", "token RAY_enable_autoscaler_v2=0", "token", "head_start_ray", "no other"),
    ("local", "127.0.0.1", "0.0.0.0", "head_start_ray_commands[1]", "ray dashboard"),
    ("local", "RAY_health_check_period_ms=1000", "", "head_start_ray_commands[1]", "65 s"),
    ("local", "chmod 600 ~", "chmod 640 ~", "setup_commands", "add `chmod 600"),
    ("local", '"~/showwork": "."', '"~/x": "."', "file_mounts", "project does not reach"),
    ("local", "--python 3.11", "--python 3.14", "setup_commands[3]", "3.11,<3.14"),
    ("local", "uv==0.13.9", "uv", "setup_commands", "uv is left open"),
    ("local", "ray start --address=$RAY_HEAD_IP:6379", "ray start", "worker_start", "where the"),
    ("kuberay", "{mode: token}", "{mode: disabled}", "spec.authOptions.mode", "runs code here"),
    ("kuberay", "rayVersion: 2.60.0", "rayVersion: 2.9.0", "spec.rayVersion", "write rayVersion"),
    ("kuberay", "numOfHosts: 4", "numOfHosts: 2", "workerGroupSpecs[0].numOfHosts", "Hosts: 4"),
    ("kuberay", "topology: 4x4", "topology: 4by4", "gke-tpu-topology", "is no topology"),
    ("kuberay", "topology: 4x4", "topology: 2x4", "workerGroupSpecs[0].numOfHosts", "8 chips"),
    ("kuberay", '{cpu: "24", memory: 180Gi, google.com/tpu: "4"} #', "{} #", "google.com", "4"),
    ("kuberay", 'tpu: "4"}\n  ', 'tpu: "8"}\n  ', "requests.google.com/tpu", "must equal limits"),
    ("kuberay", "tpu-v5-lite-podslice", "tpu-v5e-podslice", "gke-tpu-accelerator", "v5-lite"),
    ("kuberay", "dashboard-host: 127.0.0.1, ", "", "rayStartParams.dashboard-host", "port-forward"),
    ("kuberay", "numOfHosts: 4", "numHosts: 4", "workerGroupSpecs[0].numHosts", "numOfHosts?"),
    ("kuberay", "showwork-role: judge", "showwork-role: jugde", "labels", "no such role"),
    ("kuberay", "showwork-role: judge", "role: judge", "labels", "have no role"),
    ("kuberay", "replicas: 1\n", "replicas: 3\n", "workerGroupSpecs[0].replicas", "from 1 to 1"),
    ("kuberay", 'ms, value: "1000"', 'ms, value: "9000"', "containers[0].env", "65 s"),
    ("kuberay", "registry.example/showwork:1 # yours\n", "x:2\n", "image", "versions would differ"),
    ("kuberay", "ray.io/v1", "ray.io/v1beta9", "kind", "no RayCluster"),
    ("kuberay", "workerGroupSpecs:", "workerGroups:", "workerGroups", "did you mean"),
]


@pytest.mark.parametrize("name", FILES)
def test_the_shipped_files_are_sound_and_say_what_is_the_users(name):
    wrong, still_open = check_file(FILES[name])
    assert wrong == []
    assert len(still_open) >= 5 and all(finding.open for finding in still_open)
    assert report_file(FILES[name]) == 1


@pytest.mark.parametrize(
    ("name", "old", "new", "key", "message"), BROKEN, ids=[f"{b[0]}-{b[1]}-{b[2]}" for b in BROKEN]
)
def test_what_is_broken_is_named_with_its_line(name, old, new, key, message, tmp_path):
    text = FILES[name].read_text()
    assert old in text
    path = tmp_path / FILES[name].name
    path.write_text(text.replace(old, new, 1))
    wrong, _ = check_file(path)
    named = [finding for finding in wrong if key in finding.key]
    assert named, wrong
    said = named[0].text(path)
    assert message in said
    assert said.startswith(f"{path}:{named[0].line}: ")


def test_every_file_has_a_dozen_mutations():
    assert all(sum(broken[0] == name for broken in BROKEN) >= 12 for name in FILES)


def test_the_line_is_that_of_the_value(tmp_path, capsys):
    path = tmp_path / "tpu.yaml"
    text = FILES["tpu"].read_text().replace("{TPU: 4}", "{TPU: 1}")
    path.write_text(text)
    line = 1 + text[: text.index("{TPU: 1}")].count("\n")
    assert report_file(path) == 2
    assert (
        f"{path}:{line}: available_node_types.learner.resources.TPU = 1: "
        "a host of v5litepod-16 has 4 chips; write TPU: 4\n"
    ) in capsys.readouterr().out


def test_a_file_that_was_filled_in_is_ready(tmp_path, capsys):
    path = tmp_path / "local.yaml"
    path.write_text(FILES["local"].read_text().replace("# yours", "#"))
    assert report_file(path) == 0
    assert capsys.readouterr().out == f"{path}: ready\n"


def test_what_is_no_cluster_file_is_refused(tmp_path):
    path = tmp_path / "x.yaml"
    with pytest.raises(InputError, match=r"x.yaml: No such file"):
        check_file(path)
    for text, said in [
        ("a: [1", r"x.yaml:1: not YAML"),
        ("- 1", "holds no keys"),
        ("", "holds no keys"),
        ("a: 1\nb: 2\na: 3", "x.yaml:3: a stands twice, first on line 1"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            check_file(path)
