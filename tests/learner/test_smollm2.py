"""A real pretrained model, token by token; skipped until `launch.py weights smollm2` has been run.

golden/make_smollm2.py wrote the expected completions in an environment with `transformers`.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from configs.load import load
from learner.policy.chat import prompt_ids
from learner.policy.endings import Endings
from learner.policy.engine import Engine
from learner.policy.folder import check_weights, with_architecture
from learner.policy.model import build_model
from learner.policy.pretrained import load_weights
from learner.policy.smollm2 import _turned_back
from learner.policy.tokenizer import load_tokenizer
from tests.learner.conftest import make_permit

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "weights" / "smollm2-135m-instruct"
ROWS = json.loads((Path(__file__).parent / "golden" / "smollm2.json").read_text())
needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="launch.py weights smollm2")


def config():
    overrides = [
        f"model.weights={WEIGHTS}", "data.template=chat", "data.system=", "rollout.slots=20",
        "rollout.group_size=2", "rollout.max_prompt_tokens=96", "rollout.max_reasoning_tokens=20",
        "rollout.max_answer_tokens=20",
    ]  # fmt: skip
    return with_architecture(load(ROOT / "configs" / "smoke.toml", overrides))


@needs_weights
def test_greedy_completions_are_those_of_transformers():
    settings, tokenizer = config(), load_tokenizer(WEIGHTS)
    check_weights(settings.model, tokenizer.vocabulary)
    model = build_model(settings.model)
    here = SingleDeviceSharding(jax.devices()[0])
    shardings = dict.fromkeys(model.abstract_params(), here)
    params = load_weights(model.architecture, WEIGHTS, shardings)
    engine = Engine(model, settings.rollout, Endings(tokenizer.stops([])), seed=0)
    engine.load({name: np.asarray(value) for name, value in params.items()})
    prompts = [prompt_ids(row["prompt"], tokenizer, settings.data) for row in ROWS]
    assert prompts == [row["ids"] for row in ROWS]
    engine.submit(
        [
            make_permit(number, ids, siblings=1, temperature=0.0)
            for number, ids in enumerate(prompts)
        ]
    )
    found = {}
    while engine.busy:
        found |= {sampled.permit.index: sampled.tokens[0].tolist() for sampled in engine.step()}
    for number, row in enumerate(ROWS):
        assert found[number] == row["tokens"], row["prompt"]
        assert tokenizer.decode(found[number]) == row["text"]


def test_rows_of_a_head_are_put_back():
    """GGUF keeps rows 0, 1, 2, 3 of a head of four as 0, 2, 1, 3."""
    stored = np.array([[0.0], [2.0], [1.0], [3.0]])
    np.testing.assert_array_equal(_turned_back(stored, 1)[:, 0], [0, 1, 2, 3])
