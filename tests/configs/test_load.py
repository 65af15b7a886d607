"""Loading: what every shipped file says, and what a typo gets to hear."""

import re
from pathlib import Path

import pytest

from configs.errors import InputError
from configs.load import differences, dump, known_keys, load
from configs.schema import RunConfig

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_loads_and_survives_a_round_trip(path, tmp_path):
    config = load(path)
    (tmp_path / "again.toml").write_text(dump(config))
    assert load(tmp_path / "again.toml") == config


def test_the_paper_is_followed_exactly():
    config = load(CONFIGS / "gemma2_2b_v5e8.toml")
    assert config.model.preset == "gemma2_2b"
    assert (config.loop.groups_per_step, config.rollout.group_size) == (4, 4)
    assert config.trained_groups * config.rollout.group_size == 16
    assert config.learner.learning_rate == 1e-5 and config.learner.warmup_steps > 0
    assert config.loop.steps == 2000
    assert config.grpo.kl_coefficient == 0.1
    assert config.rollout.temperature == 0.7
    assert config.rollout.max_reasoning_tokens == 256
    assert config.rollout.max_answer_tokens == 128
    assert config.rollout.max_prompt_tokens + config.rollout.max_new_tokens == 512
    assert config.loop.time_budget_s == 9 * 3600
    assert config.judge.rubric == "paper"


def test_keys_that_scripts_rely_on_exist():
    relied_on = (
        "run.seed data.train data.heldout rollout.actors rollout.group_size rollout.temperature "
        "judge.actors judge.rubric loop.steps loop.groups_per_step loop.max_staleness "
        "loop.time_budget_s grpo.kl_coefficient learner.learning_rate"
    )
    assert set(relied_on.split()) <= set(known_keys())


def test_overrides_win_over_the_file():
    config = load(CONFIGS / "demo.toml", ["loop.steps=7", "data.train=rows.jsonl", "run.seed=3"])
    assert (config.loop.steps, config.data.train, config.run.seed) == (7, "rows.jsonl", 3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "loop.stepz=3",
            "loop.stepz: unknown (the override loop.stepz=3); did you mean loop.steps?",
        ),
        ("grpo.kl_coeficient=1", "did you mean grpo.kl_coefficient?"),
        ("lop.steps=3", "lop: unknown"),
        ("loop.steps=0", "loop.steps = 0: Input should be greater than or equal to 1"),
        ('loop.steps="5"', "loop.steps = '5': Input should be a valid integer"),
        ("loop.steps=many", "loop.steps = 'many': Input should be a valid integer"),
        (
            "learner.learning_rate=nan",
            "learner.learning_rate = nan: Input should be a finite number",
        ),
        ("loop", "'loop' is no setting: write section.key=value"),
        ("=3", "'=3' is no setting"),
        ("judge.rubrik=paper", "did you mean judge.rubric?"),
        ("rollout.slots=4", "[rollout] slots = 4 cannot hold one group of group_size = 8"),
        ("grpo.kl_estimator=k1", "kl_estimator = k1 with kl_in = loss teaches nothing"),
        ("grpo.dual_clip=0.5", "dual_clip = 0.5 must be above 1, or 0 for none"),
        ("grpo.overlong_tokens=99", "grpo.overlong_tokens = 99 is above the 16 tokens"),
        ("grpo.widest_groups=99", "grpo.widest_groups = 99 is above loop.groups_per_step = 16"),
        ("rollout.new_weights=in_flight", "Use loop.order = arrival, or new_weights = drained"),
        ("rollout.top_p=0.9", "did you mean eval.top_p?"),
        ("data.template=hello", "data.template must contain"),
    ],
)
def test_a_wrong_setting_says_what_and_where(override, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load(CONFIGS / "demo.toml", [override])


def test_all_problems_are_listed_at_once():
    with pytest.raises(InputError) as caught:
        load(CONFIGS / "demo.toml", ["loop.steps=0", "run.sed=1"])
    assert "loop.steps = 0" in str(caught.value) and "run.seed" in str(caught.value)


def test_a_wrong_file_says_what(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[loop\nsteps = 3")
    with pytest.raises(InputError, match=r"bad.toml: not TOML: .*line 1"):
        load(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(InputError, match="not UTF-8"):
        load(tmp_path / "latin.toml")
    (tmp_path / "typo.toml").write_text("[rollout]\ntemprature = 1.0")
    with pytest.raises(InputError, match=r"typo.toml\); did you mean rollout.temperature"):
        load(tmp_path / "typo.toml")


def test_sections_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().loop.steps = 3


def test_differences_name_both_values():
    changed = load(CONFIGS / "demo.toml", ["run.seed=5"])
    assert differences(load(CONFIGS / "demo.toml"), changed) == ["run.seed: 0 -> 5"]
