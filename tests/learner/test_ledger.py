"""The ledger's arithmetic."""

import json

from learner.batch import select
from learner.ledger import Ledger, outcomes, policy_version
from learner.refill import versions_asked
from tests.learner.conftest import make_config, make_group

CONFIG = make_config(
    loop={"groups_per_step": 3, "steps": 5, "max_staleness": 1}, grpo={"widest_groups": 2}
)


def step_of(first):
    rewards = ([0.0, 1.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.4], [0.1, 0.9, 0.1, 0.9])
    return select([make_group(first + n, r) for n, r in enumerate(rewards)], CONFIG, 1)


def test_permits_run_at_most_the_staleness_ahead():
    ledger, asked = Ledger().ask_ahead(CONFIG)
    assert asked == range(0, 6)  # two steps of three
    ledger = ledger.after(step_of(0))
    ledger, asked = ledger.ask_ahead(CONFIG)
    assert asked == range(6, 9)
    assert ledger.outstanding == range(3, 9) and ledger.ahead == ()


def test_refills_are_asked_for_at_the_other_end_and_keep_their_version():
    """Steps of three prompts, one update ahead; the first takes two prompts more, the next one."""
    config = make_config(loop={"groups_per_step": 3, "max_staleness": 1, "max_refills": 1})
    ledger, _ = Ledger().ask_ahead(config)
    ledger, asked = ledger.refill(2)
    assert asked == range(6, 8) and {ledger.first_asked(n) for n in range(8)} == {0}
    ledger = ledger.after(
        select([make_group(n, [0.0, 1.0, 0.0, 1.0]) for n in range(5)], config, 1)
    )
    ledger, asked = ledger.ask_ahead(config)
    assert asked == range(8, 11) and ledger.outstanding == range(5, 11)
    ledger, asked = ledger.refill(1)
    assert asked == range(11, 12)
    assert [ledger.first_asked(n) for n in range(5, 12)] == [0, 0, 0, 1, 1, 1, 1]
    assert Ledger(**json.loads(json.dumps(ledger.to_dict()))) == ledger
    assert list(versions_asked([5, 4], config)) == [0] * 8 + [1] * 4


def test_a_run_that_is_made_longer_later_asks_for_the_same_versions():
    sizes = {"groups_per_step": 3, "max_staleness": 1, "max_refills": 1}
    short, long = (make_config(loop=sizes | {"steps": steps}) for steps in (1, 5))
    ends = []
    for config in (short, long):
        ledger, _ = Ledger().ask_ahead(config)
        ledger, _ = ledger.refill(1)
        ledger = ledger.after(
            select([make_group(n, [0.0, 1.0, 0.0, 1.0]) for n in range(4)], config, 1)
        )
        ledger, _ = ledger.ask_ahead(long)
        ends.append([ledger.first_asked(n) for n in range(4, 10)])
    assert ends[0] == ends[1] == [0, 0, 0, 1, 1, 1]


def test_nothing_is_asked_beyond_the_last_step():
    ledger = Ledger(step=4, cursor=15, consumed=12)
    assert ledger.ask_ahead(CONFIG)[1] == range(15, 15)


def test_synchronous_training_asks_for_one_step():
    config = make_config(loop={"groups_per_step": 3, "max_staleness": 0})
    ledger, asked = Ledger().ask_ahead(config)
    assert asked == range(0, 3) == ledger.outstanding


def test_every_prompt_is_trained_or_dropped():
    ledger = Ledger(cursor=6).after(step_of(0)).after(step_of(3))
    assert (ledger.step, ledger.consumed, ledger.trained, ledger.dropped) == (2, 6, 4, 2)
    assert Ledger(**ledger.to_dict()) == ledger


def test_a_prompt_keeps_its_policy_version():
    """Steps of three prompts, one update ahead: the version is that before the step's own."""
    versions = [policy_version(place, CONFIG) for place in range(9)]
    assert versions == [0, 0, 0, 0, 0, 0, 1, 1, 1] == list(versions_asked([3, 3], CONFIG))
    assert Ledger(step=4).versions(CONFIG) == range(3, 5)
    assert Ledger().versions(CONFIG) == range(0, 1)


def test_a_group_without_two_verdicts_is_never_trained():
    groups = [make_group(0, [0.0, 1.0, 0.0, 1.0], abstained=(0, 1, 2)), make_group(1, [0.5] * 4)]
    assert outcomes(select(groups, make_config(), 1)) == ["fewer than two verdicts", ""]
    assert outcomes(step_of(0)) == ["", "narrow rewards", ""]
