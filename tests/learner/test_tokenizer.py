"""The tokenizer of the demo, and loading one."""

import pickle

import pytest

from configs.errors import InputError
from learner.policy.tokenizer import TAGS, Tokenizer, train_tokenizer

TEXTS = [
    "<start_of_turn>user\nWhat is 12 + 34?<end_of_turn>\n<start_of_turn>model\n",
    "<reasoning>1. 12 + 34 = 46</reasoning><answer>46</answer>",
    "Tom has 25 coins and gets 3. How many coins? Who is taller, Ann or Ben?",
] * 40


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 120)


def test_text_comes_back(tokenizer):
    for text in TEXTS[:3]:
        assert tokenizer.decode(tokenizer.encode_completion(text)) == text


def test_tags_are_single_pieces(tokenizer):
    for tag in TAGS:
        assert len(tokenizer.encode_completion(tag)) == 2  # the tag and the end of the sequence


def test_unknown_characters_fall_back_to_bytes(tokenizer):
    text = "π ≈ 3.14 — naïve"
    assert tokenizer.decode(tokenizer.encode_completion(text)) == text


def test_prompts_begin_and_completions_end(tokenizer):
    assert tokenizer.encode_prompt("Tom")[0] == tokenizer.bos
    assert tokenizer.encode_completion("Tom")[-1] == tokenizer.eos


def test_stop_tokens_are_pieces(tokenizer):
    assert tokenizer.stops(["<end_of_turn>"])[0] == tokenizer.eos
    assert len(tokenizer.stops(["<end_of_turn>"])) == 2
    with pytest.raises(InputError, match="no piece '<end>'"):
        tokenizer.stops(["<end>"])


def test_a_stop_string_is_found_in_the_text(tokenizer):
    tokens = tokenizer.encode_completion("1. 12 + 34 = 46</answer> and 9")
    end = tokenizer.text_end(["</answer>"], tokens, 0)
    assert tokenizer.decode(tokens[:end]) == "1. 12 + 34 = 46</answer>"
    assert tokenizer.text_end(["</answer>"], tokens, end - 1) == end
    end = tokenizer.text_end(["= 46<"], tokens, 0)  # ends inside of a token
    assert tokenizer.decode(tokens[:end]) == "1. 12 + 34 = 46</answer>"
    assert tokenizer.text_end(["<stop>"], tokens, 0) == 0


def test_digits_are_split(tokenizer):
    assert len(tokenizer.encode_completion("1234")) >= 5


def test_training_repeats_and_travels(tokenizer):
    assert train_tokenizer(TEXTS, 120).model == tokenizer.model
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode_prompt(TEXTS[0]) == tokenizer.encode_prompt(TEXTS[0])


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="No such file.*SentencePiece .model file"):
        Tokenizer.load(tmp_path / "none.model")
    (tmp_path / "bad.model").write_text("not a model")
    with pytest.raises(InputError, match="not a SentencePiece model"):
        Tokenizer.load(tmp_path / "bad.model")
