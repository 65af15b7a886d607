"""Filters, budgets of reasoning and answer, and weights that are swapped in flight."""

import jax
import numpy as np
import pytest

from cluster.messages import Restraint
from learner.policy.draw import draw, filtered
from learner.policy.endings import Budget, Endings
from learner.policy.engine import Engine
from tests.learner.conftest import make_config, make_permit
from tests.learner.test_engine import (
    EOS,
    assert_equal_to_forward,
    assert_same_bits,
    chi_square,
    forward_logprobs,
    prompts,
    run,
)

CLOSE, OPEN = 20, 21  # ids that stand for </reasoning> and <answer>
SHARES = np.array([0.05, 0.4, 0.1, 0.3, 0.15])
drawn = jax.jit(draw)


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p", "kept"),
    [
        (0, 1.0, 0.0, [0, 1, 2, 3, 4]),
        (3, 1.0, 0.0, [1, 3, 4]),
        (9, 1.0, 0.0, [0, 1, 2, 3, 4]),
        (0, 0.69, 0.0, [1, 3]),
        (0, 0.71, 0.0, [1, 3, 4]),
        (0, 1.0, 0.26, [1, 3, 4]),  # at least .104
        (3, 0.8, 0.0, [1, 3]),  # 80 % of the .85 that the first filter leaves
        (4, 0.9, 0.5, [1, 3]),
        (1, 0.1, 1.0, [1]),
    ],
)
def test_filters_leave_exact_probabilities(top_k, top_p, min_p, kept):
    """By hand, and by chi-square of 20,000 draws."""
    rows = 20_000
    uniforms = np.random.default_rng(0).random((rows, 2), np.float32)
    scores = np.broadcast_to(np.log(SHARES).astype(np.float32), (rows, 5))
    kinds = ((top_k, np.int32), (top_p, np.float32), (min_p, np.float32))
    filters = tuple(np.full(rows, value, kind) for value, kind in kinds)
    tokens, logprobs = drawn(scores, uniforms, np.ones(rows, np.float32), filters)
    expected = np.where(np.isin(np.arange(5), kept), SHARES, 0)
    expected /= expected.sum()
    np.testing.assert_allclose(logprobs, np.log(expected[tokens]), atol=1e-5)
    assert chi_square(np.asarray(tokens), rows * expected) < 25  # 4 degrees of freedom at most


def test_filters_are_those_of_sorting():
    """Rows with filters of their own, against the definition, which sorts."""
    rng = np.random.default_rng(1)
    rows, ids = 32, 700
    weights = np.exp(3 * rng.standard_normal((rows, ids))).astype(np.float32)
    weights /= weights.max(axis=1, keepdims=True)
    top_k = rng.integers(0, 200, rows).astype(np.int32)
    top_p, min_p = rng.uniform(0.3, 1, rows), rng.uniform(0, 0.01, rows)
    found = jax.jit(filtered)(weights, top_k, top_p.astype(np.float32), min_p.astype(np.float32))
    for row in range(rows):
        order = np.argsort(-weights[row])[: top_k[row] or ids]
        shares = weights[row][order] / weights[row][order].sum(dtype=np.float64)
        before = np.cumsum(shares) - shares
        order = order[(before < top_p[row]) & (weights[row][order] >= min_p[row])]
        np.testing.assert_array_equal(np.flatnonzero(found[row]), np.sort(order))


def closed(tokens, seen):
    found = 1 + np.flatnonzero(tokens == CLOSE)
    return int(found[0]) if len(found) else 0


@pytest.fixture(scope="module")
def whole(model, config, params):
    """Completions without budgets apart: up to 6 + 4 tokens, read in chunks of 4."""
    engine = Engine(model, config.rollout, Endings((EOS,)), seed=3)
    engine.load(params, 0)
    return run(engine, [make_permit(i, p) for i, p in enumerate(prompts(12))])


@pytest.mark.parametrize("budget", [None, Budget(5, 3)])
def test_the_answer_has_a_budget_of_its_own(budget, whole, model, params):
    """6 + 4 by configuration, 5 + 3 by request: the same completions, cut where a budget ends."""
    section = make_config(rollout={"at_reasoning_budget": "end"}).rollout
    engine = Engine(model, section, Endings((EOS,), closed=closed), seed=3)
    engine.load(params, 0)
    permits = [s.permit for s in whole.values()]
    if budget is None:
        found = run(engine, permits)
    else:
        found = {}
        for permit in permits:
            engine.submit([permit], [[budget] * 4])
            while engine.busy:
                found |= {sampled.permit.index: sampled for sampled in engine.step()}
    reasoning, answer = budget or Budget(6, 4)
    ends = {"reasoning": 0, "answer": 0}
    for index, sampled in whole.items():
        for sibling, tokens in enumerate(sampled.tokens):
            end = closed(tokens[:reasoning], 0)
            limit = end + answer if end else reasoning
            kept, cut = found[index].tokens[sibling], found[index].truncated[sibling]
            np.testing.assert_array_equal(kept, tokens[:limit])
            assert cut == (kept[-1] != EOS)
            ends["answer" if end else "reasoning"] += cut
    assert min(ends.values()) > 3


def test_reasoning_is_closed_where_its_budget_ends(model, config, params):
    """Budgets of 6 + 4 in chunks of 4: a slot stops inside of a chunk, and goes on behind the two
    tokens that were written, with the log-probabilities of that text."""
    engine = Engine(model, config.rollout, Endings((EOS,), None, closed, (CLOSE, OPEN)), seed=3)
    engine.load(params, 0)
    permits = {
        close: [
            make_permit(i, p, restraint=Restraint(top_k=30, close_reasoning=close))
            for i, p in enumerate(prompts(12))
        ]
        for close in (False, True)
    }
    free, forced = run(engine, permits[False]), run(engine, permits[True])
    written = 0
    for index, sampled in free.items():
        for sibling, tokens in enumerate(sampled.tokens):
            mine, logprobs = forced[index].tokens[sibling], forced[index].logprobs[sibling]
            if EOS in tokens[:6] or closed(tokens[:6], 0):
                np.testing.assert_array_equal(mine, tokens[: len(mine)])
                continue
            written += 1
            np.testing.assert_array_equal(mine[:8], [*tokens[:6], CLOSE, OPEN])
            assert not logprobs[6:8].any() and logprobs[:6].all()
            assert_follows(permits[True][index].tokens, mine, logprobs, model, params)
    assert written > 10 and engine.counts.drawn == sum(
        len(row) for one in (*free.values(), *forced.values()) for row in one.tokens
    )


def assert_follows(prompt, tokens, logprobs, model, params):
    """What was drawn behind the written tokens, among the 30 likeliest of 36."""
    every = [np.append(tokens[:8], token).astype(np.int32) for token in range(36)]
    theirs = np.asarray(forward_logprobs(model, params, [(prompt, row) for row in every]))[:, 8]
    likeliest = np.sort(theirs)[-30:]
    expected = theirs[tokens[8]] - np.log(np.exp(likeliest).sum())
    np.testing.assert_allclose(logprobs[8], expected, atol=2e-5)


def test_the_likeliest_token_alone_is_greedy(model, config, params):
    engine = Engine(model, config.rollout, Endings((EOS,)), seed=3)
    engine.load(params, 0)
    only = run(engine, [make_permit(1, (9, 4), restraint=Restraint(top_k=1))])[1]
    greedy = run(engine, [make_permit(1, (9, 4), restraint=Restraint(top_k=36), temperature=0.0)])
    for mine, other in zip(only.tokens, greedy[1].tokens, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert not np.concatenate(only.logprobs).any()


def test_prompts_of_one_completion_fill_all_slots(model, config, params):
    engine = Engine(model, config.rollout, Endings((EOS,)), seed=3)
    engine.load(params, 0)
    assert engine.room == 2  # groups of 4
    permits = [make_permit(i, p, siblings=1) for i, p in enumerate(prompts(20))]
    assert engine.turn_to(permits[0]) and engine.room == 8
    engine.submit(permits[:8])
    engine.step()
    assert not engine.unfilled and engine.room == 0 and not engine.turn_to(make_permit(30))
    with pytest.raises(RuntimeError, match="two kinds"):
        engine.submit([make_permit(30)])
    while engine.busy:
        engine.step()
    together, alone = run(engine, permits), run(engine, permits[7:8])
    assert_equal_to_forward(together.values(), model, params)
    assert_same_bits(together[7], alone[7])
    assert engine.turn_to(make_permit(30)) and engine.room == 2


def test_weights_are_swapped_under_way(model, config, params):
    """200 chunks, each with another version: nothing is lost, memory stays level, stamps count."""
    other = jax.jit(model.init)(1)
    engine = Engine(model, config.rollout, Endings(), seed=3)
    engine.load(params, 0)
    waiting = [make_permit(i, p) for i, p in enumerate(prompts(600))]
    done, buffers, version = [], [], 0
    while version < 200 or engine.busy:
        if version < 200:
            engine.submit([waiting.pop(0) for _ in range(engine.room)])
        done += engine.step()
        version += 1
        engine.load(other if version % 2 else params, version)
        buffers.append(len(jax.live_arrays()))
    assert len(set(buffers[10:199])) == 1
    rows = [row for sampled in done for row in sampled.tokens]
    assert len(rows) == 4 * len(done) > 400 and {len(row) for row in rows} == {10}
    assert engine.counts.drawn == 10 * len(rows)
    for sampled in done:
        for versions in sampled.versions:  # chunks of 4, 4 and 2
            first = versions[0]
            assert versions.tolist() == [first] * 4 + [first + 1] * 4 + [first + 2] * 2
    assert {int(row[0]) for sampled in done for row in sampled.versions} >= set(range(0, 190, 3))


def test_the_same_weights_again_change_nothing(whole, model, config, params):
    engine = Engine(model, config.rollout, Endings((EOS,)), seed=3)
    engine.load(params, 0)
    engine.submit([whole[0].permit, whole[1].permit])
    done = []
    while engine.busy:
        done += engine.step()
        engine.load(params, engine.version + 1)
    for sampled in done:
        assert_same_bits(sampled, whole[sampled.permit.index])
