import numpy as np
import pytest

from benchmarks import race, rollout
from benchmarks.peers.generation import make_work, static_account


def test_everybody_gets_the_same_work():
    one, other = (make_work("demo", "long_tail", 8, 32, seed=1) for _ in range(2))
    np.testing.assert_array_equal(one.lengths, other.lengths)
    np.testing.assert_array_equal(one.prompts, other.prompts)
    assert one.prompts.shape == (4, 64) and one.lengths.shape == (4, 8)
    assert one.lengths.min() >= 8 and one.lengths.max() <= 512


def test_a_static_batch_decodes_to_its_longest():
    """Two batches of 16 rows in 2 s: every row of a batch takes its longest length."""
    work = make_work("demo", "long_tail", 8, 32, seed=1)
    longest = work.lengths.reshape(2, 16).max(axis=1)

    def turn(size):
        assert size == 16
        return [(1.0, int(longest[0])), (2.0, int(longest[1]))]

    found = static_account(work, (16,), turn)
    assert found["tokens_per_s"] == pytest.approx(work.lengths.sum() / 2, abs=0.1)
    assert found["first_token_s"] == 1.5  # half of the rows after 1 s, half after 2 s
    share = 1 - work.lengths.sum() / (16 * longest.sum())
    assert found["dead_share"] == pytest.approx(share, abs=1e-4)


def test_ratios_are_named_by_mode_and_peer():
    def rates(value):
        return race.summarize([{"tokens_per_s": value, "other_cores": [0.0, 0.0]}])

    results = {
        "ours": {"demo even 8": rates(30.0), "35m even 8": rates(8.0)},
        "tunix": {"demo even 8": rates(10.0), "35m even 8": rates(4.0)},
    }
    found = rollout.verdict(results, {"hf": "no such package"})
    assert found["ratios"] == {
        "even_vs_tunix_g8": 3.0,
        "even_vs_tunix_35m_g8": 2.0,
        "even_vs_tunix": 3.0,
    }
    assert found["peers"]["hf"] == {"missing": "no such package"} and not found["disturbed"]
