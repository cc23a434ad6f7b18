"""The embedded server: HTTP routes around a `Service`, in the dialect of the options.

Routes of both dialects: `/v1/chat/completions`, `/v1/completions`, `/v1/models`, `/health`, `/metrics`, and one of our
own: `/ledger` (every verification step; `?request_id=` and `?totals` narrow it). The vllm dialect adds `/version` and
`/reset_prefix_cache`; the sglang dialect `/server_info`, `/get_server_info`, `/flush_cache`, `/health_generate` and
`/`.
"""

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from nemo_skills_specdec.embedded import sglang_dialect, vllm_dialect
from nemo_skills_specdec.embedded.dialect import Body, Dialect, Reply, model_card, reply
from nemo_skills_specdec.embedded.options import EmbeddedOptions, check
from nemo_skills_specdec.embedded.protocol import (
    ChatBody,
    CompletionBody,
    GenerationRequest,
    check_dialect,
    parse_chat,
    parse_completion,
)
from nemo_skills_specdec.embedded.service import EngineFailedError, Service
from nemo_skills_specdec.errors import UsageError

logger = logging.getLogger(__name__)

SERVICE: web.AppKey[Service] = web.AppKey("service", Service)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_T = TypeVar("_T")

_OPEN_PATHS = frozenset({"/health", "/health_generate"})
_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
_encode = msgspec.json.Encoder().encode


def make_app(options: EmbeddedOptions) -> web.Application:
    """The server as an application; its engines run while the application does.

    Raises:
        UsageError: the options contradict each other, or the models cannot be read.
    """
    check(options)
    service = Service(options)
    dialect: Dialect
    if options.dialect == "vllm":
        dialect = vllm_dialect.VllmDialect(options, service)
    else:
        dialect = sglang_dialect.SglangDialect(options, service)
    routes = _Routes(options, service, dialect)
    app = web.Application(middlewares=[_errors, _authorisation(options)], client_max_size=64 * 1024 * 1024)
    app[SERVICE] = service
    app.router.add_post("/v1/chat/completions", routes.chat)
    app.router.add_post("/v1/completions", routes.completions)
    for path, handler in routes.readable().items():
        app.router.add_get(path, handler)
    if isinstance(dialect, sglang_dialect.SglangDialect):
        app.router.add_post("/flush_cache", routes.flush_cache)
    else:
        app.router.add_post("/reset_prefix_cache", routes.reset_prefix_cache)
    app.cleanup_ctx.append(_engines(service, dialect))
    return app


class _Routes:
    def __init__(self, options: EmbeddedOptions, service: Service, dialect: Dialect) -> None:
        self._options = options
        self._service = service
        self._dialect = dialect
        self._started = int(time.time())
        self._bos_token_id = service.models.target.config.bos_token_id

    def readable(self) -> dict[str, _Handler]:
        """Paths that answer GET."""
        common: dict[str, _Handler] = {
            "/health": self.health,
            "/v1/models": self.models,
            "/metrics": self.metrics,
            "/ledger": self.ledger,
        }
        if self._options.dialect == "vllm":
            return {**common, "/version": self.version}
        return {
            **common,
            "/": self.root,
            "/health_generate": self.health,
            "/server_info": self.server_info,
            "/get_server_info": self.server_info,
            "/flush_cache": self.flush_cache,
        }

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = _decode(await request.read(), ChatBody)
        model = self._model(body.model)
        return await self._respond(request, model, parse_chat(body, self._service.models.tokenizer, self._bos_token_id))

    async def completions(self, request: web.Request) -> web.StreamResponse:
        body = _decode(await request.read(), CompletionBody)
        model = self._model(body.model)
        return await self._respond(
            request, model, parse_completion(body, self._service.models.tokenizer, self._bos_token_id)
        )

    async def models(self, request: web.Request) -> web.Response:
        card = model_card(self._options, self._service.models.context, self._started)
        if self._options.dialect == "vllm":
            card["permission"] = []
        return _json({"object": "list", "data": [card]})

    async def health(self, request: web.Request) -> web.Response:
        return web.Response(status=503 if self._service.failed else 200)

    async def root(self, request: web.Request) -> web.Response:
        return web.Response(text="SGLang is running")

    async def version(self, request: web.Request) -> web.Response:
        return _json({"version": vllm_dialect.VERSION})

    async def metrics(self, request: web.Request) -> web.Response:
        metrics = self._dialect.metrics
        if metrics is None:
            raise web.HTTPNotFound
        return web.Response(body=metrics.render(), headers={"Content-Type": metrics.content_type})

    async def server_info(self, request: web.Request) -> web.Response:
        assert isinstance(self._dialect, sglang_dialect.SglangDialect)
        return _json(sglang_dialect.server_info(self._options, self._service, self._dialect.windows))

    async def flush_cache(self, request: web.Request) -> web.Response:
        """There is no prefix cache to drop; as in SGLang the lifetime acceptance length starts anew."""
        assert isinstance(self._dialect, sglang_dialect.SglangDialect)
        if any(engine.busy for engine in self._service.engines):
            return web.Response(status=400, text="Flush cache failed: requests are running or waiting.\n")
        for window in self._dialect.windows:
            window.flush()
        return web.Response(text="Cache flushed.\n")

    async def reset_prefix_cache(self, request: web.Request) -> web.Response:
        """There is no prefix cache to reset; vLLM, in its development mode, answers with nothing."""
        return web.Response()

    async def ledger(self, request: web.Request) -> web.Response:
        name = request.query.get("request_id")
        engines = [engine.ledger for engine in self._service.engines]
        body: Body = {
            "engines": [
                {
                    "engine": ledger.engine,
                    "totals": ledger.totals.as_dict(),
                    "forgotten_requests": ledger.forgotten_requests,
                }
                for ledger in engines
            ]
        }
        if "totals" not in request.query:
            body["requests"] = [
                steps.as_dict()
                for ledger in engines
                for steps in ledger.requests()
                if name is None or steps.request_id == name
            ]
        return _json(body)

    def _model(self, asked: str | None) -> str:
        served = self._options.served_model_name
        if asked is not None and asked != served:
            raise _RefusedError(
                404, "NotFoundError", f"The model `{asked}` does not exist; this server serves `{served}`."
            )
        return served

    async def _respond(self, request: web.Request, model: str, generation: GenerationRequest) -> web.StreamResponse:
        check_dialect(generation, self._options.dialect)
        reply_id, names = self._dialect.names(generation)
        channel = self._service.submit(generation, names)
        pending = reply(reply_id, model, generation, channel)
        try:
            if generation.stream:
                return await self._stream(request, pending)
            await channel.finished()
            response = _json(self._dialect.answer(pending))
            await response.prepare(request)
            await response.write_eof()
            self._dialect.answered(pending)
            return response
        finally:
            # Does nothing to a request that ended; the client of an unfinished one has gone.
            self._service.abort(channel)

    async def _stream(self, request: web.Request, pending: Reply) -> web.StreamResponse:
        response = web.StreamResponse(headers=_STREAM_HEADERS)
        await response.prepare(request)
        index = {sequence: number for number, sequence in enumerate(pending.channel.sequences)}
        dialect = self._dialect
        opening = [dialect.opening(pending, number) for number in index.values()]
        await _send(response, [chunk for chunk in opening if chunk is not None])
        try:
            async for output in pending.channel.outputs():
                await _send(response, dialect.chunks(pending, index[output.sequence], output))
        except EngineFailedError as error:
            await response.write(b"data: " + vllm_dialect.error(str(error), "InternalServerError", 500) + b"\n\n")
        else:
            await _send(response, dialect.closing(pending))
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        if not self._service.failed:
            dialect.answered(pending)
        return response


async def _send(response: web.StreamResponse, chunks: list[Body]) -> None:
    if chunks:
        await response.write(b"".join(b"data: " + _encode(chunk) + b"\n\n" for chunk in chunks))


class _RefusedError(Exception):
    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"invalid request: {error}") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"the body is not valid JSON: {error}") from error


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=_encode(body), status=status, content_type="application/json")


def _refusal(status: int, kind: str, message: str) -> web.Response:
    return web.Response(body=vllm_dialect.error(message, kind, status), status=status, content_type="application/json")


@web.middleware
async def _errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except UsageError as error:
        return _refusal(400, "BadRequestError", str(error))
    except _RefusedError as error:
        return _refusal(error.status, error.kind, str(error))
    except EngineFailedError as error:
        return _refusal(500, "InternalServerError", str(error))
    except web.HTTPRequestEntityTooLarge:
        return _refusal(413, "BadRequestError", "the body is larger than 64 MiB; send a smaller one")
    except web.HTTPException as error:
        return _json({"detail": error.reason}, status=error.status)
    except ConnectionResetError:
        # The client has gone in the middle of its stream; there is nobody left to answer.
        return web.Response(status=499)
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return _refusal(500, "InternalServerError", "the server failed; see its log")


def _authorisation(options: EmbeddedOptions) -> Any:
    """vLLM guards `/v1`; SGLang guards everything but health and metrics. `protect_metrics` adds `/metrics`."""
    expected = f"Bearer {options.api_key}".encode()

    def guarded(path: str) -> bool:
        if path == "/metrics":
            return options.protect_metrics
        if options.dialect == "vllm":
            return path.startswith("/v1")
        return path not in _OPEN_PATHS

    @web.middleware
    async def authorise(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if options.api_key is not None and guarded(request.path):
            given = request.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(given, expected):
                return _refusal(401, "AuthenticationError", "Unauthorized: send the API key as a bearer token.")
        return await handler(request)

    return authorise


def _engines(service: Service, dialect: Dialect) -> Callable[[web.Application], AsyncIterator[None]]:
    async def running(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(service.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if isinstance(dialect, sglang_dialect.SglangDialect) and dialect.files is not None:
            dialect.files.flush()

    return running


async def serve(options: EmbeddedOptions, *, ready: Callable[[str, int], None], until: asyncio.Event) -> None:
    """Serves until told to stop.

    Args:
        ready: called once with host and real port, when requests are answered.

    Raises:
        UsageError: the address cannot be bound, the options are wrong, or the models cannot be read.
    """
    runner = web.AppRunner(make_app(options), access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(
                f"cannot listen on {options.host}:{options.port}: {error.strerror}; "
                "choose another port, or 0 for a free one"
            ) from error
        address = runner.addresses[0]
        ready(address[0], address[1])
        await until.wait()
    finally:
        await runner.cleanup()
