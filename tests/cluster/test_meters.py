"""A run for Prometheus: scraped from a node as Prometheus does, and the dashboard that shows it."""

import json
import re
import time
import urllib.request

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families

from cluster.doctor.commands import ROOT
from cluster.meters import NAMES, Meters
from tests.learner.test_history import report

DASHBOARD = json.loads((ROOT / "cluster" / "grafana.json").read_text())
SCALARS = {
    "reward/mean": 0.75, "time/step_s": 2.0, "time/wait_s": 1.0, "time/update_s": 0.5,
    "time/publish_s": 0.25, "grpo/loss": 0.125, "grpo/kl": 0.5, "grpo/grad_norm": 3.0,
    "policy/staleness": 1.0, "rollout/tokens_per_s": 400.0, "rollout/truncated": 0.0,
    "judge/group_s": 0.01, "judge/abstained": 0.0, "queue/depth_permits": 5.0,
    "queue/depth_rollouts": 6.0, "queue/depth_scored": 7.0,
}  # fmt: skip


def asked():
    """The metrics that the dashboard's panels and variables ask for."""
    texts = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    texts.append(DASHBOARD["templating"]["list"][1]["definition"])
    return {name for text in texts for name in re.findall(r"ray_(showwork_\w+)", text)}


def test_the_dashboard_asks_for_what_there_is():
    plain = {name.removesuffix("_total") for name in asked()}
    assert plain <= set(NAMES) and len(plain) >= 15
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids) == 12
    for panel in DASHBOARD["panels"]:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 and panel["title"]


@pytest.mark.ray
def test_a_scrape_finds_them_with_role_actor_and_host(connection):
    meters = Meters("run-7", lambda role, actor: f"10.0.0.{actor}")
    for step in (1, 2):
        meters.step(report(step), SCALARS)
    meters.incident()
    me = ray.get_runtime_context().get_node_id()
    (node,) = [node for node in ray.nodes() if node["NodeID"] == me]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    samples, until = {}, time.monotonic() + 60
    while len({key[0] for key in samples}) < len(NAMES) and time.monotonic() < until:
        time.sleep(1.0)
        with urllib.request.urlopen(address, timeout=10) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        samples = {
            (sample.name, sample.labels["role"], sample.labels.get("actor", "")): sample
            for family in families
            for sample in family.samples
            if sample.name.startswith("ray_showwork_") and sample.labels.get("run") == "run-7"
        }
    found = {name.removeprefix("ray_") for name, _, _ in samples}
    assert asked() <= found
    assert samples["ray_showwork_reward", "driver", ""].value == 0.75
    assert samples["ray_showwork_step", "driver", ""].value == 2
    groups = samples["ray_showwork_groups_total", "rollout", "0"]
    assert groups.value == 6 and groups.labels["host"] == "10.0.0.0"
    assert samples["ray_showwork_tokens_total", "rollout", "0"].value == 2 * 3 * (3 + 5 + 1 + 10)
    assert {role for _, role, _ in samples} == {"driver", "learner", "rollout", "judge"}
