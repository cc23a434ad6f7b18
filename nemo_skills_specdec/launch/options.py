"""Which server a run wants, in terms that hold for every engine."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from nemo_skills_specdec.errors import UsageError

Engine = Literal["vllm", "sglang", "llamacpp", "embedded", "running"]
ENGINES: tuple[Engine, ...] = ("vllm", "sglang", "llamacpp", "embedded", "running")

_SECRET = re.compile(r"(?:^|[-_])(?:api[-_]?keys?|key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server is started, or where one runs.

    Attributes:
        engine: `running` is a server that somebody else started, at `url`.
        python: of the environment that the engine is installed in; None looks on the PATH.
        url: of a running server.
        metrics_urls: where its counters are, if not at `url`.
        server_type: what the running server is, if a router hides it.
        api_key_env: the environment variable that holds a running server's API key; never the key itself.
        request_files: SGLang's `--export-metrics-to-file-dir` of a running server, if it can be read from here.
        gpu_memory_utilization: share of the GPU's memory. vLLM counts everything in it; SGLang's counterpart
            `--mem-fraction-static` counts weights and cache only.
        port: None takes a free one.
        served_model_name: the name clients ask for; None takes the model's path.
        arguments: passed to the engine as they stand; the last one given wins.
        environment: added to this process's own. Never a secret: those are inherited.
        ready_timeout_seconds: how long loading may take.
        dialect: whose metrics the embedded engine speaks.
        ca_file: certificates to trust for a running server, in place of the system's, as PEM.
        insecure: whether to leave a running server's certificate unchecked.
    """

    engine: Engine = "embedded"
    python: str | None = None
    url: str | None = None
    metrics_urls: list[str] = []
    server_type: Literal["vllm", "sglang", "llamacpp", "trtllm"] | None = None
    api_key_env: str = "SPECDEC_API_KEY"
    request_files: str | None = None
    tensor_parallel_size: int | None = None
    gpu_memory_utilization: float | None = None
    max_num_seqs: int | None = None
    max_model_len: int | None = None
    enforce_eager: bool = False
    dtype: str | None = None
    port: int | None = None
    served_model_name: str | None = None
    arguments: list[str] = []
    environment: dict[str, str] = {}
    ready_timeout_seconds: float = 1800.0
    dialect: Literal["vllm", "sglang"] = "vllm"
    ca_file: str | None = None
    insecure: bool = False


def check_server(server: ServerOptions) -> None:
    """Refuses options that contradict each other, or that would put a secret into a file.

    Raises:
        UsageError: names the option and the cure.
    """
    if (server.engine == "running") != (server.url is not None):
        raise UsageError("a server URL and engine `running` go together; give both or neither")
    for name in ("tensor_parallel_size", "max_num_seqs", "max_model_len"):
        value = getattr(server, name)
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; it must be at least 1")
    if server.gpu_memory_utilization is not None and not 0 < server.gpu_memory_utilization <= 1:
        raise UsageError(f"gpu_memory_utilization is {server.gpu_memory_utilization}; it must lie between 0 and 1")
    if server.port is not None and not 1 <= server.port <= 65535:
        raise UsageError(f"port is {server.port}; it must lie between 1 and 65535")
    if not server.ready_timeout_seconds > 0:
        raise UsageError(f"ready_timeout_seconds is {server.ready_timeout_seconds}; it must be above 0")
    for argument in server.arguments:
        if argument.startswith("-") and _secret(argument.split("=")[0]):
            raise UsageError(
                f"{argument.split('=')[0]} would be written to config.yaml; a server started here listens on "
                "127.0.0.1 only and needs no key: drop it"
            )
    for name in server.environment:
        if _secret(name):
            raise UsageError(f"{name} would be written to config.yaml; export it in the shell, the server inherits it")


def _secret(name: str) -> bool:
    return _SECRET.search(name) is not None
