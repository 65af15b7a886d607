"""What a model makes of texts that it reads: mean states, and how likely each token was.

Texts that begin alike are read together: their first span is prefilled once.
B = rows, T = tokens behind the first span, D = width of the residual stream, V = vocabulary.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from learner.policy.model import Params, PolicyModel, logits
from learner.policy.scorer import begin, bucket, go_on, padded

ROWS = 4  # read together: the logits of all their tokens are in memory
Text = Sequence[Sequence[int]]
"""Spans of tokens: a prompt, one or more of what was written, the last of which stands apart."""


class Reading(NamedTuple):
    states: np.ndarray  # [2 D] float32, mean states: between the first and the last span, and there
    logprobs: np.ndarray  # [T] float32, of the tokens behind the first span


class Reader:
    """A model with its weights (cast to the compute dtype). Not thread-safe."""

    def __init__(self, model: PolicyModel, params: Params):
        self._params = {name: jnp.asarray(w, model.compute_dtype) for name, w in params.items()}
        self._begin = jax.jit(partial(begin, model))
        self._read = jax.jit(partial(_read, model))

    def read(self, texts: Sequence[Text]) -> list[Reading]:
        """In the order of the texts."""
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, text in enumerate(texts):
            alike[tuple(text[0])].append(number)
        found: dict[int, Reading] = {}
        for prompt, numbers in alike.items():
            states_1PD, cache = self._begin(self._params, padded([prompt], 1, bucket(len(prompt))))
            before = cache, np.int32(len(prompt)), states_1PD[0, len(prompt) - 1]
            numbers.sort(key=lambda n: sum(map(len, texts[n])))
            for start in range(0, len(numbers), ROWS):
                some = numbers[start : start + ROWS]
                found |= zip(some, self._rows(before, [texts[n][1:] for n in some]), strict=True)
        return [found[n] for n in range(len(texts))]

    def _rows(self, before: tuple, texts: Sequence[Text]) -> list[Reading]:
        """Of up to ROWS texts, without the span that they share."""
        rows = [list(chain.from_iterable(text)) for text in texts]
        length = bucket(max(map(len, rows)))
        part_BT = np.zeros((ROWS, length), np.int32)  # 1: between, 2: the last span
        for row, text in enumerate(texts):
            part_BT[row, : len(rows[row])] = 1
            part_BT[row, len(rows[row]) - len(text[-1]) : len(rows[row])] = 2
        read = self._read(self._params, *before, padded(rows, ROWS, length), part_BT)
        states_BF, logprobs_BT = map(np.asarray, read)
        return [
            Reading(states_BF[row], logprobs_BT[row, : len(tokens)])
            for row, tokens in enumerate(rows)
        ]


def _read(
    model: PolicyModel, params: Params, cache: dict, shared, last_D, tokens_BT, part_BT
) -> tuple[jax.Array, jax.Array]:
    """[B, 2 D] and [B, T]. `last_D`: the state of the token before the rows."""
    module = model.bind(params)
    hidden_BTD, _ = go_on(model, module, cache, shared, tokens_BT)
    first_B1D = jnp.broadcast_to(last_D, (tokens_BT.shape[0], 1, last_D.shape[0]))
    values_BTV = logits(module, jnp.concatenate([first_B1D, hidden_BTD[:, :-1]], axis=1))
    chosen_BT = jnp.take_along_axis(values_BTV, tokens_BT[..., None], axis=-1)[..., 0]
    means = []
    for part in (1, 2):
        inside_BT = part_BT == part
        count_B = jnp.maximum(inside_BT.sum(axis=1), 1)
        means.append(jnp.einsum("btd,bt->bd", hidden_BTD, inside_BT) / count_B[:, None])
    states_BF = jnp.concatenate(means, axis=1).astype(jnp.float32)
    return states_BF, chosen_BT - jax.nn.logsumexp(values_BTV, axis=-1)
