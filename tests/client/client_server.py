"""A server on 127.0.0.1 whose every byte a test decides, and short ways to call the client against it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions, Sent
from nemo_skills_specdec.client.send import send_all
from nemo_skills_specdec.records import Message, PromptRow

DATA = Path(__file__).parent.parent / "data" / "client"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def chunk(text: str = "", *, finish: str | None = None, **top: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "r1", "choices": [choice], **top}).encode() + b"\n\n"


USAGE = b'data: {"id": "r1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n'
DONE = b"data: [DONE]\n\n"
GOOD = (chunk("Hel"), chunk("lo"), chunk("", finish="stop"), USAGE, DONE)


async def stream(request: web.Request, *pieces: bytes | float) -> web.StreamResponse:
    """Writes bytes and sleeps numbers of seconds, in order."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for piece in pieces:
        if isinstance(piece, bytes):
            await response.write(piece)
        else:
            await asyncio.sleep(piece)
    return response


async def good(request: web.Request) -> web.StreamResponse:
    return await stream(request, *GOOD)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def prompt(name: str, *texts: str, category: str = "c") -> PromptRow:
    return PromptRow(question_id=name, category=category, messages=[Message("user", text) for text in texts])


def prompts(count: int, turns: int = 1) -> list[PromptRow]:
    return [prompt(f"q{i}", *(f"question {turn}" for turn in range(turns))) for i in range(count)]


def ask(handler: Handler, *, count: int = 1, turns: int = 1, **options: Any) -> Sent:
    """Sends to a server with this handler; options go to RequestOptions, LoadOptions or `send_all`."""

    async def main() -> Sent:
        async with serving(handler) as url:
            return await ask_url(url, count=count, turns=turns, **options)

    return asyncio.run(main())


async def ask_url(url: str, *, count: int = 1, turns: int = 1, **options: Any) -> Sent:
    request = {key: options.pop(key) for key in list(options) if key in RequestOptions.__struct_fields__}
    load = {key: options.pop(key) for key in list(options) if key in LoadOptions.__struct_fields__}
    what = options.pop("what", prompts(count, turns))
    request = RequestOptions(**{"model": "m", **request})
    return await asyncio.to_thread(send_all, what, url=url, request=request, load=LoadOptions(**load), **options)
