"""Permits of the training stream: in order, and again."""

from dataclasses import replace

import numpy as np
import pytest

from actors.data.feed import PermitFeed
from actors.data.stream import PromptStream
from actors.data.synthetic import write_synthetic
from actors.data.tables import load_table
from tests.learner.conftest import make_config
from tests.pipeline import FakeTokenizer


class Letters(FakeTokenizer):
    def encode_prompt(self, text, begin=True):
        return [4 + ord(letter) % 20 for letter in text[:6]]


CONFIG = make_config(loop={"groups_per_step": 2, "max_staleness": 1})


@pytest.fixture
def feed(tmp_path):
    path, _ = write_synthetic(tmp_path, 40, 12, seed=0, clean=1.0, slips=0.0)
    return PermitFeed(load_table(path), Letters(), CONFIG, first_open=6)


def test_permits_come_in_the_order_of_the_stream_and_the_same_again(feed):
    first = feed.permits(range(6, 8), 2) + feed.permits(range(8, 10), 3)
    assert [(p.index, p.policy_version) for p in first] == [(6, 2), (7, 2), (8, 3), (9, 3)]
    rows = [row for _, row in PromptStream(40, CONFIG.run.seed, 6).take(4)]
    assert [p.question.id for p in first] == [f"train-{row}" for row in rows]
    assert feed.permits([7], 2) + feed.permits([9], 3) == [first[1], first[3]]
    assert feed.permits([9], 4)[0] == replace(first[3], policy_version=4)
    assert [p.index for p in feed.permits([9, 10], 3)] == [9, 10]  # one again, one new


def test_one_that_was_asked_for_long_ago_is_the_same_again(feed):
    first = feed.permits(range(6, 60), 2)[0]
    assert len(feed._asked) < 30, "it must not keep all of them"
    again = feed.permits([6], 2)[0]
    assert (again.key, again.question) == (first.key, first.question)
    np.testing.assert_array_equal(again.tokens, first.tokens)
