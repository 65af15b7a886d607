"""The engine against the full forward pass, and against itself in other company."""

from collections import deque

import jax
import numpy as np
import pytest

from learner.batch import pad
from learner.policy import gemma_layers, kept, slots
from learner.policy.draw import draw
from learner.policy.endings import Budget, Endings
from learner.policy.engine import Engine
from learner.policy.model import build_model
from tests.learner.conftest import VOCABULARY, Rows, make_config, make_permit, trainer_logprobs

EOS = 1


@pytest.fixture(scope="module")
def engine(model, config, params):
    engine = Engine(model, config.rollout, Endings((EOS,)), seed=3)
    engine.load({name: np.asarray(value) for name, value in params.items()})
    return engine


def run(engine, permits):
    """Submit in order as there is room; returns {index: Sampled}."""
    waiting, done = deque(permits), {}
    assert engine.turn_to(permits[0])
    while waiting or engine.busy:
        engine.submit([waiting.popleft() for _ in range(min(engine.room, len(waiting)))])
        done |= {sampled.permit.index: sampled for sampled in engine.step()}
    return done


def prompts(count):
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(4, 36, rng.integers(1, 9))) for _ in range(count)]


def forward_logprobs(model, params, rows, temperature=1.0):
    """Of (prompt, completion) pairs under the trainer's forward pass, right padded."""
    batch = Rows(
        prompts=pad([np.asarray(prompt) for prompt, _ in rows], 8),
        prompt_lengths=np.array([len(prompt) for prompt, _ in rows]),
        completions=pad([tokens for _, tokens in rows], max(len(t) for _, t in rows)),
    )
    return np.asarray(trainer_logprobs(model, params, batch, temperature))


def assert_equal_to_forward(sampled, model, params, temperature=1.0):
    rows = [(s.permit.tokens, tokens) for s in sampled for tokens in s.tokens]
    theirs = [row for s in sampled for row in s.logprobs]
    ours = forward_logprobs(model, params, rows, temperature)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine[: len(other)], other, atol=2e-5)


def test_logprobs_equal_the_forward_pass(engine, model, params):
    for temperature in (1.0, 0.7):
        permits = [make_permit(i, p, temperature=temperature) for i, p in enumerate(prompts(5))]
        assert_equal_to_forward(run(engine, permits).values(), model, params, temperature)


def test_long_completions_under_short_windows(monkeypatch):
    """Several blocks a slot, windows of 5, weights laid out as large ones are: equal to the forward
    pass, and not a bit depends on how many blocks and prompts a chunk reads."""
    monkeypatch.setattr(gemma_layers, "_LARGE", 1)
    config = make_config(
        model={"sliding_window": 5},
        rollout={"group_size": 2, "max_reasoning_tokens": 96, "slots": 4, "chunk": 16},
    )
    model = build_model(config.model, VOCABULARY)
    params = jax.jit(model.init)(0)
    engine = Engine(model, config.rollout, Endings(), seed=5)
    engine.load(params)
    permits = [make_permit(i, p, siblings=2) for i, p in enumerate(prompts(6))]
    together = run(engine, permits)
    assert_equal_to_forward(together.values(), model, params)
    assert engine.shape.levels == [(1, 2), (2, 4), (3, 6), (4, 8)]
    assert_same_bits(together[4], run(engine, [permits[4]])[4])


def test_long_prompts_are_read_in_pieces(monkeypatch):
    """Of 3 tokens, under windows of 5; short ones among them are read at once."""
    monkeypatch.setattr(slots, "_PIECE", 3)
    config = make_config(model={"sliding_window": 5})
    model = build_model(config.model, VOCABULARY)
    params = jax.jit(model.init)(0)
    engine = Engine(model, config.rollout, Endings((EOS,)), seed=3)
    engine.load(params)
    assert engine.shape.places == 9 and engine.shape.prompt_lengths == [3]
    permits = [make_permit(i, p) for i, p in enumerate(prompts(6))]
    assert {len(permit.tokens) > 3 for permit in permits} == {True, False}
    together = run(engine, permits)
    assert_equal_to_forward(together.values(), model, params)
    assert_same_bits(together[3], run(engine, permits[3:4])[3])


def assert_same_bits(one, other):
    for mine, theirs in zip(one.tokens + one.logprobs, other.tokens + other.logprobs, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_cache_of_eight_bits_gives_nearly_the_same(model, params, monkeypatch):
    """Prompts in pieces among them; and bits depend on nobody else then, either."""
    monkeypatch.setattr(slots, "_PIECE", 3)
    config = make_config(rollout={"max_reasoning_tokens": 4, "cache_dtype": "int8"})
    engine = Engine(model, config.rollout, Endings(), seed=3)
    engine.load(params)
    permits = [make_permit(i, p) for i, p in enumerate(prompts(6))]
    together = run(engine, permits)
    rows = [(s.permit.tokens, tokens) for s in together.values() for tokens in s.tokens]
    theirs = np.stack([row for s in together.values() for row in s.logprobs])
    error = np.abs(forward_logprobs(model, params, rows) - theirs)
    assert 1e-4 < error.mean() < 0.01 and error.max() < 0.1
    assert_same_bits(together[3], run(engine, permits[3:4])[3])


def test_a_head_in_eight_bits_by_hand():
    """Numbers of two heads of three: the largest becomes 127, none is off by more than half a step;
    and nothing stays nothing."""
    x = np.array([[1.27, -0.5, 0.004], [0, 0, 0]], np.float32)
    whole, scale = kept.write(lambda old, new: new, kept.empty((2, 3), "int8", 1), x, 1)
    np.testing.assert_array_equal(whole, [[127, -50, 0], [0, 0, 0]])
    np.testing.assert_allclose(scale, [[0.01], [0]], rtol=1e-6)
    np.testing.assert_allclose(kept.restored((whole, scale), "float32"), x, atol=0.00501)


def test_a_sample_depends_on_neither_slot_nor_company(engine):
    permits = [make_permit(i, p) for i, p in enumerate(prompts(6))]
    together = run(engine, permits)
    alone = run(engine, permits[3:4])[3]
    backwards = run(engine, permits[::-1])[3]
    for other in (alone, backwards):
        assert_same_bits(together[3], other)


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
    every = Rows(pad([permit.tokens], 4), np.array([3]), np.arange(36)[:, None])
    logprobs = trainer_logprobs(model, params, every)
    assert sampled.tokens[0][0] == int(np.asarray(logprobs)[:, 0].argmax())


def test_drawing_follows_the_distribution():
    """Chi-square of 200,000 draws; 11 ids do not fill their columns, one has no probability."""
    scores = np.log(np.r_[0.0, 1:11] + 1e-38).astype(np.float32)
    scores[0] = -np.inf
    uniforms = np.random.default_rng(0).random((200_000, 2), np.float32)
    many = np.broadcast_to(scores, (len(uniforms), 11))
    tokens, logprobs = jax.jit(draw)(many, uniforms, np.full(len(uniforms), 0.5, np.float32))
    expected = np.arange(11.0) ** 2 / (np.arange(11.0) ** 2).sum()  # temperature 1/2: squared
    np.testing.assert_allclose(logprobs, np.log(expected[tokens]), atol=1e-5)
    assert chi_square(tokens, len(uniforms) * expected) < 30  # 10 degrees of freedom


def test_sampled_sequences_follow_the_model():
    """All 25 sequences of two tokens of a vocabulary of five, against their exact probability."""
    config = make_config(
        model={"layers": 1},
        rollout={"max_reasoning_tokens": 1, "max_answer_tokens": 1, "slots": 64, "chunk": 2},
    )
    model = build_model(config.model, 5)
    params = jax.jit(model.init)(4)
    engine = Engine(model, config.rollout, Endings(), seed=3)
    engine.load(params)
    sampled = run(engine, [make_permit(i, (1, 4)) for i in range(1000)])
    pairs = [5 * a + b for s in sampled.values() for a, b in s.tokens]
    all_pairs = np.stack(np.divmod(np.arange(25), 5), axis=1)
    logprobs = forward_logprobs(model, params, [(np.array([1, 4]), row) for row in all_pairs])
    assert chi_square(np.array(pairs), 4000 * np.exp(np.sum(logprobs, axis=1))) < 60  # 24 degrees


def chi_square(seen, expected):
    counts = np.bincount(seen, minlength=len(expected))
    assert (counts[expected == 0] == 0).all()
    possible = expected > 0
    return ((counts - expected)[possible] ** 2 / expected[possible]).sum()


def test_nothing_is_compiled_twice(engine):
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    run(engine, [make_permit(i, p) for i, p in enumerate(prompts(9))])
    assert compiled == []


def test_a_stop_string_ends_a_completion_in_the_middle_of_a_chunk(engine, model, config, params):
    """The same completions as without it cut behind the first token 20."""
    permits = [make_permit(i, p) for i, p in enumerate(prompts(12))]
    whole = run(engine, permits)

    def text_end(tokens, seen):
        found = 1 + np.flatnonzero(tokens == 20)
        assert not (found <= seen).any()
        return int(found[0]) if len(found) else 0

    cutting = Engine(model, config.rollout, Endings((EOS,), text_end), 3)
    cutting.load(params)
    cut = run(cutting, permits)
    shortened = 0
    for index, sampled in whole.items():
        for sibling, tokens in enumerate(sampled.tokens):
            end = text_end(tokens, 0) or len(tokens)
            np.testing.assert_array_equal(cut[index].tokens[sibling], tokens[:end])
            np.testing.assert_array_equal(
                cut[index].logprobs[sibling], sampled.logprobs[sibling][:end]
            )
            assert cut[index].truncated[sibling] == (tokens[end - 1] not in (20, EOS))
            shortened += end < len(tokens)
    assert shortened > 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (make_permit(4, range(4, 13)), "has 9 tokens, the engine takes 1 to 8"),
        (make_permit(4, ()), "has 0 tokens"),
        (make_permit(4, (5, 36)), "token id 36 is outside of the vocabulary of 36"),
        (make_permit(4, (-1, 5)), "token id -1"),
        (make_permit(4, siblings=5), "5 siblings were asked for, the engine takes 1 to 4"),
    ],
)
def test_what_cannot_be_sampled_says_why_and_the_others_go_on(engine, bad, message):
    good = make_permit(3, (9, 4, 11))
    alone = run(engine, [good])[3]
    engine.submit([bad, good])
    done = {}
    while engine.busy:
        done |= {sampled.permit.index: sampled for sampled in engine.step()}
    assert message in done[4].failed and "('train', 4)" in done[4].failed
    assert [len(row) for row in done[4].tokens] == [0] * bad.siblings
    assert not done[3].failed
    assert_same_bits(done[3], alone)


def test_a_budget_that_does_not_fit_the_cache_is_refused(engine):
    engine.submit([make_permit(4)], [[Budget(0, n) for n in (10, 11, 1, 1)]])
    assert "room for 1 to 10 new tokens" in engine.step()[0].failed
    assert not engine.busy


def test_logits_that_are_not_finite_end_their_group_alone(engine):
    """As after a flipped bit in the cache; and nothing of it is left for whoever comes next."""
    good, bad, later = (make_permit(i, p) for i, p in enumerate([(9, 4, 11), (8, 7), (6, 5)]))
    expected = run(engine, [good]) | run(engine, [later])
    engine.submit([good, bad])
    prompt_k = engine.decoder._cache.prompt_k
    row = engine._standing[-1][0].row
    prompt_k[0] = prompt_k[0].at[row].set(np.nan)
    done = {}
    while engine.busy:
        done |= {sampled.permit.index: sampled for sampled in engine.step()}
    assert "not finite" in done[1].failed
    assert_same_bits(done[0], expected[0])
    assert_same_bits(run(engine, [later])[2], expected[2])
    assert engine.room == 2 and engine.unfilled == 8
