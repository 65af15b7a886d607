"""The learned judge: fitted on labelled completions, kept, and a criterion of a rubric."""

import asyncio

import jax
import pytest

from actors.bench import Bench, check_judge
from actors.data.labelled.items import read_items
from actors.learned_judge import LearnedJudge, Memory, fit
from actors.local_judge import LocalModel
from actors.rewards.asking import Abstain
from actors.rewards.rubric import SHIPPED, load_rubric
from configs.errors import InputError
from configs.schema import JudgeSection, ModelSection
from learner.policy.model import build_model
from learner.policy.tokenizer import train_tokenizer

ITEMS = [item for item in read_items() if item.template in ("eggs", "lamp", "ages")]


@pytest.fixture(scope="module")
def local():
    texts = [item.good for item in ITEMS] + [item.prompt for item in ITEMS]
    tokenizer = train_tokenizer(texts, 500)
    sizes = {"layers": 1, "embed_dim": 16, "hidden_dim": 16, "heads": 2, "kv_heads": 1}
    model = build_model(ModelSection(**sizes, head_dim=8), tokenizer.vocabulary)
    return LocalModel(model, jax.jit(model.init)(0), tokenizer, "Q: {prompt}\n")


@pytest.fixture(scope="module")
def judge(local):
    return LearnedJudge(local, fit(local, ITEMS, Memory(local)))


@pytest.fixture
def rubric(tmp_path):
    text = (SHIPPED / "paper.toml").read_text()
    path = tmp_path / "learned.toml"
    path.write_text(text.replace('scorer = "rules"', 'scorer = "learned"', 1))
    return load_rubric(str(path))


def test_on_what_it_was_fitted_to_it_ranks(judge, rubric):
    """With a reader of random weights: length and mean states tell these few apart."""
    right = []
    for item in ITEMS:
        question, texts = item.question(False), (item.good, *item.flawed.values())
        (good, *flawed), calls = asyncio.run(
            Bench(rubric, None, learned=judge).verdicts(question, texts)
        )
        scores = [verdict.scores["reasoning_quality"] for verdict in flawed]
        assert len(calls.seconds) == len(set(texts)) and all(0 < score < 1 for score in scores)
        same = [text for text in texts[1:]].index(item.flawed["wrong_answer"])
        right += [good.scores["reasoning_quality"] > score for score in scores]
        assert flawed[same].scores["answer_correctness"] == 0.0
    assert sum(right) / len(right) > 0.7


def test_a_text_is_read_once(local, monkeypatch):
    memory, read = Memory(local), []
    monkeypatch.setattr(memory._reader, "read", lambda texts: read.extend(texts) or [len(read)])
    assert memory.read([[[1], [2]], [[1], [2]]]) == [1, 1] and memory.read([[[1], [2]]]) == [1]
    assert len(read) == 1


def test_a_completion_beyond_the_limit_abstains(judge, rubric, monkeypatch):
    monkeypatch.setattr("actors.learned_judge.MOST_TOKENS", 3)
    bench = Bench(rubric, None, learned=judge)
    requests = list(bench.asked(ITEMS[0].question(False), ITEMS[0].good).values())
    (opinion,) = judge.judge(requests)
    assert isinstance(opinion, Abstain) and opinion.kind == "too long"


def test_settings_and_rubric_must_fit(rubric):
    with pytest.raises(InputError, match="judge.head is not given; launch.py judge --fit"):
        check_judge(JudgeSection(), rubric)
    with pytest.raises(InputError, match="no criterion .* has the scorer 'learned'"):
        check_judge(JudgeSection(head="a"), load_rubric("paper"))
    check_judge(JudgeSection(head="a", reader="b"), rubric)
    with pytest.raises(InputError, match="judge.endpoint is not given"):
        check_judge(JudgeSection(rubric="llm"), load_rubric("llm"))
    with pytest.raises(InputError, match="nobody would ask it"):
        check_judge(JudgeSection(endpoint="local", model="x"), load_rubric("paper"))
    with pytest.raises(InputError, match="which model is asked"):
        check_judge(JudgeSection(endpoint="http://127.0.0.1/v1"), load_rubric("llm"))
