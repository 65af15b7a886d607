"""Training end to end without Ray: it learns, and it is the same run again after any stop."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from learner.audit import audit
from learner.collect import LOST_ALONE, SET_ASIDE, WorkLost
from learner.loop import Stop
from tests.pipeline import Killed, Pipeline, config_of


def test_reward_rises_and_every_group_is_on_policy(tmp_path):
    pipeline = Pipeline(config_of(), tmp_path)
    ledger, reason = pipeline.train()
    rewards = pipeline.rewards()
    assert np.mean(rewards[:3]) < 0.15 < 0.5 < np.mean(rewards[-3:])
    assert reason == "all steps done" and ledger.consumed == 120 == ledger.cursor
    for report in pipeline.reports:
        assert {g.rollout.policy_version for g in report.chosen.groups} == {report.step - 1}
        assert report.metrics["ratio"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("max_staleness", [0, 1, 2])
def test_a_run_that_was_cut_off_is_the_same_run(max_staleness, tmp_path):
    """Killed between two checkpoints, then stopped at one; 1, 2, 3 and again 1 rollout actors."""
    config = config_of(steps=6, max_staleness=max_staleness, every_steps=2)
    whole = Pipeline(config, tmp_path / "whole")
    whole.train()
    ages = [r.step - 1 - r.chosen.groups[0].rollout.policy_version for r in whole.reports]
    assert ages == [min(step, max_staleness) for step in range(6)]

    killed = Pipeline(config, tmp_path / "parts", actors=2)
    killed.ends[3] = Killed()
    with pytest.raises(Killed):
        killed.train()
    stopped = Pipeline(config, tmp_path / "parts", actors=3)
    stopped.ends[2] = Stop("enough")
    ledger, reason = stopped.train()
    assert (ledger.step, reason) == (4, "enough")
    finished = Pipeline(config, tmp_path / "parts")
    ledger, _ = finished.train()

    assert ledger.consumed == 24
    sittings = [pipeline.fingerprints() for pipeline in (killed, stopped, finished)]
    assert [list(sitting) for sitting in sittings] == [[1, 2, 3], [3, 4], [5, 6]]
    assert all(sitting.items() <= whole.fingerprints().items() for sitting in sittings)
    assert finished.learner.parameters_sha256() == whole.learner.parameters_sha256()


def test_an_outage_of_the_judge_changes_nothing_but_the_time(tmp_path, caplog):
    """Down for a while in the middle of a run: the run is bitwise the one without an outage."""
    undisturbed = Pipeline(config_of(steps=4), tmp_path / "a")
    undisturbed.train()
    asked = []

    def down(index, sibling):
        if 4 <= index < 8:  # the groups of the second step
            asked.append(index)
            return len(asked) < 60
        return False

    disturbed = Pipeline(config_of(steps=4), tmp_path / "b", down=down)
    ledger, reason = disturbed.train()
    assert (ledger.step, reason) == (4, "all steps done") and len(asked) >= 60
    assert "training pauses" in caplog.text and "the judge is down" in caplog.text
    assert "goes on" in caplog.text
    assert disturbed.rewards() == undisturbed.rewards()
    assert disturbed.learner.parameters_sha256() == undisturbed.learner.parameters_sha256()


def test_a_sibling_without_a_verdict_is_left_out_and_is_no_zero(tmp_path):
    pipeline = Pipeline(
        config_of(steps=2), tmp_path, down=lambda index, sibling: sibling == 1 and index % 2 == 0
    )
    pipeline.train()
    for report in pipeline.reports:
        chosen = report.chosen
        assert (~chosen.valid).sum() == 2 and not chosen.valid[::2, 1].any()
        assert not chosen.advantages[~chosen.valid].any()
        judged_rewards = [v.reward for g in chosen.groups for v in g.verdicts if not v.abstained]
        assert chosen.mean_reward == pytest.approx(np.mean(judged_rewards))


def test_work_that_is_lost_is_done_again_and_changes_nothing(tmp_path):
    config = config_of(steps=4, max_staleness=1, every_steps=2)
    whole = Pipeline(config, tmp_path / "whole")
    whole.train()
    robbed = Pipeline(config, tmp_path / "robbed", actors=2)
    losses = iter((True, False, False, True, True, False, True))

    def lose():
        if next(losses, False):
            robbed.permits.get(99, 0.0)
            raise WorkLost("an actor died with all that was asked")

    robbed.before_turn = lose
    ledger, _ = robbed.train()
    assert ledger.consumed == 16
    assert robbed.learner.parameters_sha256() == whole.learner.parameters_sha256()
    with closing(sqlite3.connect(robbed.folder.ledger_file)) as database:
        (attempts,) = database.execute("SELECT max(attempt) FROM permits").fetchone()
    assert attempts > 1


def test_a_prompt_that_kills_its_workers_is_set_aside_and_stays_so(tmp_path):
    """Its own step goes on without it; a resumed run does not ask for it again."""
    config = config_of(steps=4, max_staleness=1, every_steps=2)
    deaths = []

    def poisoned(pipeline):
        def die():
            taken = [permit.index for permit in pipeline.permits.items]
            if 6 in taken:
                deaths.append(len(pipeline.reports))
                pipeline.permits.get(99, 0.0)
                raise WorkLost("an actor died", {("train", index) for index in taken})

        pipeline.before_turn = die
        return pipeline

    whole = poisoned(Pipeline(config, tmp_path / "whole"))
    whole.train()
    assert len(deaths) == 2 + 1 + LOST_ALONE  # together, in a part of two, alone
    cut = poisoned(Pipeline(config, tmp_path / "cut"))
    cut.ends[1] = Killed()  # step 2, which was to have it, is done again
    with pytest.raises(Killed):
        cut.train()
    before = len(deaths)
    resumed = poisoned(Pipeline(config, tmp_path / "cut", actors=2))
    ledger, _ = resumed.train()
    assert len(deaths) == before and (ledger.step, ledger.consumed) == (4, 16)
    assert resumed.learner.parameters_sha256() == whole.learner.parameters_sha256()
    with closing(sqlite3.connect(resumed.folder.ledger_file)) as database:
        query = "SELECT place, reason FROM permits WHERE state = 'dropped'"
        assert database.execute(query).fetchall() == [(6, SET_ASIDE)]
    asked = resumed.permits_of([6], 0)[0].question
    audited = audit(resumed.folder, config, lambda n: resumed.permits_of([n], 0)[0].question)
    assert asked.id == "6" and audited["findings"] == []
    assert audited["dropped"] == {SET_ASIDE: 1}
