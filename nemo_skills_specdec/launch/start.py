"""Starts the server that a run wants, whatever the engine, and stops it afterwards."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from ssl import SSLContext

import msgspec

from nemo_skills_specdec.engines.fetch import bearer, fetch
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch.command import HOST, Command, engine_command, shell_line
from nemo_skills_specdec.launch.environment import engine_version, find_python
from nemo_skills_specdec.launch.hints import hint
from nemo_skills_specdec.launch.methods import Method, to_embedded, to_llamacpp
from nemo_skills_specdec.launch.options import ServerOptions, check_server
from nemo_skills_specdec.launch.small_models import model_path
from nemo_skills_specdec.processes import Timeouts, running_server
from nemo_skills_specdec.tls import chosen_context

OnWait = Callable[[float, str], None]
_STOP_SECONDS = 45.0
"""An engine on a GPU takes its time to tear down its workers."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A server that answers.

    Attributes:
        metrics_urls: where its counters are.
        command: as one line for a shell; None where nothing was started by a command of ours.
        version: of the engine's environment, before asking the server itself.
        log: what it printed so far and will print; None where there is none.
        request_files: the folder of SGLang's request-metric files, if they are on.
        tls: how its certificate is checked; None as `tls_context()` does.
    """

    engine: str
    base_url: str
    metrics_urls: tuple[str, ...]
    headers: dict[str, str] = {}
    command: str | None = None
    version: str | None = None
    remarks: tuple[str, ...] = ()
    log: Path | None = None
    request_files: Path | None = None
    tls: SSLContext | None = None


@contextlib.contextmanager
def start_server(
    model: str,
    method: Method,
    server: ServerOptions,
    *,
    log: Path | None = None,
    request_files: Path | None = None,
    on_wait: OnWait | None = None,
) -> Iterator[Started]:
    """Runs a server for as long as the `with` block lasts.

    Args:
        model: path or Hub name; the embedded engine and llama.cpp take `default` for their own.
        log: where its output goes; by default a temporary file, removed afterwards.
        request_files: a folder for SGLang's request-metric files, for versions that need them.
        on_wait: called while it loads, with the seconds waited and the last line it printed.

    Raises:
        UsageError: the options contradict each other, or the engine lacks the method.
        ServerError: it did not start; the message holds the end of its log, and a hint where there is one.
    """
    check_server(server)
    with contextlib.ExitStack() as stack:
        if server.engine == "running":
            assert server.url is not None
            yield Started(
                engine="running",
                base_url=server.url,
                metrics_urls=tuple(server.metrics_urls) or (server.url,),
                headers=bearer(os.environ.get(server.api_key_env)),
                request_files=Path(server.request_files) if server.request_files is not None else None,
                tls=chosen_context(
                    Path(server.ca_file) if server.ca_file is not None else None, insecure=server.insecure
                ),
            )
        elif server.engine == "embedded":
            yield stack.enter_context(_embedded(model, method, server))
        elif server.engine == "llamacpp":
            yield stack.enter_context(_llamacpp(model, method, server, log))
        else:
            yield stack.enter_context(_engine(model, method, server, log, request_files, on_wait))


def command_of(model: str, method: Method, server: ServerOptions) -> Command:
    """The command that `start_server` would run, for the newest version of the engine; nothing is started or asked.

    Raises:
        UsageError: the options contradict each other, or the engine lacks the method.
    """
    return engine_command(model_path(model), _with_path(method), server, port=server.port or 8000)


@contextlib.contextmanager
def _engine(
    model: str,
    method: Method,
    server: ServerOptions,
    log: Path | None,
    request_files: Path | None,
    on_wait: OnWait | None,
) -> Iterator[Started]:
    python = find_python(server.engine, server.python)
    version = engine_version(server.engine, python)
    port = _port(server.port)
    base_url = f"http://{HOST}:{port}"
    command = engine_command(
        model_path(model),
        _with_path(method),
        msgspec.structs.replace(server, python=python),
        port=port,
        version=version,
        request_files=request_files,
    )
    if command.request_files is not None:
        command.request_files.mkdir(parents=True, exist_ok=True)
    with running_server(
        command.arguments,
        name=f"{server.engine} {version}",
        find_url=lambda _: base_url if _is_ready(base_url) else None,
        environment=command.environment,
        log=log,
        on_wait=on_wait,
        hint=hint,
        timeouts=Timeouts(timeout_seconds=server.ready_timeout_seconds, poll_seconds=0.5, stop_seconds=_STOP_SECONDS),
    ) as running:
        yield Started(
            engine=server.engine,
            base_url=base_url,
            metrics_urls=(base_url,),
            command=shell_line(command),
            version=version,
            remarks=command.remarks,
            log=running.log,
            request_files=command.request_files,
        )


@contextlib.contextmanager
def _embedded(model: str, method: Method, server: ServerOptions) -> Iterator[Started]:
    from nemo_skills_specdec.embedded.launch import start
    from nemo_skills_specdec.embedded.options import EmbeddedOptions

    options = EmbeddedOptions(
        dialect=server.dialect,
        model_dir=None if model == "default" else model,
        max_model_len=server.max_model_len,
        port=server.port or 0,
    )
    if server.max_num_seqs is not None:
        options = msgspec.structs.replace(options, max_num_seqs=server.max_num_seqs)
    with start(to_embedded(method, options), timeout_seconds=server.ready_timeout_seconds) as running:
        yield Started(engine="embedded", base_url=running.base_url, metrics_urls=(running.base_url,))


@contextlib.contextmanager
def _llamacpp(model: str, method: Method, server: ServerOptions, log: Path | None) -> Iterator[Started]:
    from nemo_skills_specdec.launch.llamacpp import LlamaCppOptions, start_llamacpp

    options = LlamaCppOptions(
        method=to_llamacpp(method),
        draft_length=method.length or 1,
        ngram_size=method.prompt_lookup_min or method.prompt_lookup_max,
        slots=server.max_num_seqs or LlamaCppOptions().slots,
        context=server.max_model_len or LlamaCppOptions().context,
        model=None if model == "default" else Path(model),
    )
    with start_llamacpp(options, log=log) as running:
        yield Started(engine="llamacpp", base_url=running.base_url, metrics_urls=(running.base_url,), log=running.log)


def answers(started: Started) -> bool:
    """Whether the server still answers."""
    return fetch(f"{started.base_url}/v1/models", started.headers, timeout=10.0, tls=started.tls).status == 200


def _is_ready(base_url: str) -> bool:
    return fetch(f"{base_url}/health", timeout=5.0).status == 200


def _with_path(method: Method) -> Method:
    if method.draft_model is None:
        return method
    return msgspec.structs.replace(method, draft_model=model_path(method.draft_model))


def _port(wanted: int | None) -> int:
    """A free port. One in use is refused now: whoever listens there would answer in the new server's place."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            raise UsageError(f"port {wanted} is in use; give another, or none to take a free one") from error
        port: int = probe.getsockname()[1]
        return port
