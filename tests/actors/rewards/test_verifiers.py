import pytest

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
