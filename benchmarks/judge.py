"""Judging by a language model: one prefill against writing JSON, four actors against one, a cache.

    uv run python -m benchmarks.judge [--rounds 3]

prefill_vs_json  the same small model of this machine judges the same groups of 8 siblings: ours
                 reads the score tokens' probabilities behind one prefill with a shared beginning;
                 the peer is the project's own engine writing {"score": 4}, and nothing more, in 64
                 slots.
actors_4_vs_1    judge actors, each a process, before a server that takes 100 ms for an answer and
                 gives at most 64 at a time; 8 requests in flight for each actor.
cache_vs_none    the local judge asked again, with and without the verdicts on disk.

The contestants of each pair take turns. Progress goes to stderr; the last line is one JSON object.
"""

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from aiohttp import web

from actors.bench import Bench, Judging
from actors.data.labelled.items import Labelled, read_items
from actors.judge import JudgeActor
from actors.local_judge import LocalJudge, LocalModel
from actors.rewards.asking import Score
from actors.rewards.rubric import load_rubric
from actors.rewards.verdict_cache import VerdictCache
from benchmarks.race import busy_cores, environment, ratio, say, summarize, turns
from cluster.messages import Permit, Question, RolloutGroup
from configs.schema import JudgeSection, ModelSection, RolloutSection
from learner.policy.endings import Endings
from learner.policy.engine import Engine
from learner.policy.model import build_model
from learner.policy.tokenizer import Tokenizer, train_tokenizer

TEMPLATE = "<start_of_turn>user\n{prompt}<end_of_turn>\n<start_of_turn>model\n"
MODEL = ModelSection(
    layers=6, embed_dim=256, hidden_dim=768, heads=4, kv_heads=2, head_dim=64, tokenizer_pieces=2000
)
GROUPS, SIBLINGS = 8, 8
VERDICT = '{"score": 4}'
LATENCY_S, SERVER_SLOTS, IN_FLIGHT = 0.1, 64, 8
GROUPS_OF_AN_ACTOR = 24


class Local:
    """The model, the groups it judges, and the engine that writes verdicts with it."""

    def __init__(self, folder: Path):
        items = [item for item in read_items() if len(item.flawed) >= SIBLINGS - 1][:GROUPS]
        self.groups = [_texts(item) for item in items]
        texts = [text for _, siblings in self.groups for text in siblings]
        tokenizer = train_tokenizer([*texts, load_rubric("llm").source], MODEL.tokenizer_pieces)
        model = build_model(MODEL, tokenizer.vocabulary)
        params = _inclined_to_score(dict(jax.jit(model.init)(0)), tokenizer)
        self.judge = LocalJudge(LocalModel(model, params, tokenizer, TEMPLATE))
        rubric = load_rubric("llm")
        self.plain = Bench(rubric, self.judge)
        self.cached = Bench(rubric, self.judge, VerdictCache(folder / "verdicts.sqlite"))
        self.prompts = [
            np.array(tokenizer.encode_prompt(self._whole(request)), np.int32)
            for question, siblings in self.groups
            for text in siblings
            for request in self.plain.asked(question, text).values()
        ]
        section = RolloutSection(
            group_size=2,
            slots=64,
            max_prompt_tokens=max(map(len, self.prompts)),
            max_reasoning_tokens=len(tokenizer.encode_completion(VERDICT)) - 2,
            max_answer_tokens=1,
        )
        self.written_tokens = section.max_new_tokens
        self.engine = Engine(model, section, Endings(), seed=0)
        self.engine.load({name: np.asarray(value) for name, value in params.items()})

    def scored(self) -> int:
        """Opinions of the first group that are scores: abstentions are not kept in a cache."""
        question, siblings = self.groups[0]
        requests = [r for text in siblings for r in self.plain.asked(question, text).values()]
        return sum(isinstance(opinion, Score) for opinion in self.judge.judge(requests))

    def _whole(self, request) -> str:
        before, behind = TEMPLATE.split("{prompt}")
        return f"{before}{request.system}\n\n{request.user}{behind}"

    def judged(self, bench: Bench) -> int:
        """Judges all groups; the number of opinions."""
        for question, siblings in self.groups:
            asyncio.run(_opinions(bench, question, siblings))
        return len(self.prompts)

    def written(self) -> int:
        """Writes a verdict for each completion."""
        question = Question("q", "", "", "", "", "")
        waiting = [
            Permit("json", n, question, tokens, 1, 0.0, 0) for n, tokens in enumerate(self.prompts)
        ]
        done = 0
        while waiting or self.engine.busy:
            room = self.engine.room
            fitting, waiting = waiting[:room], waiting[room:]
            self.engine.submit(fitting)
            done += len(self.engine.step())
        return done


def _inclined_to_score(params: dict, tokenizer: Tokenizer) -> dict:
    """Random weights answer with any of 2,000 pieces; these answer with a digit often enough."""
    digits = [tokenizer.encode_prompt(str(n))[-1] for n in range(1, 6)]
    embedding = np.array(params["embedder.input_embedding"])
    embedding[digits] *= 20
    return params | {"embedder.input_embedding": embedding}


async def _opinions(bench: Bench, question: Question, siblings: tuple[str, ...]) -> None:
    requests = [r for text in siblings for r in bench.asked(question, text).values()]
    opinions, _ = await bench.opinions(requests)
    assert len(opinions) == len(requests)


def _texts(item: Labelled) -> tuple[Question, tuple[str, ...]]:
    return item.question(True), (item.good, *item.flawed.values())[:SIBLINGS]


class Server:
    """Gives every completion a 4 of 5, `LATENCY_S` after it was asked, some at a time."""

    def __init__(self):
        self._slots = asyncio.Semaphore(SERVER_SLOTS)

    async def chat(self, http: web.Request) -> web.Response:
        await http.read()
        async with self._slots:
            await asyncio.sleep(LATENCY_S)
        top = [{"token": "4", "logprob": -0.1, "bytes": None}]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "4"},
            "finish_reason": "stop",
            "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
        }
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
            | {"choices": [choice]}
        )


def serve(port) -> None:
    """The server, in a process of its own."""

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", Server().chat)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


class Enough(Exception):
    """All groups of an actor are judged."""


class Groups:
    """Both queues of a judge actor."""

    def __init__(self, groups: list[RolloutGroup]):
        self.left, self.missing = groups, len(groups)

    def get(self, max_items: int, timeout_s: float) -> list:
        taken, self.left = self.left[:max_items], self.left[max_items:]
        if not taken:
            time.sleep(0.05)
        return taken

    def put(self, items: list) -> None:
        self.missing -= len(items)
        if any(group.abstentions for group in items):
            raise RuntimeError(items[0].abstentions[0])
        if not self.missing:
            raise Enough


def act(number: int, url: str, start, done) -> None:
    """One judge actor: its groups from the signal on."""
    groups = []
    items = [item for item in read_items() if len(item.flawed) >= SIBLINGS - 1]
    for place in range(GROUPS_OF_AN_ACTOR):
        question, texts = _texts(items[(number * GROUPS_OF_AN_ACTOR + place) % len(items)])
        nothing = np.empty(0, np.int32)
        permit = Permit("train", place, question, nothing, SIBLINGS, 1.0, 0)
        empty = (nothing,) * SIBLINGS
        groups.append(RolloutGroup(permit, 0, empty, empty, texts, np.zeros(SIBLINGS), 0, 0.0))
    section = JudgeSection(rubric="llm", endpoint=url, model="m", in_flight=IN_FLIGHT)
    queue = Groups(groups)
    actor = JudgeActor(number, 1, Judging(load_rubric("llm"), section), queue, queue)
    done.put("ready")
    start.wait()
    try:
        actor.run()
    except Enough:
        done.put("done")


def with_actors(count: int, url: str) -> tuple[int, float]:
    """Judgements and seconds of so many actors, from when all of them are ready."""
    context = multiprocessing.get_context("spawn")
    start, done = context.Event(), context.Queue()
    actors = [context.Process(target=act, args=(n, url, start, done)) for n in range(count)]
    for actor in actors:
        actor.start()
    try:
        for _ in actors:
            assert done.get(timeout=120) == "ready"
        began = time.perf_counter()
        start.set()
        for _ in actors:
            assert done.get(timeout=120) == "done"
        return count * GROUPS_OF_AN_ACTOR * SIBLINGS, time.perf_counter() - began
    finally:
        for actor in actors:
            actor.kill()
            actor.join()


def timed(work: Callable[[], int]) -> tuple[int, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def race_all(rounds: int) -> dict:
    context = multiprocessing.get_context("spawn")
    port = context.Queue()
    server = context.Process(target=serve, args=(port,))
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            local, url = Local(Path(folder)), f"http://127.0.0.1:{port.get(timeout=120)}/v1"
            work = {
                "prefill": lambda: timed(lambda: local.judged(local.plain)),
                "json": lambda: timed(local.written),
                "cached": lambda: timed(lambda: local.judged(local.cached)),
                "actors_1": lambda: with_actors(1, url),
                "actors_4": lambda: with_actors(4, url),
            }
            for name in ("prefill", "json", "cached"):  # compiles, and fills the cache
                work[name]()
            if 2 * local.scored() < SIBLINGS:
                raise RuntimeError("the model abstains: a cache would have nothing to keep")
            accounts: dict[str, list[dict]] = {name: [] for name in work}
            for number, name in turns(tuple(work), rounds):
                others = busy_cores(0.5)
                count, seconds = work[name]()
                account = {"judgements_per_s": count / seconds, "other_cores_before": others}
                accounts[name].append(account)
                say(f"round {number} {name}: {count / seconds:.1f} judgements/s")
            tokens = {"written_tokens": local.written_tokens, "prompts": len(local.prompts)}
            return {name: summarize(some) for name, some in accounts.items()} | {"sizes": tokens}
    finally:
        server.kill()
        server.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    found = race_all(parser.parse_args().rounds)
    pairs = {
        "prefill_vs_json": ("prefill", "json"),
        "actors_4_vs_1": ("actors_4", "actors_1"),
        "cache_vs_none": ("cached", "prefill"),
    }
    result = {
        "benchmark": "judge",
        "ours": {name: found[name] for name in ("prefill", "cached", "actors_4")},
        "peers": {name: found[name] for name in ("json", "actors_1")},
        "ratios": {
            name: ratio(found[ours], found[peer], "judgements_per_s")
            for name, (ours, peer) in pairs.items()
        },
        "sizes": found["sizes"],
        "environment": environment(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
