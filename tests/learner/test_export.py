"""In and out again: what was read comes out bit for bit, in both layouts."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding
from safetensors.numpy import load_file

from configs.errors import InputError
from configs.load import dump, load
from configs.lora import LoraSection
from configs.run_folder import RunFolder, write_json, write_text
from learner import export, fingerprint
from learner.checkpoint import Checkpoints, save_tree
from learner.export import chosen_step, export_run, read_params
from learner.policy.architecture import from_hugging_face
from learner.policy.folder import check_weights, with_architecture
from learner.policy.layout import stored_layout
from learner.policy.lora import over
from learner.policy.model import build_model, logits, prompt_states
from learner.policy.pretrained import load_weights
from learner.policy.tokenizer import load_tokenizer, train_tokenizer
from learner.step import TrainState
from tests.learner.conftest import make_config
from tests.learner.test_families import GOLDEN, stored_weights
from tests.learner.test_folder import write_folder
from tests.learner.test_lora import random_adapter
from tests.learner.test_tokenizer import TEXTS


def params_of(case, weights):
    found = from_hugging_face(json.loads(str(GOLDEN[f"{case}/config"])))
    return {
        name: jnp.asarray(
            stored.read(lambda name, index: weights[name][index], (slice(None),) * 4), jnp.float32
        )
        for name, stored in stored_layout(found).items()
    }


def make_run(folder, weights, case, stored_dtype="float32"):
    """A run that began with published weights, with checkpoints of two steps."""
    source = folder / "hf"
    weights = {name: value.astype(stored_dtype) for name, value in weights.items()}
    write_folder(source, weights, case)
    described = json.loads((source / "config.json").read_text())
    write_json(source / "config.json", described | {"torch_dtype": stored_dtype})
    run = RunFolder(folder / "run")
    run.path.mkdir()
    config = with_architecture(make_config(model={"weights": str(source)}))
    write_text(run.config_file, dump(config))
    write_text(run.rubric_file, "name = 'ours'")
    train_tokenizer(TEXTS, 120).save(run.path)
    params = params_of(case, weights)
    save_tree(run.checkpoints / "reference", params)
    checkpoints = Checkpoints(run.checkpoints / "grpo", keep_last=2, keep_best=1)
    for step, reward in ((1, 0.9), (2, 0.4)):
        state = TrainState({name: step * value for name, value in params.items()}, ())
        trees = {"state": state}
        record = {"metrics": {"reward": reward}, "checksum": fingerprint.of_trees(trees)}
        checkpoints.save(step, trees, record, None, wait=True)
    checkpoints.close()
    return run.path, weights


@pytest.fixture(scope="module")
def gemma_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("gemma"), stored_weights("gemma2"), "gemma2")


def test_what_came_in_goes_out_bitwise(tmp_path, monkeypatch):
    """16 bit in, float32 in training, 16 bit out; here in several files."""
    run, weights = make_run(tmp_path, stored_weights("qwen2"), "qwen2", "bfloat16")
    monkeypatch.setattr(export, "SHARD_BYTES", 4000)
    assert export_run(run, "0", "hf", tmp_path / "out") == 0
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == weights.keys()
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2
    written = {n: v for file in files for n, v in load_file(tmp_path / "out" / file).items()}
    for name, value in weights.items():
        assert written[name].dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(written[name], value, err_msg=name)
    again = with_architecture(make_config(model={"weights": str(tmp_path / "out")}))
    check_weights(again.model, 48)


def test_steps_are_chosen(gemma_run, tmp_path):
    run, weights = gemma_run
    assert [chosen_step(run / "checkpoints", step) for step in ("best", "last", "0")] == [1, 2, 0]
    with pytest.raises(InputError, match="best, last, or one that is kept: 0, 1, 2"):
        chosen_step(run / "checkpoints", "7")
    export_run(run, "last", "hf", tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    np.testing.assert_array_equal(written["model.norm.weight"], 2 * weights["model.norm.weight"])
    described = json.loads((tmp_path / "out" / "config.json").read_text())
    assert described["architectures"] == ["Gemma2ForCausalLM"]
    assert load_tokenizer(tmp_path / "out").vocabulary == load_tokenizer(run).vocabulary
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [1]
    assert "step 2" in (card := (tmp_path / "out" / "README.md").read_text())
    assert "name = 'ours'" in card
    with pytest.raises(InputError, match="not empty"):
        export_run(run, "last", "hf", tmp_path / "out")


def test_kaggles_layout_goes_out_and_in(gemma_run, tmp_path):
    run, weights = gemma_run
    export_run(run, "1", "orbax", tmp_path / "kaggle")
    config = with_architecture(make_config(model={"weights": str(tmp_path / "kaggle")}))
    assert config.model.architecture["head_dim"] == 8
    check_weights(config.model, 48)
    found = from_hugging_face(config.model.architecture)
    expected = params_of("gemma2", weights)
    here = SingleDeviceSharding(jax.devices()[0])
    loaded = load_weights(found, tmp_path / "kaggle", dict.fromkeys(expected, here))
    for name, value in expected.items():
        np.testing.assert_array_equal(loaded[name], value, err_msg=name)


def test_a_torn_kaggle_checkpoint_is_refused(gemma_run, tmp_path):
    run, _ = gemma_run
    export_run(run, "1", "orbax", tmp_path / "kaggle")
    place = tmp_path / "kaggle" / "params"
    for file in place.glob("_METADATA"):
        file.write_text("{")
    for file in place.glob("manifest.ocdbt"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match="no Gemma2 checkpoint that Orbax can read"):
        with_architecture(make_config(model={"weights": str(tmp_path / "kaggle")}))


def test_only_gemma2_has_kaggles_layout(tmp_path):
    run, _ = make_run(tmp_path, stored_weights("qwen3"), "qwen3")
    with pytest.raises(InputError, match="the run is of a qwen3"):
        export_run(run, "last", "orbax", tmp_path / "out")


LORA = LoraSection(rank=3, alpha=6.0)


def make_lora_run(folder, case):
    """One that trained an adapter over published weights, with a checkpoint of one step."""
    run, weights = make_run(folder, stored_weights(case), case)
    config = load(run / "config.toml")
    write_text(run / "config.toml", dump(config.model_copy(update={"lora": LORA})))
    shutil.rmtree(run / "checkpoints" / "grpo")
    adapter = random_adapter(from_hugging_face(config.model.architecture), LORA)
    checkpoints = Checkpoints(run / "checkpoints" / "grpo", keep_last=1, keep_best=0)
    trees = {"state": TrainState(adapter, ())}
    record = {"metrics": {}, "checksum": fingerprint.of_trees(trees)}
    checkpoints.save(1, trees, record, None, wait=True)
    checkpoints.close()
    return run, weights, adapter


def test_an_adapter_goes_out_alone_and_merged(tmp_path):
    run, weights, adapter = make_lora_run(tmp_path, "gemma2")
    export_run(run, "last", "peft", tmp_path / "peft")
    described = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert described["base_model_name_or_path"] == str(tmp_path / "hf")
    written = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    assert written.keys() == {f"base_model.model.{name}" for name in adapter}
    export_run(run, "last", "hf", tmp_path / "merged")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    for name, value in weights.items():
        factors = [written.get(f"base_model.model.{name[:-6]}lora_{x}.weight") for x in "AB"]
        change = 0 if factors[0] is None else 2.0 * factors[1] @ factors[0]
        np.testing.assert_allclose(merged[name], value + change, atol=1e-6, err_msg=name)
    for step, found in (("0", "step 0 has none"), ("last", "trained all weights")):
        if step == "last":
            config = load(run / "config.toml").model_copy(update={"lora": LoraSection()})
            write_text(run / "config.toml", dump(config))
        with pytest.raises(InputError, match=found):
            export_run(run, step, "peft", tmp_path / "no")


def test_the_base_of_an_adapter_goes_out_where_it_was_not_published(tmp_path):
    run, _, _ = make_lora_run(tmp_path, "qwen2")
    config = load(run / "config.toml")
    sft = config.sft.model_copy(update={"steps": 5, "optimizer": "adamw"})
    write_text(run / "config.toml", dump(config.model_copy(update={"sft": sft})))
    export_run(run, "1", "peft", tmp_path / "peft")
    described = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    base = run / "export" / "hf-0"
    assert described["base_model_name_or_path"] == str(base)
    assert (base / "model.safetensors").exists()


@pytest.mark.skipif("SHOWWORK_ORACLE" not in os.environ, reason="needs transformers elsewhere")
@pytest.mark.parametrize("case", ["gemma2", "gemma3", "llama-tied", "qwen2", "qwen3-untied"])
def test_transformers_loads_what_goes_out(case, tmp_path):
    """SHOWWORK_ORACLE: the interpreter of the environment that golden/make_families.py names."""
    run, _ = make_run(tmp_path, stored_weights(case), case)
    export_run(run, "best", "hf", tmp_path / "out")
    model = build_model(load(run / "config.toml").model)
    params = read_params(run / "checkpoints", 1)
    text = "Tom has 12 + 34 coins"
    tokens = load_tokenizer(run).encode_prompt(text)
    ids = [number % 48 for number in tokens]  # the network knows no more
    hidden, _ = prompt_states(model, model.bind(params), jnp.array([ids]))
    scores = logits(model.bind(params), hidden)[0]
    # a SentencePiece model belongs to Gemma2; other families bring a tokenizer.json
    words = {"text": text, "tokens": tokens} if case == "gemma2" else {}
    np.savez(tmp_path / "expected.npz", ids=ids, logits=scores, **words)
    check_export(tmp_path / "out", tmp_path / "expected.npz")


def check_export(folder, expected):
    script = Path(__file__).parent / "golden" / "check_export.py"
    command = [os.environ["SHOWWORK_ORACLE"], script, folder, expected]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.skipif("SHOWWORK_ORACLE" not in os.environ, reason="needs peft elsewhere")
@pytest.mark.parametrize("case", ["gemma2", "gemma3", "llama-tied", "qwen2", "qwen3-untied"])
def test_peft_loads_an_adapter_as_the_merged_model(case, tmp_path):
    run, _, adapter = make_lora_run(tmp_path, case)
    model = build_model(load(run / "config.toml").model)
    policy = over(read_params(run / "checkpoints", 0), adapter, LORA)
    ids = [number % 48 for number in range(3, 40, 4)]
    hidden, _ = prompt_states(model, model.bind(policy), jnp.array([ids]))
    scores = logits(model.bind(policy), hidden)[0]
    np.savez(tmp_path / "expected.npz", ids=ids, logits=scores)
    for to in ("peft", "hf"):
        export_run(run, "last", to, tmp_path / "out" / to)
        check_export(tmp_path / "out" / to, tmp_path / "expected.npz")
