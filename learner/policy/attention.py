"""Attention of packed rows as plain batched products, and its gradient.

The gradient is written out: XLA:CPU's sums over products of two large arrays are slow, and the one
that a softmax needs is also the product of what was read with its own gradient, which is a head
wide and not a row long (Dao et al. 2022, arXiv 2205.14135).

R = rows, L = slots of a row, K = key-value heads, G = query heads of one of them, N = K * G,
X = G * L, H = head size.
"""

from functools import partial

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
    keys_RKLH, values_RKLH = (x.transpose(0, 2, 1, 3) for x in (keys_RLKH, values_RLKH))
    # 0 or -inf; a logarithm, since a compiler that finds it cheap would ask anew for every head
    unseen_RLL = jnp.log(seen_RLL.astype(queries_RLNH.dtype))
    read_RKXH = _attend(soft_cap, queries_RKXH, keys_RKLH, values_RKLH, unseen_RLL)
    read = read_RKXH.reshape(rows, -1, groups, length, size).transpose(0, 3, 1, 2, 4)
    return read.reshape(rows, length, heads, size)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(soft_cap: float | None, queries_RKXH, keys_RKLH, values_RKLH, unseen_RLL):
    return _forward(soft_cap, queries_RKXH, keys_RKLH, values_RKLH, unseen_RLL)[0]


def _forward(soft_cap, queries_RKXH, keys_RKLH, values_RKLH, unseen_RLL):
    scores_RKXL = jnp.einsum("rkxh,rklh->rkxl", queries_RKXH, keys_RKLH)
    curved_RKXL = None
    if soft_cap is not None:
        curved_RKXL = jnp.tanh(scores_RKXL / soft_cap)
        scores_RKXL = curved_RKXL * soft_cap
    by_head = (*scores_RKXL.shape[:2], -1, *unseen_RLL.shape[1:])
    lowest_RLL = jnp.maximum(unseen_RLL, -1e30)
    scores_RKGLL = scores_RKXL.reshape(by_head) + lowest_RLL[:, None, None]
    highest_RKGL1 = jnp.max(scores_RKGLL, axis=-1, keepdims=True)
    weights_RKXL = jnp.exp(scores_RKGLL - highest_RKGL1).reshape(scores_RKXL.shape)
    sums_RKX1 = jnp.sum(weights_RKXL, axis=-1, keepdims=True, dtype=jnp.float32)
    sums_RKX1 = sums_RKX1.astype(weights_RKXL.dtype)
    read_RKXH = jnp.einsum("rkxl,rklh->rkxh", weights_RKXL, values_RKLH) / sums_RKX1
    saved = (queries_RKXH, keys_RKLH, values_RKLH, curved_RKXL, weights_RKXL, sums_RKX1, read_RKXH)
    return read_RKXH, saved


def _backward(soft_cap, saved, gradient_RKXH):
    queries_RKXH, keys_RKLH, values_RKLH, curved_RKXL, weights_RKXL, sums_RKX1, read_RKXH = saved
    gradient_RKXH = gradient_RKXH / sums_RKX1
    of_values = jnp.einsum("rkxl,rkxh->rklh", weights_RKXL, gradient_RKXH)
    mean_RKX = jnp.einsum(
        "rkxh,rkxh->rkx", gradient_RKXH, read_RKXH, preferred_element_type=jnp.float32
    )
    of_scores = jnp.einsum("rkxh,rklh->rkxl", gradient_RKXH, values_RKLH)
    of_scores = weights_RKXL * (of_scores - mean_RKX[..., None].astype(of_scores.dtype))
    if soft_cap is not None:
        of_scores = of_scores * (1 - curved_RKXL * curved_RKXL)
    of_queries = jnp.einsum("rkxl,rklh->rkxh", of_scores, keys_RKLH)
    of_keys = jnp.einsum("rkxl,rkxh->rklh", of_scores, queries_RKXH)
    return of_queries, of_keys, of_values, None


_attend.defvjp(_forward, _backward)
