"""Attention of packed rows as plain batched products.

R = rows, L = slots of a row, K = key-value heads, G = query heads of one of them, N = K * G,
H = head size.
"""

import jax
import jax.numpy as jnp


def attend(queries_RLNH, keys_RLKH, values_RLKH, seen_RLL, soft_cap: float | None) -> jax.Array:
    """[R, L, N, H]: what each slot reads from those that it sees. `queries` are scaled already.

    The queries of a key-value head are the rows of one product. A slot that sees nothing, as
    padding does, reads a mean of everything: finite, and without weight in any loss.
    """
    rows, length, heads, size = queries_RLNH.shape
    groups = heads // keys_RLKH.shape[2]
    grouped = queries_RLNH.reshape(rows, length, -1, groups, size)
    queries_RKXH = grouped.transpose(0, 2, 3, 1, 4).reshape(rows, -1, groups * length, size)
    keys_RKHL = keys_RLKH.transpose(0, 2, 3, 1)
    scores_RKXL = jnp.matmul(queries_RKXH, keys_RKHL)
    scores_RKGLL = scores_RKXL.reshape(rows, -1, groups, length, length)
    if soft_cap is not None:
        scores_RKGLL = jnp.tanh(scores_RKGLL / soft_cap) * soft_cap
    lowest = jnp.asarray(-1e30, scores_RKGLL.dtype)
    scores_RKGLL = jnp.where(seen_RLL[:, None, None], scores_RKGLL, lowest)
    probs_RKXL = jax.nn.softmax(scores_RKGLL, axis=-1).reshape(scores_RKXL.shape)
    read_RKXH = jnp.matmul(probs_RKXL.astype(values_RLKH.dtype), values_RLKH.transpose(0, 2, 1, 3))
    read = read_RKXH.reshape(rows, -1, groups, length, size).transpose(0, 3, 1, 2, 4)
    return read.reshape(rows, length, heads, size)
