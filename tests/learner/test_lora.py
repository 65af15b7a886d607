"""An adapter: nothing at its start, the merged weights later, and the only thing that moves."""

import json
from functools import partial

import jax
import numpy as np
import pytest

from cluster.messages import BASE
from configs.lora import LoraSection
from configs.schema import ModelSection
from learner.audit import audit
from learner.footprint import footprint
from learner.host import LearnerHost
from learner.policy.layout import stored_layout
from learner.policy.lora import adapter_shapes, fresh_adapter, merged, over
from learner.policy.model import build_model, hidden_states, logits
from learner.replay import replay
from learner.stored import read_checkpoint
from tests.learner.conftest import VOCABULARY, make_config
from tests.learner.test_families import GOLDEN, model_and_params
from tests.learner.test_host import demonstrations
from tests.pipeline import Killed, Pipeline

SECTION = LoraSection(rank=3, alpha=6.0)


def model_section(case):
    return ModelSection(architecture=json.loads(str(GOLDEN[f"{case}/config"])))


def random_adapter(found, section=SECTION):
    rng = np.random.default_rng(0)
    shapes = adapter_shapes(found, section)
    return {n: rng.normal(0, 0.1, shape).astype(np.float32) for n, shape in shapes.items()}


def loss_of(model, params, mesh=None):
    """Some number that all logits of two rows count in, each with a weight of its own."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(3, 40, (2, 5))
    positions = np.broadcast_to(np.arange(5), tokens.shape)
    seen = np.broadcast_to(np.tril(np.ones((5, 5), bool)), (2, 5, 5))
    module = model.bind(params, for_gradient=True, mesh=mesh)
    hidden, _ = hidden_states(module, tokens, positions, seen, None, positions)
    scores = logits(module, hidden)
    return (scores * rng.normal(0, 0.1, scores.shape)).sum()


@pytest.mark.parametrize("case", ["gemma2", "gemma3", "llama-3.1", "qwen2", "qwen3"])
def test_an_adapter_changes_nothing_at_first_and_then_what_the_merged_weights_do(case):
    model, base = model_and_params(case)
    found = model.architecture
    loss = jax.jit(lambda params: loss_of(model, params))
    fresh = jax.jit(lambda: fresh_adapter(found, SECTION, 5))()
    assert {n: x.shape for n, x in fresh.items()} == adapter_shapes(found, SECTION)
    assert len(fresh) == found.layers * 7 * 2
    assert loss(over(base, fresh, SECTION)) == loss(base)
    adapter = random_adapter(found)
    whole = jax.jit(partial(merged, found, SECTION))(base, adapter)
    assert abs(loss(whole) - loss(base)) > 1e-3
    np.testing.assert_allclose(loss(over(base, adapter, SECTION)), loss(whole), atol=1e-5)


@pytest.mark.parametrize("case", ["gemma2", "qwen2"])
def test_the_gradient_is_that_of_all_weights_projected_by_hand(case):
    """W + s B A: dA = s B' dW and dB = s dW A', with dW the gradient of the merged weights."""
    model, base = model_and_params(case)
    found, adapter = model.architecture, random_adapter(model.architecture)
    ours = jax.jit(jax.grad(lambda a: loss_of(model, over(base, a, SECTION))))(adapter)
    whole = jax.jit(partial(merged, found, SECTION))(base, adapter)
    full = jax.jit(jax.grad(lambda params: loss_of(model, params)))(whole)
    seen = 0
    for name, stored in stored_layout(found).items():
        for module, gradient in stored.write(np.asarray(full[name])).items():
            module = module.removesuffix(".weight")
            a, b = f"{module}.lora_A.weight", f"{module}.lora_B.weight"
            if a in adapter:
                seen += 2
                of_a, of_b = 2.0 * adapter[b].T @ gradient, 2.0 * gradient @ adapter[a].T
                np.testing.assert_allclose(ours[a], of_a, atol=1e-5)
                np.testing.assert_allclose(ours[b], of_b, atol=1e-5)
                assert np.abs(of_a).max() > 1e-4 < np.abs(of_b).max()
    assert seen == len(adapter)


def test_targets_are_chosen_and_layers_can_be_recomputed():
    """Of stacked keys and values, one can have an adapter and the other none."""
    section = LoraSection(rank=2, targets=["q_proj", "v_proj"])
    model, base = model_and_params("gemma2")
    adapter = random_adapter(model.architecture, section)
    assert {name.split(".")[4] for name in adapter} == {"q_proj", "v_proj"}
    whole = jax.jit(partial(merged, model.architecture, section))(base, adapter)
    again = build_model(model_section("gemma2"), remat="block")

    def gradient(model):
        return jax.jit(jax.value_and_grad(lambda a: loss_of(model, over(base, a, section))))

    loss, plain = gradient(model)(adapter)
    _, recomputed = gradient(again)(adapter)
    np.testing.assert_allclose(loss, jax.jit(lambda p: loss_of(model, p))(whole), atol=1e-5)
    for name, value in plain.items():
        np.testing.assert_allclose(recomputed[name], value, atol=1e-5, err_msg=name)
    name = "layers.0.attn.kv_einsum.w"
    np.testing.assert_array_equal(whole[name][0], base[name][0])


def test_an_adapter_is_not_for_muon():
    with pytest.raises(ValueError, match="sft.optimizer = adamw"):
        make_config(lora={"rank": 2}, sft={"steps": 3, "optimizer": "muon"})


def test_what_an_adapter_takes(model):
    """4 (in + out) a matrix: q, o 16 + 16, k, v 16 + 8, three of 16 + 32; two layers."""
    config, mesh = make_config(lora={"rank": 4}), {"data": 1, "fsdp": 2, "tp": 1}
    numbers = 2 * 4 * (2 * 32 + 2 * 24 + 3 * 48)
    found, full = footprint(model, config, mesh), footprint(model, make_config(), mesh)
    assert (found.sync, found.gradient) == (4 * numbers, 4 * numbers)
    assert (found.state, found.policies) == (12 * numbers, 2 * 4 * numbers)
    assert (found.parameters, found.reference) == (full.parameters, full.reference)


def lora_config(**loop):
    return make_config(
        loop={"groups_per_step": 4, "steps": 6, "max_staleness": 1} | loop,
        learner={"learning_rate": 2e-2, "sentinel_every": 1},
        checkpoint={"every_steps": 2},
        lora={"rank": 4},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pipeline = Pipeline(lora_config(), tmp_path_factory.mktemp("run"))
    pipeline.train()
    return pipeline


def test_the_engine_samples_with_the_log_probabilities_of_the_trainer(run):
    for report in run.reports:
        assert report.metrics["mismatch_max"] < 1e-4
        assert report.metrics["grad_norm"] > 0
    assert run.reports[-1].metrics["kl"] > 1e-4  # the policy is another one by then


def test_what_travels_and_is_kept_is_the_adapter(run):
    stored = read_checkpoint(run.folder.checkpoints, 6)
    names = adapter_shapes(run.learner.model.architecture, run.config.lora).keys()
    policies = stored.trees["policies"]
    assert stored.params.keys() == names == run.weights.fetch(6, 0.0, 0).keys()
    assert len(policies) == 1 and policies[0].keys() == names
    base = run.learner.reference
    for name, value in run.weights.fetch(BASE, 0.0, 0).items():
        np.testing.assert_array_equal(value, base[name])
    moments = [x.shape for x in jax.tree.leaves(stored.trees["state"]["optimizer"])]
    assert sum(np.prod(shape) for shape in moments if shape) == 2 * sum(
        x.size for x in stored.params.values()
    )


def test_a_run_that_was_cut_off_is_the_same_run(run, tmp_path):
    killed = Pipeline(run.config, tmp_path, actors=2)
    killed.ends[3] = Killed()
    with pytest.raises(Killed):
        killed.train()
    finished = Pipeline(run.config, tmp_path)
    finished.train()
    assert list(finished.fingerprints()) == [3, 4, 5, 6]
    assert finished.fingerprints().items() <= run.fingerprints().items()
    assert finished.learner.parameters_sha256() == run.learner.parameters_sha256()


def test_steps_are_replayed_and_audited(run):
    for step, start in ((6, 4), (1, 0)):
        result = replay(run.folder, run.config, step, VOCABULARY)
        assert result["ok"] and result["exact"] and result["from_checkpoint"] == start
    found = audit(run.folder, run.config, lambda n: run.permits_of([n], 0)[0].question)
    assert found["ok"], found


def test_the_cold_start_trains_an_adapter_too_and_grpo_begins_with_it_merged(tmp_path):
    config = make_config(lora={"rank": 4}, sft={"steps": 4, "optimizer": "adamw"})
    learner = LearnerHost(0, 1, config, tmp_path / "c", VOCABULARY)
    assert learner.create_state()["trained"] < 5000
    base = jax.tree.map(np.asarray, learner.reference)
    learner.sft_steps([demonstrations()] * 2)
    learner.save("sft", 2, {}, None, wait=True)
    again = LearnerHost(0, 1, config, tmp_path / "c", VOCABULARY)
    begun = again.create_state()
    assert (begun["phase"], begun["step"]) == ("sft", 2)
    for host in (learner, again):
        host.sft_steps([demonstrations()] * 2)
    assert again.parameters_sha256() == learner.parameters_sha256()
    expected = again.trained.whole(base, jax.tree.map(np.asarray, again.state.params))
    learner.begin_grpo()
    for name, value in expected.items():
        np.testing.assert_allclose(learner.reference[name], value, atol=1e-6, err_msg=name)
    assert (
        np.abs(
            learner.reference["layers.0.attn.q_einsum.w"] - base["layers.0.attn.q_einsum.w"]
        ).max()
        > 1e-5
    )
    assert not np.any(learner.state.params["model.layers.0.mlp.up_proj.lora_B.weight"])
    for host in (learner, again):
        host.close()
