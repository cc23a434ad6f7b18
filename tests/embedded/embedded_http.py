"""A server inside the test's own process, and reading what it says."""

import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.server import SERVICE, make_app
from nemo_skills_specdec.embedded.service import Service


class Client:
    """Requests against one server; `service` is the engine behind it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, service: Service | None) -> None:
        self.session = session
        self.url = url
        self.service = service

    async def get(self, path: str, **options: object) -> tuple[int, object]:
        async with self.session.get(self.url + path, **options) as response:
            text = await response.text()
            return response.status, json.loads(text) if "json" in response.content_type else text

    async def post(self, path: str, body: object, **options: object) -> tuple[int, object]:
        async with self.session.post(self.url + path, json=body, **options) as response:
            text = await response.text()
            return response.status, json.loads(text) if "json" in response.content_type else text

    async def stream(self, path: str, body: dict) -> list[dict]:
        """The chunks of a stream; checks that it ends as it should."""
        async with self.session.post(self.url + path, json={**body, "stream": True}) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            events = (await response.read()).split(b"\n\n")
        assert events[-2:] == [b"data: [DONE]", b""]
        return [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]

    async def samples(self) -> dict[str, dict[frozenset, float]]:
        """`/metrics` as name -> labels -> value."""
        status, text = await self.get("/metrics")
        assert status == 200
        return parse(text)


def parse(text: str) -> dict[str, dict[frozenset, float]]:
    found: dict[str, dict[frozenset, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def summed(samples: dict[str, dict[frozenset, float]], name: str, **labels: str) -> float:
    """Sum over all label sets that carry these labels; 0 where there is none."""
    return sum(value for key, value in samples.get(name, {}).items() if labels.items() <= dict(key).items())


@contextlib.asynccontextmanager
async def serving(**options: object) -> AsyncIterator[Client]:
    app = make_app(EmbeddedOptions(**options))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            yield Client(session, f"http://{host}:{port}", app[SERVICE])
    finally:
        await runner.cleanup()


def chat(text: str = "def get(self, key):", **settings: object) -> dict:
    return {
        "model": "specdec-mini",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": 24,
        "ignore_eos": True,
        **settings,
    }


def shape_of(value: object) -> object:
    """The keys of a JSON value, recursively, without its values."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    return type(value).__name__
