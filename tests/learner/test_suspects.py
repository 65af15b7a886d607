"""Groups whose updates kill the learner are found, kept and set aside."""

import numpy as np
import pytest

from configs.errors import LearnerLost
from learner.audit import audit
from learner.stored import stored_steps
from learner.suspects import LOST_UPDATES, SET_ASIDE
from tests.learner.conftest import make_permit
from tests.pipeline import Pipeline, config_of

CONFIG = config_of(steps=3, every_steps=2, grpo={"widest_groups": 3})


def trained_in(reports):
    step = reports[1].chosen
    return [g.key[1] for g, trained in zip(step.groups, step.trained, strict=True) if trained]


def deadly(pipeline):
    """Its learner dies in the second update, as long as that reads all of its groups."""
    update = pipeline.learner.train_step

    def train_step(batch):
        read = batch.weights.any(axis=1).reshape(len(batch.prompts), -1).any(axis=1)
        if len(pipeline.reports) + pipeline.ledger.step == 1 and read.all():
            raise LearnerLost("learner process 0 died")
        return update(batch)

    pipeline.learner.train_step = train_step
    return pipeline


def test_a_batch_that_kills_the_learner_is_set_aside_in_this_run_and_the_next(tmp_path):
    calm = Pipeline(CONFIG, tmp_path / "calm")
    calm.train()
    deaths = 0
    while True:
        pipeline = deadly(Pipeline(CONFIG, tmp_path / "run", actors=1 + deaths % 2))
        try:
            ledger, _ = pipeline.train()
            break
        except LearnerLost:
            deaths += 1
            assert deaths <= LOST_UPDATES
    assert deaths == LOST_UPDATES and ledger.step == 3
    aside = {g.key[1]: g.set_aside for r in pipeline.reports for g in r.chosen.groups}
    assert [place for place, reason in aside.items() if reason == SET_ASIDE] == trained_in(
        calm.reports
    )
    dumped = np.load(pipeline.folder.path / "skipped" / "step-000002.npz")
    assert dumped["weights"].any() and dumped["completions"].shape[0] == 12
    result = audit(pipeline.folder, CONFIG, lambda place: make_permit(place).question)
    assert result["findings"] == [] and result["dropped"][SET_ASIDE] == 3
    assert len(list(stored_steps(next(pipeline.folder.rollouts.glob("*-000002.parquet"))))) == 2
    assert np.isfinite(pipeline.reports[-1].metrics["loss"])


def test_a_death_by_chance_sets_nothing_aside(tmp_path):
    calm = Pipeline(CONFIG, tmp_path / "calm")
    calm.train()
    for _ in range(LOST_UPDATES - 1):
        with pytest.raises(LearnerLost):
            deadly(Pipeline(CONFIG, tmp_path / "run")).train()
    again = Pipeline(CONFIG, tmp_path / "run")
    again.train()
    assert again.learner.parameters_sha256() == calm.learner.parameters_sha256()
    assert not again.history.aside
