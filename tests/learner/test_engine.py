"""The engine against the full forward pass, and against itself in other company."""

import jax
import numpy as np
import pytest

from learner.batch import pad
from learner.policy.engine import Engine
from learner.policy.logprobs import completion_logprobs
from tests.learner.conftest import make_permit

EOS = 1


@pytest.fixture(scope="module")
def engine(model, config, params):
    engine = Engine(model, config.rollout, (EOS,), seed=3)
    engine.load({name: np.asarray(value) for name, value in params.items()})
    return engine


def run(engine, permits):
    """Admit in order as slots get free; returns {index: Sampled}."""
    waiting, done = list(permits), {}
    while waiting or engine.busy:
        fitting = []
        free = engine.free_slots
        while waiting and waiting[0].siblings <= free:
            free -= waiting[0].siblings
            fitting.append(waiting.pop(0))
        engine.admit(fitting)
        done |= {sampled.permit.index: sampled for sampled in engine.step()}
    return done


def prompts(count):
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(4, 36, rng.integers(1, 9))) for _ in range(count)]


def test_logprobs_equal_the_forward_pass(engine, model, config, params):
    for temperature in (1.0, 0.7):
        permits = [make_permit(i, p, temperature=temperature) for i, p in enumerate(prompts(5))]
        sampled = run(engine, permits)
        rows = [(s.permit.tokens, t, lp) for s in sampled.values()
                for t, lp in zip(s.tokens, s.logprobs, strict=True)]  # fmt: skip
        batch = type("Rows", (), {
            "prompts": pad([np.array(row[0]) for row in rows], 8),
            "prompt_lengths": np.array([len(row[0]) for row in rows]),
            "completions": pad([row[1] for row in rows], 10),
        })  # fmt: skip
        logprobs, _ = completion_logprobs(model, params, batch, temperature, chunk=16)
        for (_, tokens, theirs), ours in zip(rows, np.asarray(logprobs), strict=True):
            np.testing.assert_allclose(theirs, ours[: len(tokens)], atol=2e-5)


def test_a_sample_depends_on_neither_slot_nor_company(engine):
    permits = [make_permit(i, p) for i, p in enumerate(prompts(6))]
    together = run(engine, permits)
    alone = run(engine, permits[3:4])[3]
    backwards = run(engine, permits[::-1])[3]
    for other in (alone, backwards):
        for mine, theirs in zip(together[3].tokens, other.tokens, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        for mine, theirs in zip(together[3].logprobs, other.logprobs, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_siblings_and_prompts_differ(engine):
    sampled = run(engine, [make_permit(0), make_permit(1)])
    rows = {tuple(tokens) for s in sampled.values() for tokens in s.tokens}
    assert len(rows) == 8


def test_completions_end_at_eos_or_at_the_budget(engine):
    for sampled in run(engine, [make_permit(i, p) for i, p in enumerate(prompts(12))]).values():
        for tokens, truncated in zip(sampled.tokens, sampled.truncated, strict=True):
            assert EOS not in tokens[:-1]
            assert truncated == (tokens[-1] != EOS)
            assert len(tokens) == 10 if truncated else len(tokens) <= 10


def test_greedy_takes_the_likeliest_token(engine, model, params):
    permit = make_permit(0, (9, 4, 11), siblings=1, temperature=0.0)
    sampled = run(engine, [permit])[0]
    first = run(engine, [make_permit(7, (9, 4, 11), siblings=1, temperature=0.0)])[7]
    np.testing.assert_array_equal(sampled.tokens[0], first.tokens[0])
    batch = type("Rows", (), {
        "prompts": pad([permit.tokens], 4),
        "prompt_lengths": np.array([3]),
        "completions": np.arange(36)[:, None],
    })  # fmt: skip
    logprobs, _ = completion_logprobs(model, params, batch, 1.0, chunk=64)
    assert sampled.tokens[0][0] == int(np.asarray(logprobs)[:, 0].argmax())


def test_sampling_follows_the_distribution(engine, model, params):
    """Chi-square of 2,000 first tokens against the model's probabilities."""
    permits = [make_permit(i, (9, 4), siblings=8) for i in range(250)]
    first = [int(t[0]) for s in run(engine, permits).values() for t in s.tokens]
    batch = type("Rows", (), {
        "prompts": pad([permits[0].tokens], 3),
        "prompt_lengths": np.array([2]),
        "completions": np.arange(36)[:, None],
    })  # fmt: skip
    expected = 2000 * np.exp(
        np.asarray(completion_logprobs(model, params, batch, 1.0, 64)[0])[:, 0]
    )
    seen = np.bincount(first, minlength=36)
    usual = expected > 5
    chi_square = ((seen - expected)[usual] ** 2 / expected[usual]).sum()
    assert chi_square < usual.sum() + 5 * np.sqrt(2 * usual.sum())


def test_nothing_is_compiled_twice(engine):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    run(engine, [make_permit(i, p) for i, p in enumerate(prompts(9))])
    assert compiled == []


def test_a_prompt_that_cannot_fit_is_refused(engine):
    with pytest.raises(ValueError, match=r"\('train', 4\) has 9 tokens; the engine takes 1 to 8"):
        engine.admit([make_permit(4, range(4, 13))])


def test_weights_are_not_swapped_under_way(engine, params):
    engine.admit([make_permit(0)])
    with pytest.raises(RuntimeError, match="in progress"):
        engine.load(params)
    while engine.busy:
        engine.step()
