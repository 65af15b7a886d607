"""An adapter: nothing at its start, the merged weights later, and the only thing that moves."""

from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from cluster.messages import BASE
from configs.lora import LoraSection
from learner.audit import audit
from learner.host import LearnerHost
from learner.policy.layout import stored_layout
from learner.policy.logprobs import completion_logprobs
from learner.policy.lora import adapter_shapes, fresh_adapter, merged, over
from learner.replay import replay
from learner.stored import read_checkpoint
from tests.learner.conftest import VOCABULARY, make_config
from tests.learner.test_families import model_and_params
from tests.learner.test_host import demonstrations
from tests.pipeline import Killed, Pipeline

SECTION = LoraSection(rank=3, alpha=6.0)


def random_adapter(found, section=SECTION):
    rng = np.random.default_rng(0)
    shapes = adapter_shapes(found, section)
    return {n: rng.normal(0, 0.1, shape).astype(np.float32) for n, shape in shapes.items()}


def loss_of(model, params, mesh=None):
    rng = np.random.default_rng(1)
    rows = SimpleNamespace(
        prompts=rng.integers(3, 40, (2, 5)),
        prompt_lengths=np.array([5, 3]),
        completions=rng.integers(3, 40, (4, 6)),
    )
    return -completion_logprobs(model, params, rows, 1.0, chunk=64, mesh=mesh)[0].mean()


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
                scale = SECTION.scale
                np.testing.assert_allclose(ours[a], scale * adapter[b].T @ gradient, atol=1e-5)
                np.testing.assert_allclose(ours[b], scale * gradient @ adapter[a].T, atol=1e-5)
    assert seen == len(adapter)


def test_targets_are_chosen():
    """Of stacked keys and values, one can have an adapter and the other none."""
    section = LoraSection(rank=2, targets=["q_proj", "v_proj"])
    model, base = model_and_params("gemma2")
    adapter = random_adapter(model.architecture, section)
    assert {name.split(".")[4] for name in adapter} == {"q_proj", "v_proj"}
    loss = jax.jit(lambda params: loss_of(model, params))
    whole = merged(model.architecture, section, base, adapter)
    np.testing.assert_allclose(loss(over(base, adapter, section)), loss(whole), atol=1e-5)
    np.testing.assert_array_equal(
        whole["layers.0.attn.kv_einsum.w"][0], base["layers.0.attn.kv_einsum.w"][0]
    )


def test_an_adapter_is_not_for_muon():
    with pytest.raises(ValueError, match="sft.optimizer = adamw"):
        make_config(lora={"rank": 2}, sft={"steps": 3, "optimizer": "muon"})


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
    assert stored.params.keys() == names == run.weights.versions[6].keys()
    assert len(policies) == 1 and policies[0].keys() == names
    base = run.learner.reference
    for name, value in run.weights.versions[BASE].items():
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
