"""What a model makes of texts that it reads, against the plain forward pass."""

import jax
import numpy as np

from learner.policy.model import logits, prompt_states
from learner.policy.reader import Reader
from tests.learner.conftest import VOCABULARY

RNG = np.random.default_rng(1)
TEXTS = [
    [RNG.integers(4, VOCABULARY, n).tolist() for n in lengths]
    for lengths in ((3, 5, 1), (2, 4, 5, 3), (4, 2, 2), (1, 6, 1), (5, 1, 4, 5))
]
TEXTS.append([TEXTS[1][0], *TEXTS[1][2:]])  # begins like another one


def test_states_are_means_and_log_probabilities_those_of_each_token(model, params):
    found = Reader(model, params).read(TEXTS)
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
    for row, (text, read) in enumerate(zip(TEXTS, found, strict=True)):
        start, end = len(text[0]), sum(map(len, text))
        last = end - len(text[-1])
        assert read.states.shape == (2 * width,) and read.logprobs.shape == (end - start,)
        between, behind = hidden[row, start:last].mean(axis=0), hidden[row, last:end].mean(axis=0)
        np.testing.assert_allclose(read.states[:width], between, atol=1e-5)
        np.testing.assert_allclose(read.states[width:], behind, atol=1e-5)
        said = [float(logprobs[row, n - 1, rows[row, n]]) for n in range(start, end)]
        np.testing.assert_allclose(read.logprobs, said, atol=1e-5)
