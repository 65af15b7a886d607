"""Log-probabilities of given tokens without the [rows, tokens, vocabulary] array.

Tokens are projected onto the vocabulary in chunks that are recomputed for the gradient, so at most
`chunk` rows of logits exist at one time (a chunk that holds all is not recomputed). Soft-cap and
temperature are applied inside the chunk, the log-sum-exp is float32. N = tokens, D = width,
V = vocabulary.
"""

import jax
import jax.numpy as jnp

from learner.policy.model import PolicyModel, causal_hidden_states, logits


def completion_logprobs(
    model: PolicyModel, params, batch, temperature: float, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """Log-probability [B, C] and entropy [B, C] (nats, no gradient) of the completion tokens.

    `batch.tokens` [B, T] holds prompt and completion, right padded; `batch.completions` [B, C] the
    completion alone; `batch.prompt_lengths` [B] where it starts. Padding gets values too: mask it.
    """
    module = model.bind(params, for_gradient=True)
    hidden_BTD = causal_hidden_states(module, batch.tokens)
    columns = jnp.arange(batch.completions.shape[1])
    # the token at position i is predicted by the hidden state at i - 1
    places_BC = jnp.minimum(
        batch.prompt_lengths[:, None] - 1 + columns[None], batch.tokens.shape[1] - 1
    )
    hidden_BCD = jnp.take_along_axis(hidden_BTD, places_BC[:, :, None], axis=1)
    return chunked_logprobs(module, hidden_BCD, batch.completions, temperature, chunk)


def chunked_logprobs(
    module, hidden_BCD: jax.Array, targets_BC: jax.Array, temperature: float, chunk: int
) -> tuple[jax.Array, jax.Array]:
    """Log-probability, entropy [B, C] float32 of `targets` under softmax(logits / temperature)."""
    shape, width = targets_BC.shape, hidden_BCD.shape[-1]
    count = targets_BC.size
    chunk = min(chunk, count)
    padding = -count % chunk
    hidden = jnp.pad(hidden_BCD.reshape(count, width), ((0, padding), (0, 0)))
    targets = jnp.pad(targets_BC.reshape(count), (0, padding))

    def of_chunk(hidden_ND, targets_N):
        scores_NV = logits(module, hidden_ND) / temperature
        total_N = jax.nn.logsumexp(scores_NV, axis=-1)
        chosen_N = jnp.take_along_axis(scores_NV, targets_N[:, None], axis=-1)[:, 0]
        fixed_NV = jax.lax.stop_gradient(scores_NV)
        mean_score_N = jnp.sum(jax.nn.softmax(fixed_NV) * fixed_NV, axis=-1)
        return chosen_N - total_N, jax.lax.stop_gradient(total_N) - mean_score_N

    if hidden.shape[0] == chunk:
        logprobs, entropy = of_chunk(hidden, targets)
    else:
        parts = (hidden.reshape(-1, chunk, width), targets.reshape(-1, chunk))
        logprobs, entropy = jax.lax.map(lambda part: jax.checkpoint(of_chunk)(*part), parts)
    return (
        logprobs.reshape(-1)[:count].reshape(shape),
        entropy.reshape(-1)[:count].reshape(shape),
    )
