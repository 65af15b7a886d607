"""Features of texts that a model reads, against the plain forward pass."""

import jax
import numpy as np

from learner.policy.model import logits, prompt_states
from learner.policy.reader import FIGURES, Reader
from tests.learner.conftest import VOCABULARY

RNG = np.random.default_rng(1)
TEXTS = [
    tuple(RNG.integers(4, VOCABULARY, n).tolist() for n in lengths)
    for lengths in ((3, 5, 1), (2, 9, 3), (4, 2, 2), (1, 6, 1), (5, 5, 5))
]


def test_features_are_mean_states_and_surprise_of_each_span(model, params):
    found = Reader(model, params).features(TEXTS)
    rows = np.zeros((len(TEXTS), 16), np.int32)
    for row, text in zip(rows, TEXTS, strict=True):
        whole = sum(text, [])
        row[: len(whole)] = whole

    @jax.jit
    def plain(params):
        module = model.bind(params)
        hidden, _ = prompt_states(model, module, rows)
        return hidden, jax.nn.log_softmax(logits(module, hidden))

    hidden, logprobs = plain(params)
    width = hidden.shape[-1]
    assert found.shape == (5, 2 * (width + FIGURES))
    for row, (asked, reasoning, answer) in enumerate(TEXTS):
        start, end = len(asked), len(asked) + len(reasoning)
        mean = hidden[row, start:end].mean(axis=0)
        np.testing.assert_allclose(found[row, :width], mean, atol=1e-5)
        said = [float(logprobs[row, n - 1, rows[row, n]]) for n in range(start, end)]
        figures = found[row, width : width + FIGURES]
        np.testing.assert_allclose(
            figures[:3], [np.mean(said), min(said), np.log(len(said))], atol=1e-5
        )
        np.testing.assert_allclose(figures[4], np.mean(np.array(said) < -3), atol=1e-5)
        place = end + len(answer)
        np.testing.assert_allclose(
            found[row, width + FIGURES : -FIGURES], hidden[row, end:place].mean(axis=0), atol=1e-5
        )
