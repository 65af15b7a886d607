"""The head of the learned judge, on features whose order is known."""

import numpy as np
import pytest

from actors.rewards.head import Head, fit_head
from configs.errors import InputError

RNG = np.random.default_rng(0)


def pairs(count, noise=0.5):
    """Better ones are higher in the first feature; the second is larger and says nothing."""
    base = RNG.normal(size=(2, count, 5)) * [noise, 10, 1, 1, 1]
    return base[0] + [1, 0, 0, 0, 0], base[1]


def test_it_finds_what_tells_the_better_one_and_holds_on_new_pairs():
    head = fit_head("m", *pairs(200), [str(n % 20) for n in range(200)])
    better, worse = pairs(400)
    assert (head.margins(better) > head.margins(worse)).mean() > 0.85
    assert np.argmax(np.abs(head.weights)) == 0
    scores = head.scores(np.concatenate([better, worse]))
    assert 0 < scores.min() < scores.max() < 1
    # what it says of a pair is about how often it is right
    said = head.scores(better).mean() - head.scores(worse).mean()
    assert 0.3 < said < 0.95


def test_noise_makes_it_careful():
    few = fit_head("m", *pairs(60, noise=4.0), [str(n % 12) for n in range(60)])
    sure = fit_head("m", *pairs(60, noise=0.1), [str(n % 12) for n in range(60)])
    assert few.scale < sure.scale


def test_it_is_kept_with_a_version(tmp_path):
    head = fit_head("m", *pairs(30), ["a", "b", "c"] * 10)
    head.save(tmp_path / "head.npz")
    back = Head.load(tmp_path / "head.npz")
    features = RNG.normal(size=(4, 5))
    np.testing.assert_array_equal(back.scores(features), head.scores(features))
    assert back.version == head.version
    other = fit_head("other model", *pairs(30), ["a", "b", "c"] * 10)
    assert other.version != head.version


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "head.npz").write_bytes(b"nothing")
    for name in ("head.npz", "missing.npz"):
        with pytest.raises(InputError, match="launch.py judge --fit writes one"):
            Head.load(tmp_path / name)
