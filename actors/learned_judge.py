"""A judge that was fitted to labelled completions: a model reads them, a linear head scores them.

    uv run python launch.py judge --fit judge.reader=runs/cold judge.head=head.npz
    uv run python launch.py judge.rubric=mine.toml judge.reader=runs/cold judge.head=head.npz

The model's weights are left as they are. What it makes of reasoning and answer (mean states, and
how surprised it is where: policy/reader.py, rewards/surprise.py) goes into the head
(rewards/head.py), with a few counts of tokens that are copied and said again. The second command
is for a rubric with a criterion whose scorer is "learned". It never sees the reference.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from actors.data.labelled.items import Labelled
from actors.local_judge import LocalModel, load_local
from actors.rewards.asking import ANSWER, Abstain, Answers, Opinion, Request, Score, reading
from actors.rewards.format import parse
from actors.rewards.head import Head, fit_head
from actors.rewards.surprise import figures
from configs.errors import InputError
from learner.policy.reader import Reader, Reading

MOST_TOKENS = 2048  # of a text
Text = list[list[int]]  # ids of the question, of each step, and of the answer


class Reads(Protocol):
    def read(self, texts: Sequence[Text]) -> Sequence[Reading]: ...


class Memory:
    """Reads the same text once. For a bounded number of texts: it forgets nothing."""

    def __init__(self, local: LocalModel):
        self._reader = Reader(local.model, local.params)
        self._known: dict[tuple, Reading] = {}

    def read(self, texts: Sequence[Text]) -> list[Reading]:
        keys = [tuple(map(tuple, text)) for text in texts]
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        if new:
            self._known |= zip(new, self._reader.read(new), strict=True)
        return [self._known[key] for key in keys]


class LearnedJudge:
    """`head` must be of the features of `local`."""

    def __init__(self, local: LocalModel, head: Head, reader: Reads | None = None):
        self._local, self._head = local, head
        self._reader = reader or Reader(local.model, local.params)
        self.name = f"learned {head.version}"
        self._lock = asyncio.Lock()

    @staticmethod
    def load(head: Path, folder: Path) -> "LearnedJudge":
        """Raises InputError, also for a head of another model."""
        fitted, local = Head.load(head), load_local(folder, "judge.reader")
        if fitted.model != local.digest:
            raise InputError(
                f"judge.head = {head} was fitted to another model than judge.reader = {folder}; "
                "give the folder it was fitted with, or fit it again"
            )
        return LearnedJudge(local, fitted)

    async def opinions(self, requests: Sequence[Request]) -> Answers:
        started = time.perf_counter()
        async with self._lock:
            opinions = await asyncio.to_thread(self.judge, requests)
        return Answers(tuple(opinions), (time.perf_counter() - started,) * len(requests))

    async def close(self) -> None:
        """Nothing is open."""

    def judge(self, requests: Sequence[Request]) -> list[Opinion]:
        texts = [spans(self._local, request) for request in requests]
        short = [n for n, text in enumerate(texts) if sum(map(len, text)) <= MOST_TOKENS]
        opinions: list[Opinion] = [
            Abstain("too long", f"the completion has more than {MOST_TOKENS} tokens")
        ] * len(requests)
        if short:
            scores = self._head.scores(features(self._reader, [texts[n] for n in short]))
            for n, score in zip(short, scores, strict=True):
                opinions[n] = Score(float(score))
        return opinions


def spans(local: LocalModel, request: Request) -> Text:
    """A policy reads what it was trained on, a published model what many texts look like."""
    reasoning, _, answer = request.tail.rpartition(ANSWER)
    steps = [line for line in reasoning.split("\n") if line.strip()]
    plain = partial(local.tokenizer.encode_prompt, begin=False)
    if local.chats:
        asked = plain(f"Question: {request.head}\nAnswer:\n")
        last = plain(f"So the answer is {answer}.\n")
    else:
        asked = local.encode(f"{local.before}{request.head}{local.behind}<reasoning>")
        last = plain(f"</reasoning><answer>{answer}</answer>")
    return [asked, *(plain(f"{step}\n") for step in steps), last]


def features(reader: Reads, texts: Sequence[Text]) -> np.ndarray:
    """[len(texts), F]: mean states first, then figures."""
    read = reader.read(texts)
    return np.stack(
        [
            np.concatenate([one.states, figures(text, one.logprobs)])
            for text, one in zip(texts, read, strict=True)
        ]
    )


def fit(
    local: LocalModel,
    items: Sequence[Labelled],
    reader: Reads,
    done: Callable[[int], None] = lambda n: None,
) -> Head:
    """On all pairs of good and flawed completions of the items, without their references."""
    better: list[np.ndarray] = []
    worse: list[np.ndarray] = []
    templates: list[str] = []
    for count, item in enumerate(items, 1):
        question = item.question(with_reference=False)
        traces = [parse(text) for text in (item.good, *item.flawed.values())]
        texts = [spans(local, reading(question, trace)) for trace in traces if trace]
        good, *flawed = features(reader, texts)
        better += [good] * len(flawed)
        worse += flawed
        templates += [item.template] * len(flawed)
        done(count)
    states = 2 * local.model.architecture.width
    return fit_head(local.digest, np.stack(better), np.stack(worse), templates, states)
