"""A judge that was fitted to labelled completions: a model reads them, a linear head scores them.

    uv run python launch.py judge --fit judge.reader=runs/cold judge.head=head.npz
    uv run python launch.py judge.rubric=mine.toml judge.reader=runs/cold judge.head=head.npz

The model's weights are left as they are. What it makes of reasoning and answer (mean states, and
how surprising their tokens are: policy/reader.py) goes into the head (rewards/head.py). The second
command is for a rubric with a criterion whose scorer is "learned". It never sees the reference.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from actors.data.labelled.items import Labelled
from actors.local_judge import LocalModel, load_local
from actors.rewards.asking import ANSWER, Abstain, Answers, Opinion, Request, Score, reading
from actors.rewards.format import parse
from actors.rewards.head import Head, fit_head
from configs.errors import InputError
from learner.policy.reader import Reader

MOST_TOKENS = 2048  # of a text
RIDGE = 300.0


class LearnedJudge:
    """`head` must be of the features of `local`."""

    def __init__(self, local: LocalModel, head: Head):
        self._local, self._head = local, head
        self._reader = Reader(local.model, local.params)
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
            scores = self._head.scores(self._reader.features([texts[n] for n in short]))
            for n, score in zip(short, scores, strict=True):
                opinions[n] = Score(float(score))
        return opinions


def spans(local: LocalModel, request: Request) -> tuple[list[int], list[int], list[int]]:
    """Ids of the question, the reasoning, and the answer."""
    reasoning, _, answer = request.tail.rpartition(ANSWER)
    asked = local.encode(local.before + request.head + local.behind)
    behind = partial(local.tokenizer.encode_prompt, begin=False)
    return (
        asked,
        behind(f"<reasoning>{reasoning}</reasoning>"),
        behind(f"<answer>{answer}</answer>"),
    )


def fit(
    local: LocalModel, items: Sequence[Labelled], done: Callable[[int], None] = lambda n: None
) -> Head:
    """On all pairs of good and flawed completions of the items, without their references."""
    reader = Reader(local.model, local.params)
    better: list[np.ndarray] = []
    worse: list[np.ndarray] = []
    templates: list[str] = []
    for count, item in enumerate(items, 1):
        question = item.question(with_reference=False)
        traces = [parse(text) for text in (item.good, *item.flawed.values())]
        texts = [spans(local, reading(question, trace)) for trace in traces if trace]
        good, *flawed = reader.features(texts)
        better += [good] * len(flawed)
        worse += flawed
        templates += [item.template] * len(flawed)
        done(count)
    return fit_head(local.digest, np.stack(better), np.stack(worse), templates, RIDGE)
