"""A small OpenAI-compatible server of one local model, for judging on this machine.

    uv run python -m actors.judge_server runs/cold --port 8000
    uv run python launch.py judge.rubric=llm judge.model=cold \\
        judge.endpoint=http://127.0.0.1:8000/v1

It answers what a judge asks and no more: /v1/models, and /v1/chat/completions with one token and
its log-probabilities, or with an object of one whole number from 1 to 9 by a JSON schema.
Everything else is refused with 400. Loopback only, one request computed at a time.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from actors.local_judge import LocalJudge

MOST_BYTES = 2**20  # of a request
Result = tuple[str, list[tuple[str, float]]]  # the answer, and the likeliest first tokens


class Refused(Exception):
    """What the server does not do: 400."""


def make_app(judge: LocalJudge, name: str, logprobs: bool = True) -> web.Application:
    """`logprobs` False: a server that has none, as many are."""
    lock = asyncio.Lock()

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"}]})

    async def chat(http: web.Request) -> web.Response:
        try:
            asked = await http.json()
            async with lock:
                answer, top = await asyncio.to_thread(_answer, judge, asked)
        except (Refused, KeyError, TypeError, ValueError) as error:
            said = {"message": str(error) or type(error).__name__, "type": "invalid_request_error"}
            return web.json_response({"error": said}, status=400)
        return web.json_response(_completion(name, answer, top if logprobs else []))

    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/chat/completions", chat)
    return app


def _answer(judge: LocalJudge, asked: Mapping[str, Any]) -> Result:
    prompt = _prompt(asked["messages"])
    form = asked.get("response_format")
    if form is None and asked.get("max_tokens") == 1:
        top = _top(judge, prompt, int(asked.get("top_logprobs") or 1))
        return top[0][0], top if asked.get("logprobs") else []
    if form is None:
        raise Refused("answers have one token (max_tokens = 1) or a response_format")
    if form.get("type") == "json_schema":
        name, numbers = _whole_number(form["json_schema"]["schema"])
    elif form.get("type") == "json_object" and "schema" in form:
        name, numbers = _whole_number(form["schema"])
    else:
        raise Refused("response_format must be json_schema, or json_object with a schema")
    likeliest = [int(text) for text, _ in _top(judge, prompt, None) if text.strip() in numbers]
    if not likeliest:
        raise Refused("the model has no token for such a number")
    return json.dumps({name: likeliest[0]}), []


def _prompt(messages: Sequence[Mapping[str, str]]) -> tuple[str, str, str]:
    """Both turns in one: the models served here have no turn of the system."""
    roles = [message["role"] for message in messages]
    if roles not in (["user"], ["system", "user"]):
        raise Refused("messages must be one user turn, with or without a system turn before it")
    return "", "", "\n\n".join(message["content"] for message in messages)


def _top(
    judge: LocalJudge, prompt: tuple[str, str, str], count: int | None
) -> list[tuple[str, float]]:
    (logprobs_V,) = judge.next_logprobs([prompt])
    if logprobs_V is None:
        raise Refused("the prompt is too long")
    return judge.top_tokens(logprobs_V, count or len(logprobs_V))


def _whole_number(schema: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """The one property of the schema, and the numbers that it may be."""
    ((name, field),) = schema["properties"].items()
    lowest, highest = field.get("minimum", 1), field.get("maximum", 9)
    if field.get("type") != "integer" or not 1 <= lowest <= highest <= 9:
        raise Refused("the schema must be an object of one integer from 1 to 9")
    return name, frozenset(map(str, range(lowest, highest + 1)))


def _completion(name: str, answer: str, top: list[tuple[str, float]]) -> dict[str, Any]:
    tokens = [{"token": text, "logprob": value, "bytes": None} for text, value in top]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer},
        "finish_reason": "stop",
        "logprobs": {"content": [{**tokens[0], "top_logprobs": tokens}]} if tokens else None,
    }
    return {
        "id": f"judge-{time.time_ns()}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [choice],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a run folder, or one of Hugging Face")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    judge = LocalJudge.load(args.folder)
    web.run_app(make_app(judge, args.folder.name), host="127.0.0.1", port=args.port)


if __name__ == "__main__":
    main()
