"""A language model behind an OpenAI-compatible server, asked for scores by its official client.

Log-probabilities of the first token are asked for; a server that has none is asked for JSON by a
schema, and if it knows no schemas, for a JSON object. The way that worked is kept. Whatever goes
wrong (refused, slow, overloaded, garbage) ends as an abstention with its kind, never as a score.

The client retries what may pass (429, 5xx, a lost connection) with growing, jittered pauses, within
the deadline of the call; it keeps its connections open for the next calls.
"""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from typing import Any

import openai
from aiolimiter import AsyncLimiter

from actors.rewards.asking import (
    Abstain,
    Answers,
    Opinion,
    Request,
    Score,
    expected_score,
    named_score,
)
from actors.rewards.breaker import Breaker

KEY_VARIABLE = "SHOWWORK_JUDGE_KEY"
"""The environment variable with the server's key: it is read here, and written nowhere."""
MOST_LOGPROBS = 20  # that the protocol allows
JSON_TOKENS = 32  # of an answer in JSON
FAILURES, PAUSE_S = 5, 10.0  # in a row, until the server is left alone; for so long
UNSUPPORTED = (400, 404, 405, 415, 422, 500, 501)  # what servers say to a field they do not know
WAYS = ("logprobs", "json_schema", "json_object")


class EndpointJudge:
    """`url` as in http://host:8000/v1. Not bound to an event loop until it is first asked."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        deadline_s: float,
        in_flight: int,
        requests_per_s: float = 0.0,
        breaker: Breaker | None = None,
    ):
        self.name = f"{model} by a server"
        self._model, self._deadline_s = model, deadline_s
        self._client = openai.AsyncOpenAI(
            base_url=url,
            # a server without keys wants none, the client always
            api_key=os.environ.get(KEY_VARIABLE) or "none",
            timeout=deadline_s,
            max_retries=2,
        )
        self._slots = asyncio.Semaphore(in_flight)
        # one at a time, evenly: a burst is what such limits are against
        self._limiter = AsyncLimiter(1, 1 / requests_per_s) if requests_per_s else None
        self._breaker = breaker or Breaker(FAILURES, PAUSE_S)
        self._way = ""  # of asking, once one has worked

    async def opinions(self, requests: Sequence[Request]) -> Answers:
        """One for each, asked at the same time as far as `in_flight` allows. Raises nothing."""
        timed = await asyncio.gather(*map(self._opinion, requests))
        opinions = tuple(opinion for opinion, _ in timed)
        return Answers(opinions, tuple(seconds for _, seconds in timed if seconds))

    async def close(self) -> None:
        await self._client.close()

    async def _opinion(self, request: Request) -> tuple[Opinion, float]:
        """And how many seconds it took; 0 where nothing was sent."""
        async with self._slots:
            if not self._breaker.allows():
                return Abstain("left alone", "the judge's server failed too often just now"), 0.0
            worked = False
            try:
                if self._limiter:
                    await self._limiter.acquire()
                opinion, seconds = await self._timed(request)
                worked = isinstance(opinion, Score) or opinion.kind in ("no score", "schema")
            finally:
                self._breaker.done(worked)
            return opinion, seconds

    async def _timed(self, request: Request) -> tuple[Opinion, float]:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._deadline_s):
                opinion = await self._asked(request)
        except Exception as error:  # noqa: BLE001  # the boundary: a fault is no verdict
            opinion = _abstain(error, self._deadline_s)
        return opinion, time.perf_counter() - started

    async def _asked(self, request: Request) -> Opinion:
        """By the way that has worked before; the first time, by the first one that works."""
        refused: Exception | None = None
        for way in (self._way,) if self._way else WAYS:
            try:
                opinion = _read(way, await self._completion(request, way), request)
            except openai.APIStatusError as error:
                if self._way or error.status_code not in UNSUPPORTED:
                    raise
                refused = refused or error
                continue
            if isinstance(opinion, Score):
                self._way = way
            if opinion is not None:
                return opinion
        raise refused or ValueError("no log-probabilities any more")

    async def _completion(self, request: Request, way: str) -> Any:
        messages: list[Any] = [{"role": "user", "content": request.user}]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        return await self._client.chat.completions.create(
            model=self._model, messages=messages, temperature=0.0, **_fields(way, request.highest)
        )


def _fields(way: str, highest: int) -> dict[str, Any]:
    if way == "logprobs":
        return {"logprobs": True, "top_logprobs": MOST_LOGPROBS, "max_tokens": 1}
    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer", "minimum": 1, "maximum": highest}},
        "required": ["score"],
        "additionalProperties": False,
    }
    if way == "json_object":
        return {
            "response_format": {"type": "json_object", "schema": schema},
            "max_tokens": JSON_TOKENS,
        }
    named = {"name": "verdict", "schema": schema, "strict": True}
    return {
        "response_format": {"type": "json_schema", "json_schema": named},
        "max_tokens": JSON_TOKENS,
    }


def _read(way: str, completion: Any, request: Request) -> Opinion | None:
    """The opinion; None where the server has no log-probabilities. Any error: garbage."""
    choice = completion.choices[0]
    if way == "logprobs":
        if choice.logprobs is None or not choice.logprobs.content:
            return None
        first = choice.logprobs.content[0]
        found = {top.token: float(top.logprob) for top in first.top_logprobs or [first]}
        return expected_score(found, request.highest)
    answer = json.loads(choice.message.content)
    if not isinstance(answer, dict) or set(answer) != {"score"}:
        return Abstain("schema", f"the model answers {str(answer)[:80]!r}, not a score")
    return named_score(answer["score"], request.highest)


def _abstain(error: Exception, deadline_s: float) -> Abstain:
    """Its kind and reason; what a server sent is not repeated, it may hold anything."""
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return Abstain("timeout", f"the judge's server gave no answer within {deadline_s:g} s")
    if isinstance(error, openai.APIConnectionError):
        return Abstain("connection", "the judge's server cannot be reached")
    if isinstance(error, openai.APIStatusError):
        return Abstain(f"HTTP {error.status_code}", f"the judge's server says {error.status_code}")
    return Abstain(
        "garbage", f"the judge's server answers what is no answer: {type(error).__name__}"
    )
