"""Dynamic sampling: groups without spread give their place to the next prompts."""

import numpy as np
import pytest

from learner.audit import audit
from learner.batch import select, without_spread
from learner.collect import WorkLost
from learner.ledger import outcomes
from learner.loop import Stop
from learner.metrics import refill_scalars
from learner.refill import lacking, refilled_rightly
from learner.replay import replay
from tests.learner.conftest import VOCABULARY, make_config, make_group, make_permit
from tests.learner.test_collect import KEYS, Judges, Script, make_collector
from tests.learner.test_order import tampered
from tests.pipeline import Killed, Pipeline, config_of, one_unjudged

FLAT, WIDE = [0.5] * 4, [0.0, 1.0, 0.0, 1.0]
CONFIG = make_config(loop={"groups_per_step": 2, "max_refills": 1})


def groups_of(*rewards):
    return [make_group(place, of_group) for place, of_group in enumerate(rewards)]


def test_what_has_no_spread():
    groups = [
        *groups_of(FLAT, WIDE, [0.5, 0.5, 0.5, 0.6]),
        make_group(3, [0.5, 0.5, 0.5, 1.0], abstained=(3,)),
        make_group(4, WIDE, abstained=(0, 1, 2)),
    ]
    floor = make_config(grpo={"std_floor": 0.06})  # the third one's: 0.05
    noise = make_config(judge={"noise": 0.11})
    shaped = make_config(grpo={"overlong_tokens": 4})  # the fourth sibling is as long as may be
    assert list(without_spread(groups, CONFIG)) == [True, False, False, True, True]
    for config in (floor, noise):
        assert list(without_spread(groups, config)) == [True, False, True, True, True]
    assert list(without_spread(groups, shaped)) == [False, False, False, True, True]


def test_as_many_are_taken_as_are_missing_up_to_the_bound():
    assert lacking(groups_of(FLAT, WIDE), make_config()) == 0
    assert lacking(groups_of(WIDE, WIDE), CONFIG) == 0
    assert lacking(groups_of(FLAT, WIDE), CONFIG) == 1
    assert lacking(groups_of(FLAT, FLAT), CONFIG) == 2
    assert lacking(groups_of(FLAT, FLAT, WIDE), CONFIG) == 1
    assert lacking(groups_of(FLAT, FLAT, FLAT, WIDE), CONFIG) == 0
    widest = make_config(loop={"groups_per_step": 2, "max_refills": 1}, grpo={"widest_groups": 1})
    assert lacking(groups_of(FLAT, WIDE), widest) == 0


@pytest.mark.parametrize(
    ("rewards", "exact", "arrival"),
    [
        ([WIDE, WIDE], True, True),
        ([FLAT, WIDE], False, False),
        ([FLAT, WIDE, WIDE], True, True),
        ([WIDE, WIDE, FLAT], False, True),  # two came, and then a third; or one, and then two
        ([WIDE, WIDE, WIDE], False, False),
        ([FLAT, FLAT, FLAT, FLAT], True, True),
        ([FLAT, WIDE, FLAT, WIDE], True, True),
        ([WIDE, FLAT, WIDE, FLAT], False, True),
    ],
)
def test_whether_a_step_took_what_it_should(rewards, exact, arrival):
    loop = {"groups_per_step": 2, "max_refills": 1, "order": "arrival"}
    assert refilled_rightly(groups_of(*rewards), CONFIG) == exact
    assert refilled_rightly(groups_of(*rewards), make_config(loop=loop)) == arrival


def test_a_place_that_cannot_be_filled_is_left_to_a_group_without_spread():
    class Report:
        chosen = select(groups_of(FLAT, FLAT, WIDE, FLAT), CONFIG, 1)

    assert outcomes(Report.chosen) == ["", "no spread", "", "no spread"]
    assert not Report.chosen.advantages[0].any()
    figures = {"grpo/refills": 2.0, "grpo/no_spread": 0.5, "grpo/unfilled": 1.0}
    assert refill_scalars(Report(), CONFIG) == figures
    assert refill_scalars(Report(), make_config()) == {}


def test_noise_is_dropped_before_the_narrow():
    """The second group is wider than the third, but by no more than the judge's noise."""
    loop = {"groups_per_step": 2, "max_refills": 1}
    config = make_config(loop=loop, judge={"noise": 0.1})
    groups = groups_of(WIDE, [0.0, 0.1, 0.0, 0.1], [0.0, 0.0, 0.0, 0.11])
    assert outcomes(select(groups, config, 1)) == ["", "no spread", ""]


def test_one_completion_without_a_verdict_is_no_outage_of_its_turn():
    """One of a refill's four, which is one of the step's twelve."""
    queue = Script([make_group(2, WIDE, abstained=(1,))])
    collector = make_collector(queue, Judges(queue), max_abstain=0.2)
    (group,) = collector.take(KEYS[2:3], groups_of(WIDE, FLAT))
    assert group.key == KEYS[2] and not collector.paused_s


RUN = config_of(steps=6, max_staleness=1, every_steps=2, max_refills=2, grpo={"widest_groups": 3})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = Pipeline(RUN, tmp_path_factory.mktemp("whole"), down=one_unjudged)
    run.train()
    return run


def test_each_step_trains_on_groups_with_spread(whole):
    sizes = [len(report.chosen.groups) for report in whole.reports]
    assert min(sizes) == 4 < max(sizes), "some steps need refills, and some do not"
    keys = [group.key[1] for report in whole.reports for group in report.chosen.groups]
    assert keys == list(range(sum(sizes)))
    for report in whole.reports:
        chosen, full = report.chosen, len(report.chosen.groups) == 12
        assert full or not chosen.flat[chosen.trained].any()
        ages = [report.step - 1 - g.rollout.policy_version for g in chosen.groups]
        assert min(ages) >= 0 and max(ages) <= 1


def audited(run):
    return audit(run.folder, RUN, lambda place: make_permit(place).question)


def test_the_audit_holds_and_counts_what_was_dropped(whole):
    result = audited(whole)
    flat = sum((r.chosen.flat & ~r.chosen.trained).sum() for r in whole.reports)
    assert result["findings"] == [] and result["dropped"]["no spread"] == flat > 0
    assert result["trained"] == 18 and replay(whole.folder, RUN, 6, VOCABULARY)["exact"]


def test_a_run_that_was_cut_off_and_robbed_is_the_same_run(whole, tmp_path):
    killed = Pipeline(RUN, tmp_path, actors=2, down=one_unjudged)
    killed.ends[3] = Killed()
    with pytest.raises(Killed):
        killed.train()
    stopped = Pipeline(RUN, tmp_path, actors=3, down=one_unjudged)
    turns = np.random.default_rng(0)

    def lose():
        if turns.random() < 0.2:
            stopped.permits.get(99, 0.0)
            raise WorkLost("an actor died with all that was asked")

    stopped.before_turn = lose
    stopped.ends[2] = Stop("enough")
    assert stopped.train()[0].step == 4
    finished = Pipeline(RUN, tmp_path, down=one_unjudged)
    finished.train()
    for sitting in (killed, stopped, finished):
        assert sitting.fingerprints().items() <= whole.fingerprints().items()
    assert finished.learner.parameters_sha256() == whole.learner.parameters_sha256()
    assert audited(finished)["findings"] == []


TAMPERINGS = {
    "UPDATE permits SET reason = 'narrow rewards' WHERE reason = 'no spread'": "what was trained",
    "UPDATE permits SET version = version + 1 WHERE place = 9": "another policy version",
    "UPDATE permits SET step = step + 1 WHERE place = 9": "another step than their own",
    "DELETE FROM permits WHERE place = 7": "prompts lost",
}


@pytest.mark.parametrize("change", TAMPERINGS)
def test_tampering_with_it_is_found(whole, change):
    with tampered(whole.folder.ledger_file, change):
        found = audited(whole)["findings"]
    assert any(TAMPERINGS[change] in finding["what"] for finding in found), found
