import pytest

from actors.rewards.format import parse, render
from actors.rewards.language import identify
from actors.rewards.rubric import load_rubric
from actors.rewards.shaping import score
from cluster.messages import Question

SENTENCES = {
    "en": "Each box holds 6 eggs, so 4 boxes hold 24 eggs.",
    "de": "In jeder Schachtel sind 6 Eier, also sind in 4 Schachteln 24 Eier.",
    "fr": "Chaque boîte contient 6 œufs, donc 4 boîtes contiennent 24 œufs.",
    "es": "Cada caja tiene 6 huevos, así que 4 cajas tienen 24 huevos.",
    "pt": "Cada caixa tem 6 ovos, então 4 caixas têm 24 ovos.",
    "ru": "В каждой коробке 6 яиц, значит в 4 коробках 24 яйца.",
    "zh": "每盒有6个鸡蛋，所以4盒有24个鸡蛋。",
    "ja": "1箱に卵が6個あるので、4箱で24個です。",
    "hi": "हर डिब्बे में 6 अंडे हैं, इसलिए 4 डिब्बों में 24 अंडे हैं।",
    "ar": "كل علبة تحتوي على 6 بيضات، إذن 4 علب تحتوي على 24 بيضة.",
    "tr": "Her kutuda 6 yumurta var, yani 4 kutuda 24 yumurta olur.",
    "vi": "Mỗi hộp có 6 quả trứng, vậy 4 hộp có 24 quả trứng.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_in_its_language(language):
    assert identify(SENTENCES[language])[1] == language


def test_few_words_have_a_script_and_none_have_nothing():
    assert identify("38 + 1 = 39") == ("", "")
    assert identify("zwei Eier") == ("LATIN", "")
    assert identify("два яйца") == ("CYRILLIC", "")


def trace_language(prompt: str, reasoning: str) -> float:
    assert parse(render(reasoning, "24")) is not None
    question = Question("q", prompt, "", "24", "math", "number")
    return score(question, render(reasoning, "24"), load_rubric("multilingual")).scores[
        "trace_language"
    ]


@pytest.mark.parametrize("prompt", ["de", "zh", "ar"])
@pytest.mark.parametrize("trace", ["de", "en", "zh", "ar"])
def test_a_trace_must_be_in_the_language_of_its_prompt(prompt, trace):
    assert trace_language(SENTENCES[prompt], f"1. {SENTENCES[trace]}") == float(prompt == trace)


def test_a_trace_that_changes_its_language_earns_a_part():
    # the whole is taken for German; of its two long steps one is
    mixed = f"1. {SENTENCES['de']} {SENTENCES['de']}\n2. {SENTENCES['en']}"
    assert trace_language(SENTENCES["de"], mixed) == pytest.approx(2 / 3)


def test_numbers_belong_to_every_language():
    assert trace_language(SENTENCES["de"], "1. 6 x 4 = 24") == 1
    assert trace_language(SENTENCES["ru"], "1. eggs: 6 x 4 = 24") == 0  # another script
    assert trace_language("38 + 1", f"1. {SENTENCES['en']}") == 1  # a prompt without words
