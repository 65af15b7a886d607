"""Permits of the training stream: in order, and again."""

import pytest

from actors.data.feed import PermitFeed
from actors.data.stream import PromptStream
from actors.data.synthetic import write_synthetic
from actors.data.tables import load_table
from tests.learner.conftest import make_config
from tests.pipeline import FakeTokenizer, LocalQueue


class Letters(FakeTokenizer):
    def encode_prompt(self, text):
        return [4 + ord(letter) % 20 for letter in text[:6]]


CONFIG = make_config(loop={"groups_per_step": 2, "max_staleness": 1})


@pytest.fixture
def feed(tmp_path):
    path, _ = write_synthetic(tmp_path, 40, 12, seed=0, clean=1.0, slips=0.0)
    queue = LocalQueue()
    return PermitFeed(load_table(path), Letters(), CONFIG, queue, consumed=6), queue


def test_permits_come_in_the_order_of_the_stream_and_the_same_again(feed):
    feed, queue = feed
    feed.ask(range(6, 8), 2)
    feed.ask(range(8, 10), 3)
    first = queue.get(99, 0.0)
    assert [(p.index, p.policy_version) for p in first] == [(6, 2), (7, 2), (8, 3), (9, 3)]
    rows = [row for _, row in PromptStream(40, CONFIG.run.seed, 6).take(4)]
    assert [p.question.id for p in first] == [f"train-{row}" for row in rows]
    feed.ask([7, 9], 2)
    assert queue.get(99, 0.0) == [first[1], first[3]]
    feed.ask([9, 10], 3)  # one again, one new
    assert [p.index for p in queue.get(99, 0.0)] == [9, 10]


def test_what_no_step_can_ask_for_again_is_forgotten(feed):
    feed, _ = feed
    feed.ask(range(6, 20), 2)
    with pytest.raises(KeyError):
        feed.ask([6], 2)
