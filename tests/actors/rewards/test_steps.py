import pytest

from actors.rewards.steps import content, read_steps, tokenize


def step(text: str):
    (read,) = read_steps(text)
    return read


EQUATIONS = [  # text, sound, operands, operators, result
    ("38 + 1 = 39", True, {"38", "1"}, {"+"}, "39"),
    ("38 + 1 = 40", False, {"38", "1"}, {"+"}, "40"),
    ("38+1=39", True, {"38", "1"}, {"+"}, "39"),
    ("58 -1 = 57", True, {"58", "1"}, {"-"}, "57"),
    ("7 * -9 + 5 = -58", True, {"7", "-9", "5"}, {"x", "+"}, "-58"),
    ("2 + 3 x 4 = 14", True, {"2", "3", "4"}, {"+", "x"}, "14"),
    ("20 - 4 - 3 = 13", True, {"20", "4", "3"}, {"-"}, "13"),
    ("12 / 4 / 3 = 1", True, {"12", "4", "3"}, {"/"}, "1"),
    ("12 / 0 = 0", False, {"12", "0"}, {"/"}, "0"),
    ("10 / 3 = 3.33", True, {"10", "3"}, {"/"}, "3.33"),
    ("10 / 3 = 3.34", False, {"10", "3"}, {"/"}, "3.34"),
    ("10 / 3 = 3", False, {"10", "3"}, {"/"}, "3"),
    ("1,200 + 34 = 1,234", True, {"1200", "34"}, {"+"}, "1234"),
    ("3 + 2 + 4 = 5 + 4 = 9", True, {"3", "2", "4", "5"}, {"+"}, "9"),
    ("3 + 2 = 5 + 4 = 9", False, {"3", "2", "5", "4"}, {"+"}, "9"),
    ("120 miles ÷ 2 hours = 60 miles per hour", True, {"120", "2"}, {"/"}, "60"),
    ("Average speed = 120 miles ÷ 2 hours = 60 mph", True, {"120", "2"}, {"/"}, "60"),
    ("$5 + $3 = $8", True, {"5", "3"}, {"+"}, "8"),
]


@pytest.mark.parametrize(("text", "sound", "operands", "operators", "result"), EQUATIONS)
def test_equations_are_read_whole(text, sound, operands, operators, result):
    read = step(text)
    assert read.form == "equation"
    assert (read.sound, read.givens, read.operators, read.result) == (
        *(sound, operands, operators),
        result,
    )


@pytest.mark.parametrize(
    "text",
    [
        "y * 9 + 5 = 14",
        "y x 9 + 5 = 14",
        "(7 * 9) + 5 = 68",
        "3 + 4 = 7 + y",
        "3 + 4 = 7 = 7 + y",
        "Distance = 120 miles",
        "x = 3",
        "38 1 = 39",
        "= 39",
    ],
)
def test_what_cannot_be_read_with_certainty_is_no_equation(text):
    assert step(text).form == "text"


def test_words_around_an_equation_are_kept_apart():
    assert step("So the speed is 6 + 1 = 7").words == {"speed"}


@pytest.mark.parametrize(
    ("text", "sound"),
    [("85 > 22", True), ("22 > 85", False), ("4 < 6 < 9", True), ("4 < 9 < 6", False)],
)
def test_comparisons_are_checked(text, sound):
    read = step(text)
    assert (read.form, read.sound) == ("comparison", sound)


def test_a_relation_of_names_is_text():
    assert step("Tom > Ann > Sam").form == "text"


@pytest.mark.parametrize("text", ["2. a b", "2) a b", "Step 2: a b", "step 2. a b"])
def test_step_numbers_are_taken_off(text):
    assert (step(text).number, step(text).text) == (2, "a b")


def test_blank_lines_are_no_steps():
    assert [read.text for read in read_steps("a\n\n  \nb")] == ["a", "b"]


def test_tokens_keep_signs_and_drop_separators_case_and_punctuation():
    assert tokenize("Tom's 1,234.5 is > -3, x 2!") == (
        *("tom", "s", "1234.5", "is", ">", "-3", "x", "2"),
    )
    assert tokenize("58-1") == ("58", "-", "1")
    assert content(tokenize("What is the symbol of iron + 3?")) == {"symbol", "iron", "3"}


def test_runaway_steps_are_not_searched():
    assert step("1 + " * 5000 + "1 = 5001").form == "text"
