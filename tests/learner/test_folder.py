"""Hugging Face folders: read into a mesh, and everything that does not fit said at once."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from safetensors.numpy import save_file

from configs.errors import InputError
from configs.load import dump
from configs.schema import LearnerSection, ModelSection, RunConfig
from learner.policy.folder import check_weights, with_architecture
from learner.policy.model import build_model
from learner.policy.pretrained import check_room, load_weights
from learner.policy.sharding import make_mesh
from tests.learner.test_families import GOLDEN, SMALL, model_and_params, stored_weights

CASE = "qwen2-tied"


def write_folder(folder, weights, case=CASE, shards=1):
    """As `save_pretrained` does: one file, or several with an index."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(str(GOLDEN[f"{case}/config"]))
    names = sorted(weights)
    if shards == 1:
        save_file(weights, folder / "model.safetensors")
        return folder
    placed = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        own = {name: weights[name] for name in names[number::shards]}
        save_file(own, folder / file)
        placed |= dict.fromkeys(own, file)
    index = {"metadata": {}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def config_with(weights, **model):
    return RunConfig.model_validate({"model": {"weights": str(weights), **model}})


def refused(folder, vocabulary=48):
    with pytest.raises(InputError) as caught:
        check_weights(with_architecture(config_with(folder)).model, vocabulary)
    return str(caught.value)


@pytest.mark.parametrize("case", ["qwen2-tied", "gemma2", "gemma2-one-head-each"])
def test_weights_come_in_sharded_and_bitwise(case, tmp_path):
    """Several files, three dtypes, a mesh of 2 x 2."""
    weights = stored_weights(case)
    for name, dtype in zip(weights, [np.float16, jnp.bfloat16], strict=False):
        weights[name] = weights[name].astype(dtype)
    folder = write_folder(tmp_path / "hf", weights, case, shards=3)
    config = with_architecture(config_with(folder))
    check_weights(config.model, 48)
    model = build_model(config.model)
    mesh = make_mesh(LearnerSection(fsdp=2, tp=2))
    shardings = {n: NamedSharding(mesh, spec) for n, spec in model.partition_specs().items()}
    loaded = load_weights(model.architecture, folder, shardings)
    for name, value in model_and_params(case)[1].items():
        assert loaded[name].dtype == jnp.float32
        assert loaded[name].sharding == shardings[name]
        np.testing.assert_allclose(loaded[name], value, atol=0.02, err_msg=name)
    exact = model_and_params(case)[1]["final_norm.scale" if "gemma" in case else "final_norm.w"]
    norm = [n for n in loaded if n.startswith("final_norm")][0]
    np.testing.assert_array_equal(loaded[norm], exact)


def test_an_architecture_travels_with_the_run(tmp_path):
    """The resolved configuration needs its folder no more; a run folder hands it on."""
    folder = write_folder(tmp_path / "hf", stored_weights(CASE))
    config = with_architecture(config_with(folder))
    assert config.model.architecture["model_type"] == "qwen2"
    assert with_architecture(config) == config
    gone = config.model_copy(
        update={"model": config.model.model_copy(update={"weights": str(tmp_path / "gone")})}
    )
    assert with_architecture(gone) == gone
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text(dump(config))
    following = with_architecture(config_with(run))
    assert following.model.architecture == config.model.architecture


def test_what_is_not_there_is_named(tmp_path):
    weights = stored_weights(CASE)
    renamed = dict(weights)
    renamed["transformer.extra"] = renamed.pop("model.norm.weight")
    name = "model.layers.0.mlp.gate_proj.weight"
    renamed[name] = np.zeros((24, 15), np.float32)
    message = refused(write_folder(tmp_path / "hf", renamed))
    assert "does not hold a qwen2" in message
    assert "missing: model.norm.weight" in message
    assert "unexpected: transformer.extra" in message
    assert f"{name} has the shape (24, 15), wanted is (24, 16)" in message


def test_other_dtypes_are_refused(tmp_path):
    weights = stored_weights(CASE)
    weights["model.norm.weight"] = weights["model.norm.weight"].astype(np.int8)
    assert "model.norm.weight is I8" in refused(write_folder(tmp_path / "hf", weights))


def test_wrong_folders_are_refused(tmp_path):
    assert "does not exist" in refused(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "is none of a Hugging Face folder, a Gemma2" in refused(tmp_path / "empty")
    folder = write_folder(tmp_path / "hf", stored_weights(CASE))
    (folder / "config.json").unlink()
    assert "no config.json" in refused(folder)
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in refused(folder)
    (folder / "config.json").write_text(str(GOLDEN["gemma2/config"]))
    assert "does not hold a gemma2" in refused(folder)


def test_a_missing_or_torn_file_is_named(tmp_path):
    folder = write_folder(tmp_path / "hf", stored_weights(CASE), shards=3)
    shard = folder / "model-00002-of-00003.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:-100])
    assert f"{shard} is cut off" in refused(folder)
    shard.unlink()
    assert "model-00002-of-00003.safetensors of the files in" in refused(folder)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    folder = write_folder(tmp_path / "hf", stored_weights(CASE))
    assert "has 48 rows, the tokenizer has 49 ids" in refused(folder, vocabulary=49)


def test_a_preset_must_agree(tmp_path):
    folder = write_folder(tmp_path / "hf", stored_weights("gemma2"), "gemma2")
    with pytest.raises(InputError, match="does not describe a gemma2_2b"):
        with_architecture(config_with(folder, preset="gemma2_2b"))


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read():
    huge = SMALL | {"hidden_size": 2**15, "vocab_size": 2**18, "tie_word_embeddings": True}
    model = build_model(ModelSection(architecture={"model_type": "llama"} | huge))
    mesh = make_mesh(LearnerSection())
    shardings = {n: NamedSharding(mesh, spec) for n, spec in model.partition_specs().items()}
    with pytest.raises(InputError, match=r"128\.\d GiB on each cpu device.*learner.fsdp"):
        check_room(model.abstract_params(), shardings, copies=4)
