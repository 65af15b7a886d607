"""A language model of this machine as a judge: one prefill for an opinion, and no decoding.

Siblings share the prefill of rubric and question; the score is read from the probabilities of the
token behind the prompt. The same texts always get the same opinion, bit for bit, whatever else is
asked beside them.
"""

import asyncio
import hashlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from actors.rewards.asking import Abstain, Answers, Opinion, Request, expected_score
from configs.errors import InputError
from configs.load import load
from configs.schema import DataSection, ModelSection, RunConfig
from learner.checkpoint import restore_tree
from learner.policy.chat import CHAT, template_around
from learner.policy.folder import check_weights, is_hugging_face, with_architecture
from learner.policy.model import Params, PolicyModel, build_model
from learner.policy.pretrained import load_weights
from learner.policy.scorer import Scorer
from learner.policy.tokenizer import Tokenizer, load_tokenizer

MOST_TOKENS = 8192  # of a prompt


class LocalModel:
    """A model with its weights. `template`: the turns around a prompt, with `{prompt}`, or "chat":
    those that the tokenizer brings."""

    def __init__(self, model: PolicyModel, params: Params, tokenizer: Tokenizer, template: str):
        self.model, self.params, self.tokenizer = model, params, tokenizer
        around = template_around(tokenizer, DataSection(template=template))
        self.before, self.behind = around.before, around.after
        self.chats = template == CHAT  # a chat's template says itself how a text begins
        self.digest = _digest(params, tokenizer, template)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode_prompt(text, begin=not self.chats)


def load_local(folder: Path, key: str) -> LocalModel:
    """The policy that the GRPO of a run began from, or a model in a folder of Hugging Face, asked
    in its chat template. `key`: the setting with the folder.

    Raises InputError.
    """
    trained = folder / "checkpoints" / "reference"
    here = SingleDeviceSharding(jax.devices()[0])
    if trained.exists():
        config = load(folder / "config.toml")
        tokenizer = load_tokenizer(config.model.tokenizer or folder)
        model = build_model(config.model, tokenizer.vocabulary)
        abstract = {
            name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here)
            for name, x in model.abstract_params().items()
        }
        return LocalModel(model, restore_tree(trained, abstract), tokenizer, config.data.template)
    if not is_hugging_face(folder):
        raise InputError(
            f"{key} = {folder}: no run folder with a finished cold start, {trained} is "
            "missing, nor published weights; launch.py sft --run DIR makes the one, launch.py "
            "weights smollm2 the other"
        )
    section = with_architecture(RunConfig(model=ModelSection(weights=str(folder)))).model
    tokenizer = load_tokenizer(folder)
    check_weights(section, tokenizer.vocabulary)
    model = build_model(section, tokenizer.vocabulary)
    shardings = dict.fromkeys(model.abstract_params(), here)
    params = load_weights(model.architecture, folder, shardings)
    return LocalModel(model, params, tokenizer, CHAT)


class LocalJudge:
    """Serves one call after the other."""

    def __init__(self, local: LocalModel):
        self._scorer, self._tokenizer = Scorer(local.model, local.params), local.tokenizer
        self._before, self._behind = local.before, local.behind
        self.name = f"model {local.digest} by its own engine"
        self._encode = local.encode
        tokenizer = local.tokenizer
        self._lock = asyncio.Lock()
        texts = (tokenizer.decode([number]).strip() for number in range(tokenizer.vocabulary))
        self._numbers = {n: text for n, text in enumerate(texts) if text in tuple("123456789")}

    @staticmethod
    def load(folder: Path) -> "LocalJudge":
        """Raises InputError."""
        return LocalJudge(load_local(folder, "judge.model"))

    async def opinions(self, requests: Sequence[Request]) -> Answers:
        started = time.perf_counter()
        async with self._lock:
            opinions = await asyncio.to_thread(self.judge, requests)
        elapsed = time.perf_counter() - started
        return Answers(tuple(opinions), (elapsed,) * len(requests))

    async def close(self) -> None:
        """Nothing is open."""

    def judge(self, requests: Sequence[Request]) -> list[Opinion]:
        prompts = [
            (
                self._head(request) + request.head[: request.fixed],
                request.head[request.fixed :],
                request.tail,
            )
            for request in requests
        ]
        rows = self.next_logprobs(prompts)
        return [
            Abstain("too long", f"the question to the judge has more than {MOST_TOKENS} tokens")
            if row is None
            else expected_score(self._scores(row), request.highest)
            for row, request in zip(rows, requests, strict=True)
        ]

    def next_logprobs(self, prompts: Sequence[tuple[str, str, str]]) -> list[np.ndarray | None]:
        """[V] log-probabilities of the model's first token, for each prompt in three parts.

        Prompts with the same first parts share their prefill; that of the first one is kept. None
        for one that is too long.
        """
        found: list[np.ndarray | None] = [None] * len(prompts)
        alike: dict[tuple[int, tuple[int, ...]], list[tuple[int, list[int]]]] = defaultdict(list)
        for number, (fixed, head, tail) in enumerate(prompts):
            whole = self._encode(self._before + fixed + head + tail + self._behind)
            if len(whole) <= MOST_TOKENS:
                shared = _agreement(self._encode(self._before + fixed + head), whole)
                trunk = _agreement(self._encode(self._before + fixed), whole[:shared])
                alike[trunk, tuple(whole[:shared])].append((number, whole[shared:]))
        for (trunk, beginning), rows in alike.items():
            logprobs = self._scorer.next_logprobs(beginning, [end for _, end in rows], trunk)
            for (number, _), row in zip(rows, logprobs, strict=True):
                found[number] = row
        return found

    def top_tokens(self, logprobs_V: np.ndarray, count: int) -> list[tuple[str, float]]:
        """The likeliest tokens as text, the likeliest first."""
        order = np.argsort(-logprobs_V, kind="stable")[:count]
        return [(self._tokenizer.decode([n]), float(logprobs_V[n])) for n in order]

    def _scores(self, logprobs_V: np.ndarray) -> dict[str, float]:
        masses: dict[str, float] = defaultdict(lambda: -np.inf)
        for number, text in self._numbers.items():
            masses[text] = float(np.logaddexp(masses[text], logprobs_V[number]))
        return masses

    @staticmethod
    def _head(request: Request) -> str:
        return f"{request.system}\n\n" if request.system else ""


def _agreement(first: Sequence[int], second: Sequence[int]) -> int:
    """Tokens that both begin with; at least one of the second is left."""
    pairs = zip(first, second[:-1], strict=False)
    most = max(0, min(len(first), len(second) - 1))
    return next((n for n, (a, b) in enumerate(pairs) if a != b), most)


def _digest(params: Params, tokenizer: Tokenizer, template: str) -> str:
    """What an opinion depends on besides the request."""
    digest = hashlib.sha256(template.encode())
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        for path in sorted(Path(folder).iterdir()):
            digest.update(path.read_bytes())
    for name in sorted(params):
        digest.update(name.encode() + np.asarray(params[name]).tobytes())
    return digest.hexdigest()[:16]
