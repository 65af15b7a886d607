import json
import threading
import time

import pytest

from actors.rewards import gym, maths, worker
from actors.rewards.confine import supported
from actors.rewards.sandbox import Unavailable
from actors.rewards.verifiers import VERIFIERS, read_verifier, verify
from configs.errors import InputError

TABLE = [
    ("number", "39", "39", True),
    ("number", " 39. ", "39", True),
    ("number", "39.0", "39", True),
    ("number", "+39", "39", True),
    ("number", "039", "39", True),
    ("number", "-39", "39", False),
    ("number", "- 39", "-39", True),
    ("number", "−39", "-39", True),
    ("number", "1,234.5", "1234.5", True),
    ("number", "1,23", "123", False),
    ("number", ".5", "0.5", True),
    ("number", "$12", "12", True),
    ("number", "-$12", "-12", True),
    ("number", "39 coins", "39", True),
    ("number", "60 miles per hour", "60 mph", True),
    ("number", "60 km", "60 miles", False),
    ("number", "60", "60 miles per hour", True),
    ("number", "5 Apples.", "5 apple", True),
    ("number", "50 %", "50 percent", True),
    ("number", "38 + 1 = 39", "39", False),
    ("number", "39 or 40", "39", False),
    ("number", "39 because that is what it must be", "39", False),
    ("number", "thirty-nine", "39", False),
    ("number", "", "39", False),
    ("number", "--39", "39", False),
    ("number", "3.33", "3.3333", False),
    ("number:0.02", "3.33", "3.3333", True),
    ("number:0.02", "102", "100", True),
    ("number:0.02", "103", "100", False),
    ("choice", "(b)", "B.", True),
    ("choice", "Tom", "tom", True),
    ("choice", "Tom!", "Tom", True),
    ("choice", "Tom Ann", "Tom", False),
    ("choice", "Tomas", "Tom", False),
    ("choice", "", "Tom", False),
    ("choice", ">", ">", True),
    ("choice", "<", ">", False),
    ("exact", " Fe ", "Fe", True),
    ("exact", "fe", "Fe", False),
    ("auto", "39 coins", "39", True),
    ("auto", "60 mph", "60 miles per hour", True),
    ("auto", "ann", "Ann", True),
    ("auto", "39", "Ann", False),
    ("number", "9" * 400, "9", False),
    ("number", "٣", "3", True),  # Arabic digits are digits
    ("quantity", "2 km", "2000 m", True),
    ("quantity", "2 km", "2001 m", False),
    ("quantity", "5 miles", "8.05 km", False),
    ("quantity:0.01", "5 miles", "8.05 km", True),
    ("quantity", "20 °C", "68 °F", True),
    ("quantity", "20 C", "293.15 K", True),
    ("quantity", "90 minutes", "1.5 hours", True),
    ("quantity", "90 minutes", "1.5 kg", False),
    ("quantity", "60 mph", "60 miles per hour", True),
    ("quantity", "36 km/h", "10 m/s", True),
    ("quantity", "10000 cm^2", "1 m2", True),
    ("quantity", "1 m", "1 m2", False),
    ("quantity", "90", "90 minutes", False),  # the unit is part of the answer
    ("quantity", "90 minutes", "90", True),
    ("quantity", "5 coins", "5 coin", True),
    ("quantity", "5 books", "5 coins", False),
    ("quantity", "2 km or 3 km", "2000 m", False),
    ("quantity", "2 km^9^9^9", "2000 m", False),
    ("list", "Tom, Ann and Sam", "tom, ann, sam", True),
    ("list", "Ann, Tom, Sam", "Tom, Ann, Sam", False),
    ("list", "[1, 2.0, 3]", "1, 2, 3", True),
    ("list", "1,2,3", "1, 2, 3", True),
    ("list", "1, 2", "1, 2, 3", False),
    ("list", "1, 2, 3, 3", "1, 2, 3", False),
    ("list", "a;b", "a\nb", True),
    ("list", "", "1", False),
    ("set", "{3, 1, 2}", "1, 2, 3", True),
    ("set", "Sam and Tom", "Tom, Sam", True),
    ("set", "1, 1, 2", "1, 2, 2", False),
    ("set", "1, 2, 4", "1, 2, 3", False),
    ("set", "1, " * 1000, "1, 2", False),
    ("math", "29", "29.0", True),
    ("math", r"$\frac{1}{2}$", "0.5", True),
    ("math", "1/2", r"\frac12", True),
    ("math", "(x+1)^2", "x^2+2x+1", True),
    ("math", "x = 3", "3", True),
    ("math", r"\boxed{3}", "3", True),
    ("math", "(2, 1)", "(1, 2)", False),
    ("math", r"\{2, 1\}", r"\{1, 2\}", True),
    ("math", "3 or 4", "3", False),
    ("math", "3, 4", "4", False),
    ("math", "38 + 1", "39", False),  # the question is no answer
    ("math", "38 + 1 = 39", "39", False),
    ("math", "", "3", False),
    ("math", "__import__('os')", "3", False),
    ("math", "(" * 200, "3", False),
    ("math", "\ud800", "3", False),
]


@pytest.mark.parametrize(("verifier", "answer", "reference", "right"), TABLE)
def test_an_answer_is_right_or_wrong(verifier, answer, reference, right):
    assert verify(verifier, answer, reference) is right


@pytest.mark.parametrize("name", ["magic", "", "Number", "magic:0.1"])
def test_an_unknown_verifier_is_refused_with_the_known_ones(name):
    with pytest.raises(InputError) as error:
        verify(name, "1", "1")
    assert repr(name) in str(error.value)
    assert all(known in str(error.value) for known in VERIFIERS)


@pytest.mark.parametrize("name", ["number:", "number:x", "number:-1", "number:nan", "exact:0.1"])
def test_a_bad_argument_is_refused(name):
    with pytest.raises(InputError, match="relative tolerance"):
        read_verifier(name)


def test_a_text_that_never_ends_is_wrong_in_bounded_time_and_the_next_one_is_judged():
    started = time.monotonic()
    assert verify("math", "9^{9^{9^{9}}}", "2^{10}") is False
    assert verify("math", "2^{5} 2^{5}", "2^{10}") is True
    assert time.monotonic() - started < 60


def test_mathematics_is_checked_outside_the_main_thread_too():
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(verify("math", f"{n}/7", f"{2 * n}/14")))
        for n in (3, 4, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [True] * 3


def test_a_worker_that_was_killed_is_replaced():
    assert verify("math", "5/7", "10/14")
    maths.WORKER._process.kill()
    assert verify("math", "5/8", "10/16")


def test_a_worker_that_does_not_start_gives_no_verdict(monkeypatch):
    monkeypatch.setattr(maths, "WORKER", worker.Worker("actors.rewards.math_worker"))
    monkeypatch.setattr(worker.sys, "executable", "/bin/false")
    with pytest.raises(Unavailable, match="did not start"):
        verify("math", "5/9", "10/18")


@pytest.mark.skipif(not supported(), reason="needs Linux on x86-64 or arm64")
def test_code_is_run_against_the_tests_of_the_reference():
    tests = "assert double(2) == 4"
    assert verify("code", "def double(x):\n    return 2 * x", tests)
    assert verify("code", "So:\n```python\ndef double(x):\n    return 2 * x\n```\nDone.", tests)
    assert not verify("code", "def double(x):\n    return 3 * x", tests)
    assert not verify("code", "I would double it.", tests)


ENTRY = json.dumps({"question": "What is 3 + 4?", "answer": "7", "metadata": {"difficulty": {}}})


def test_puzzles_of_reasoning_gym_need_their_package(monkeypatch):
    monkeypatch.setattr(gym, "installed", lambda: False)
    with pytest.raises(InputError, match="needs reasoning-gym: uv sync --extra gym"):
        read_verifier("gym:products")
    with pytest.raises(InputError, match="unknown"):
        read_verifier("gym")


@pytest.mark.skipif(not gym.installed(), reason="needs the extra gym")
def test_puzzles_of_reasoning_gym_are_scored_by_their_own_scorers():
    assert verify("gym:chain_sum", "7", ENTRY) and not verify("gym:chain_sum", "8", ENTRY)
    assert not verify("gym:prime_factorization", "two", ENTRY)  # its scorer raises
    for name, message in (("rush_hour", "not reliable"), ("chess", "no data set 'chess'")):
        with pytest.raises(InputError, match=message):
            read_verifier(f"gym:{name}")


def test_the_answer_of_an_entry_is_what_a_trace_says():
    assert gym.answer_of(ENTRY) == "7" and gym.answer_of("no entry") == "no entry"
