"""Real HTTP servers on loopback for judges: one that can be told to misbehave, one that serves."""

import asyncio
import math
import threading
from contextlib import contextmanager

from aiohttp import web

ALPHA = (0.1, 0.2, 0.4, 0.2, 0.1)  # what the honest answer says of the scores 1 to 5


@contextmanager
def serving(app, port=0):
    """The port of an app on 127.0.0.1, served by a thread of its own until the block is left."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, shutdown_timeout=0.05)

    async def start():
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        return site._server.sockets[0].getsockname()[1]

    async def end():
        await runner.cleanup()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class Model:
    """Answers with log-probabilities of the scores 1 to 5, or as `way` says.

    `score_of(text)`: which score is the likeliest; `latency_s` of each answer, `slots` at a time.
    """

    def __init__(self, score_of=lambda text: 3, latency_s=0.0, slots=10**6):
        self.way, self.asked, self.most_at_once = "logprobs", [], 0
        self.score_of, self.latency_s = score_of, latency_s
        self._slots, self._at_once = asyncio.Semaphore(slots), 0

    def app(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _chat(self, http):
        asked = await http.json()
        self.asked.append(asked | {"headers": dict(http.headers)})
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            async with self._slots:
                await asyncio.sleep(self.latency_s)
                return await self._answer(asked)
        finally:
            self._at_once -= 1

    async def _answer(self, asked):
        form = (asked.get("response_format") or {}).get("type", "logprobs")
        if isinstance(self.way, int):
            return web.json_response({"error": {"message": "no"}}, status=self.way)
        if self.way == "garbage":
            return web.Response(text="<html>proxy error</html>", content_type="text/html")
        if self.way == "no choices":
            return web.json_response({"id": "1", "object": "chat.completion", "choices": []})
        if self.way == "hangs":
            await asyncio.sleep(30)
        score = self.score_of(asked["messages"][-1]["content"])
        if form == "logprobs" and self.way == "logprobs":
            return web.json_response(_completion(str(score), _logprobs(score)))
        if form == "logprobs" and self.way != "words":  # has none, as many servers
            return web.json_response(_completion(str(score), None))
        if form == "json_schema" and self.way == "json_object":
            return web.json_response({"error": {"message": "json_schema?"}}, status=500)
        text = {"words": "I like it", "out of range": '{"score": 9}', "text": '{"score": "3"}'}
        return web.json_response(_completion(text.get(self.way, f'{{"score": {score}}}'), None))


def _logprobs(score):
    """The likelihoods of ALPHA around the score, some of them with a space, and a word."""
    ranks = sorted(range(1, 6), key=lambda n: abs(n - score))
    shares = dict(zip(ranks, sorted(ALPHA, reverse=True), strict=True))
    top = [{"token": f" {n}", "logprob": math.log(p / 2), "bytes": None} for n, p in shares.items()]
    top.append({"token": "The", "logprob": math.log(0.5), "bytes": None})
    return {"content": [{**top[0], "top_logprobs": top}]}


def _completion(text, logprobs):
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
