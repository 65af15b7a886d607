"""What a model makes of a text that it reads: mean states, and how surprising the tokens are.

B = rows, T = tokens, D = width of the residual stream, S = spans of a text, F = features.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from learner.policy.model import Params, PolicyModel, logits, prompt_states
from learner.policy.scorer import bucket

ROWS = 4  # read together: the logits of all their tokens are in memory
STRANGE = (-3.0, -6.0)  # log-probabilities of tokens that count as surprising
FIGURES = 4 + len(STRANGE)  # of a span besides its mean state


class Reader:
    """A model with its weights (cast to the compute dtype). Not thread-safe."""

    def __init__(self, model: PolicyModel, params: Params):
        self._params = {name: jnp.asarray(w, model.compute_dtype) for name, w in params.items()}
        self._read = jax.jit(partial(_read, model), static_argnums=3)

    def features(self, texts: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
        """[len(texts), F] float32. A text is a prompt and S spans behind it, each of tokens."""
        spans = len(texts[0]) - 1
        found: list[np.ndarray] = []
        order = sorted(range(len(texts)), key=lambda n: sum(map(len, texts[n])))
        for start in range(0, len(order), ROWS):
            some = [texts[n] for n in order[start : start + ROWS]]
            length = bucket(max(sum(map(len, text)) for text in some))
            tokens_BT = np.zeros((ROWS, length), np.int32)
            span_BT = np.zeros((ROWS, length), np.int32)  # 0: of none
            for row, text in enumerate(some):
                whole = [token for part in text for token in part]
                tokens_BT[row, : len(whole)] = whole
                places = np.repeat(np.arange(len(text)), list(map(len, text)))
                span_BT[row, : len(whole)] = places
            rows = np.asarray(self._read(self._params, tokens_BT, span_BT, spans))
            found.extend(rows[: len(some)])
        back = np.argsort(order)
        return np.stack([found[n] for n in back])


def _read(model: PolicyModel, params: Params, tokens_BT, span_BT, spans: int) -> jax.Array:
    """[B, F]: of each span its mean state, then FIGURES."""
    module = model.bind(params)
    hidden_BTD, _ = prompt_states(model, module, tokens_BT)
    values_BTV = logits(module, hidden_BTD[:, :-1])
    next_BT = jnp.take_along_axis(values_BTV, tokens_BT[:, 1:, None], axis=-1)[..., 0]
    logprobs_BT = jnp.pad(next_BT - jax.nn.logsumexp(values_BTV, axis=-1), ((0, 0), (1, 0)))
    parts = []
    for span in range(1, spans + 1):
        inside_BT = span_BT == span
        count_B = jnp.maximum(inside_BT.sum(axis=1), 1)
        share = lambda mask_BT, n=count_B: mask_BT.sum(axis=1) / n  # noqa: E731
        mean_BD = jnp.einsum("btd,bt->bd", hidden_BTD, inside_BT) / count_B[:, None]
        figures = [
            share(jnp.where(inside_BT, logprobs_BT, 0.0)),
            jnp.where(inside_BT, logprobs_BT, 0.0).min(axis=1),
            jnp.log(count_B.astype(jnp.float32)),
            share(inside_BT & (logprobs_BT > -0.1)),
            *(share(inside_BT & (logprobs_BT < limit)) for limit in STRANGE),
        ]
        parts += [mean_BD.astype(jnp.float32), jnp.stack(figures, axis=1)]
    return jnp.concatenate(parts, axis=1)
