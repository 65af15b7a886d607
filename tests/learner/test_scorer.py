"""Next-token log-probabilities behind a shared beginning, against the plain forward pass."""

import jax
import numpy as np
import pytest

from learner.policy.model import logits, prompt_states
from learner.policy.scorer import Scorer, bucket
from tests.learner.conftest import VOCABULARY

RNG = np.random.default_rng(0)
BEGINNING = RNG.integers(4, VOCABULARY, 19).tolist()
ENDS = [RNG.integers(4, VOCABULARY, n).tolist() for n in (1, 3, 16, 20)]


@pytest.fixture(scope="module")
def scorer(model, params):
    return Scorer(model, params)


def test_a_shared_beginning_changes_no_probability(model, params, scorer):
    prompts = np.zeros((len(ENDS), 40), np.int32)
    for row, end in zip(prompts, ENDS, strict=True):
        row[: 19 + len(end)] = BEGINNING + end

    @jax.jit
    def plain(params):
        module = model.bind(params)
        return jax.nn.log_softmax(logits(module, prompt_states(model, module, prompts)[0]))

    expected = plain(params)
    found = scorer.next_logprobs(BEGINNING, ENDS)
    for row, (end, logprobs) in enumerate(zip(ENDS, found, strict=True)):
        np.testing.assert_allclose(logprobs, expected[row, 18 + len(end)], atol=2e-5)
        assert np.exp(logprobs).sum() == pytest.approx(1, abs=1e-5)


def test_a_trunk_of_many_beginnings_changes_none_either(scorer):
    plain = scorer.next_logprobs(BEGINNING, ENDS)
    for _ in range(2):  # read, then kept
        branched = scorer.next_logprobs(BEGINNING, ENDS, trunk=11)
        np.testing.assert_allclose(branched, plain, atol=2e-5)
    other = BEGINNING[:11] + BEGINNING[:5]
    np.testing.assert_allclose(
        scorer.next_logprobs(other, ENDS, trunk=11), scorer.next_logprobs(other, ENDS), atol=2e-5
    )
    assert len(scorer._trunks) == 1


def test_bits_do_not_depend_on_the_rows_beside_it(scorer):
    beside = scorer.next_logprobs(BEGINNING, ENDS * 3)
    for number, end in enumerate(ENDS):
        (alone,) = scorer.next_logprobs(BEGINNING, [end])
        np.testing.assert_array_equal(alone, beside[number])
        np.testing.assert_array_equal(alone, beside[number + 8])


def test_lengths_are_padded_to_a_few_sizes():
    assert [bucket(n) for n in (1, 16, 17, 24, 25, 32, 33, 49)] == [16, 16, 24, 24, 32, 32, 48, 64]
