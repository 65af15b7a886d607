"""The ledger's arithmetic and its file."""

import json

import numpy as np

from learner.batch import select
from learner.ledger import Ledger, LedgerFile
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
    assert ledger.outstanding == range(3, 9)


def test_nothing_is_asked_beyond_the_last_step():
    ledger = Ledger(step=4, cursor=15, consumed=12)
    assert ledger.ask_ahead(CONFIG)[1] == range(15, 15)


def test_synchronous_training_asks_for_one_step():
    config = make_config(loop={"groups_per_step": 3, "max_staleness": 0})
    ledger, asked = Ledger().ask_ahead(config)
    assert asked == range(0, 3) == ledger.next_prompts(config)


def test_every_prompt_is_trained_or_dropped():
    ledger = Ledger(cursor=6).after(step_of(0)).after(step_of(3))
    assert (ledger.step, ledger.consumed, ledger.trained, ledger.dropped) == (2, 6, 4, 2)
    assert Ledger(**ledger.to_dict()) == ledger


def test_the_file_says_what_became_of_each_prompt(tmp_path):
    file = LedgerFile(tmp_path / "ledger.jsonl", resumed_step=0)
    file.write(1, step_of(0), {"wait": 0.5})
    file.write(2, step_of(3), {"wait": 0.25})
    file.close()
    entries = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert entries[1]["trained"] == [3, 5]
    assert entries[1]["dropped"] == {"narrow rewards": [4], "fewer than two verdicts": []}
    assert entries[0]["seconds"] == {"wait": 0.5}
    np.testing.assert_allclose(entries[0]["reward"], (2 + 1.9 + 2) / 12, rtol=1e-6)


def test_a_resumed_run_drops_what_was_not_checkpointed(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step"')
    LedgerFile(path, resumed_step=2).close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
