"""The figures of a text, counted by hand."""

import numpy as np
import pytest

from actors.rewards.surprise import LEVELS, figures

TEXT = [[1, 2, 3], [1, 2, 9], [9, 7], [7, 3]]  # a question, two steps, an answer
SURPRISES = [0.5, 2.5, 6.0, 0.0, 5.0, 0.25, 0.75]


@pytest.fixture(scope="module")
def found():
    return figures(TEXT, -np.array(SURPRISES)).tolist()


def test_surprises_are_summed_and_the_largest_are_named(found):
    assert found[:5] == pytest.approx([np.log(5), 5, 2, 14.0, 2.8])
    assert found[5:9] == [6.0, 5.0, 2.5, 0.5]
    counted = [sum(s > level for s in (0.5, 2.5, 6.0, 0.0, 5.0)) for level in LEVELS]
    assert found[9:16] == counted == [4, 3, 3, 2, 2, 0, 0]


def test_steps_are_looked_at_one_by_one(found):
    assert found[16:21] == pytest.approx([3.0, 2.5, 3.0, 2.5, 0.25])  # mean surprise of a step
    assert found[21:25] == [9.0, 5.0, 6.0, 5.0]  # largest sum, last sum, first and last maximum
    assert found[25:28] == pytest.approx([1.0, 0.75, 0.5])  # the answer


def test_tokens_that_were_there_before_are_counted(found):
    copied, pairs, again = found[28:31]
    assert (copied, pairs, again) == (2 / 5, 1 / 4, 0.0)  # 1 2 of 1 2 9 9 7
    assert found[35:39] == pytest.approx([1 / 3, 1 / 2, 5 / 12, 1 / 2])  # new in a step
    assert found[39:] == pytest.approx([2 / 3, 1 / 2, 1 / 2, 1 / 2])


def test_a_loop_is_said_again_and_no_steps_are_no_error():
    looped = figures([[1], [5, 6], [5, 6], [5, 6], [6]], np.zeros(7))
    assert looped[30] == pytest.approx(1 - 2 / 5)  # 56 65 56 65 56
    assert np.isfinite(figures([[1], [2]], np.zeros(1))).all()
