"""`launch.py plan`: roles, mesh and bytes of the shipped files and of a small model."""

import pytest

import launch
from cluster.doctor.commands import ROOT
from cluster.plan import plan_file, plan_local
from configs.errors import InputError
from configs.schema import LearnerSection, LoopSection, ModelSection, RunConfig
from learner.footprint import footprint
from learner.policy.model import build_model
from learner.policy.sharding import mesh_shape

CLUSTER = ROOT / "cluster"


@pytest.mark.parametrize("file", ["tpu.yaml", "kuberay/cluster.yaml"])
def test_the_shipped_clusters_hold_a_run_of_four_hosts(file):
    planned = plan_file(CLUSTER / file, 4, RunConfig())
    assert (planned.devices, planned.chip) == (16, "v5litepod")
    assert planned.plan.learner == (1, 2, 3, 4) and planned.plan.rollout == (5,)
    assert planned.names == ("head", *["learner"] * 4, "rollout", "judge")


def test_ones_own_machines_are_planned_as_local_hosts():
    planned = plan_file(CLUSTER / "local.yaml", 3, RunConfig())
    assert planned.plan == plan_local(3, RunConfig()).plan
    assert planned.names == ("head", "worker", "worker")
    with pytest.raises(InputError, match="8 hosts wanted, 3 registered, 5 missing; start more"):
        plan_file(CLUSTER / "local.yaml", 8, RunConfig())


def test_without_a_cluster_there_are_the_devices_that_the_mesh_needs():
    config = RunConfig(learner=LearnerSection(fsdp=4, tp=2))
    assert [plan_local(hosts, config).devices for hosts in (1, 4)] == [8, 8]
    assert [plan_local(hosts, RunConfig()).devices for hosts in (1, 4)] == [1, 2]


def test_a_broken_file_is_refused(tmp_path):
    path = tmp_path / "tpu.yaml"
    path.write_text((CLUSTER / "tpu.yaml").read_text().replace("{TPU: 4}", "{TPU: 1}"))
    with pytest.raises(InputError, match="write TPU: 4"):
        plan_file(path, 1, RunConfig())


def test_bytes_worked_out_by_hand():
    config = RunConfig(
        model=ModelSection(
            layers=1, embed_dim=8, hidden_dim=16, heads=2, kv_heads=1, head_dim=4,
            compute_dtype="bfloat16",
        ),
        learner=LearnerSection(fsdp=2, tp=2, logits_chunk=10),
        loop=LoopSection(max_staleness=2),
    )  # fmt: skip
    mesh = mesh_shape(config.learner, 8)
    assert mesh == {"data": 2, "fsdp": 2, "tp": 2}
    found = footprint(build_model(config.model, 100), config, mesh)
    # embedding 100 x 8; q 2 x 8 x 4, k and v 2 x 1 x 8 x 4, out 2 x 4 x 8; three products of
    # 8 x 16; four norms of a layer and the last one, 8 each
    products = 800 + 64 + 64 + 64 + 3 * 128
    assert found.parameters == products + 5 * 8
    assert found.sync == 2 * found.parameters
    assert found.state == 3 * found.gradient == 3 * found.reference
    assert found.policies == 3 * found.gradient // 2
    # all but what has a single axis of size 1 or a norm is split over fsdp and tp
    assert products // 4 <= found.gradient // 4 <= products // 4 + 64 + 5 * 8
    assert found.logits == 4 * 10 * 100 // 2


def test_the_demo_is_the_size_that_its_run_prints(capsys):
    assert launch.main(["plan", "--hosts", "4"]) == 0
    out = capsys.readouterr().out
    assert "policy      678,016 parameters" in out and "  host 3    local 3    judge 0" in out
    assert "mesh        data 2 x fsdp 1 x tp 1" in out


def test_a_model_that_does_not_fit_is_said(capsys):
    config = str(ROOT / "configs" / "gemma2_2b_v5e8.toml")
    arguments = ["plan", "--config", config, "--cluster", str(CLUSTER / "tpu.yaml")]
    assert launch.main([*arguments, "learner.fsdp=1", "learner.tp=1", "learner.remat=block"]) == 1
    out = capsys.readouterr().out
    assert "2,614,341,888 parameters" in out and "does not fit: a v5litepod chip has 16 GiB" in out
    # 16 GiB without 4.87 of weights, over groups of 4 slots of 3,200 tokens of 106,496 bytes
    assert "rollout.slots = 16; a v5litepod chip has room for 140" in out
    assert launch.main([*arguments, "learner.fsdp=3"]) == 2
