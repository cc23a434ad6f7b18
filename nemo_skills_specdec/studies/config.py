"""What one run is: model, method, server, benchmark, sampling and load, as files say it and as it is stored.

`config.yaml` of a run holds a resolved `RunConfig` and can be run again as it stands. Files of people may use the
shorter words `engine` and `generation`, and name a model by its path alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions
from nemo_skills_specdec.errors import JSON_ERRORS, UsageError
from nemo_skills_specdec.files import safe_name
from nemo_skills_specdec.launch.methods import Method, check_method
from nemo_skills_specdec.launch.options import ServerOptions, check_server
from nemo_skills_specdec.measurement.speed_options import SpeedOptions

OWN_MODEL = "default"
"""The model that an engine brings along: the embedded engine and llama.cpp do."""


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The target model.

    Attributes:
        name: for tables and folders; None takes the last part of the path.
        path: folder or Hub name.
        drafters: by method, a drafter for this model; where engines want different files, by engine.
        tensor_parallel_size: GPUs it needs, unless the server says another number.
    """

    path: str = OWN_MODEL
    name: str | None = None
    drafters: dict[str, str | dict[str, str]] = {}
    tensor_parallel_size: int | None = None
    max_model_len: int | None = None

    @property
    def label(self) -> str:
        """A short name."""
        return self.name or Path(self.path).name


class Benchmark(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prompts.

    Attributes:
        name: `mini`, `emulated`, or a prompt set made by `ns-specdec prepare`, such as `speed-bench` or `gsm8k`.
        config: of a prompt set that has several, such as `qualitative`.
        data_dir: the folder that was given when preparing.
        prompts: a file of prompts instead.
        column: the key of the prompt in that file; None looks for a known one.
        num_prompts: at most so many, taken in turn from the categories.
        prompt_tokens: length of an `emulated` prompt.
        seed: of `emulated` prompts.
    """

    name: str = "mini"
    config: str | None = None
    data_dir: str | None = None
    prompts: str | None = None
    column: str | None = None
    categories: list[str] = []
    limit_per_category: int | None = None
    num_prompts: int | None = None
    prompt_tokens: int | None = None
    seed: int = 0

    @property
    def label(self) -> str:
        """A short name."""
        if self.prompts is not None:
            return Path(self.prompts).stem
        return "-".join(str(part) for part in (self.name, self.config, self.prompt_tokens) if part)


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How answers are drawn; part of what must match before two runs are compared."""

    temperature: float = 0.0
    top_p: float | None = None
    max_tokens: int = 256
    seed: int | None = None
    n: int = 1
    ignore_eos: bool = False
    api: Literal["chat", "completions"] = "chat"
    stream: bool = True
    chat_template_kwargs: dict[str, Any] = {}
    extra_body: dict[str, Any] = {}
    logprobs: int | None = None


class Load(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How requests are sent; part of what must match before two runs are compared.

    Attributes:
        generator: `client` is our own. `guidellm` runs that program inside our window.
    """

    concurrency: int | None = None
    request_rate: float | None = None
    arrival: Literal["poisson", "constant"] = "poisson"
    max_seconds: float | None = None
    timeout_seconds: float = 600.0
    seed: int = 0
    generator: Literal["client", "guidellm"] = "client"
    guidellm_python: str | None = None

    @property
    def in_flight(self) -> int | None:
        """Prompts in flight at most: 8 unless the load says something."""
        return 8 if self.concurrency is None and self.request_rate is None else self.concurrency

    @property
    def label(self) -> str:
        """A short name, such as `c8` or `r2.5`."""
        parts = [f"c{self.in_flight}"] if self.in_flight is not None else []
        parts += [f"r{self.request_rate:g}"] if self.request_rate is not None else []
        return "-".join(parts)


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run.

    Attributes:
        warmup: requests sent before the window; None for as many as will be in flight.
        seed: of the intervals.
        max_failed: share of failed requests above which the numbers are invalid.
        speed: how speed is summed up.
        fresh_cache: whether the prefix cache of a running server is emptied before the run; one started here is empty.
        repeat: number of the repetition; runs that differ in nothing else show the spread from run to run. 0 sends the
            prompts as they are given, any other number shuffles them, each in its own way.
    """

    model: Model = Model()
    method: Method = Method()
    server: ServerOptions = ServerOptions()
    benchmark: Benchmark = Benchmark()
    sampling: Sampling = Sampling()
    load: Load = Load()
    warmup: int | None = None
    by_category: bool | None = None
    seed: int = 0
    max_failed: float = 0.05
    repeat: int = 0
    speed: SpeedOptions = SpeedOptions()
    fresh_cache: bool = False

    @property
    def label(self) -> str:
        """A short name for tables and folders."""
        parts = [self.model.label, self.server.engine, self.method.label, self.benchmark.label, self.load.label]
        if self.repeat:
            parts.append(f"repeat{self.repeat}")
        return "_".join(safe_name(part.replace("_", "-"), 40) for part in parts if part)


def resolve(config: RunConfig) -> RunConfig:
    """Fills in what the model says about drafter and size, and drops what this run does not use.

    Raises:
        UsageError: parts contradict each other, or the model names no drafter for the method on this engine.
    """
    model, method, server = config.model, config.method, config.server
    if method.name in model.drafters and method.draft_model is None:
        named = model.drafters[method.name]
        drafter = named if isinstance(named, str) else named.get(server.engine)
        if drafter is None:
            raise UsageError(
                f"{model.label} names no {method.name} drafter for {server.engine}; give method.draft_model"
            )
        method = msgspec.structs.replace(method, draft_model=drafter)
    if method.name not in ("none", "as_served"):
        method = msgspec.structs.replace(method, draft_length=method.length)
    own_drafter = server.engine in ("embedded", "llamacpp", "running")
    if not own_drafter:
        check_method(method)
        if model.path == OWN_MODEL:
            raise UsageError(f"{server.engine} comes without a model; give one, as a folder or Hub name")
    server = msgspec.structs.replace(
        server,
        tensor_parallel_size=server.tensor_parallel_size or model.tensor_parallel_size,
        max_model_len=server.max_model_len or model.max_model_len,
    )
    check_server(server)
    _check_load(config)
    return msgspec.structs.replace(config, model=Model(name=model.label, path=model.path), method=method, server=server)


def server_key(config: RunConfig) -> bytes:
    """Equal for runs that one server can serve one after the other."""
    return msgspec.json.encode([config.model, config.method, config.server], order="sorted")


def request_options(config: RunConfig, *, model: str) -> RequestOptions:
    """The client's part of the sampling."""
    fields = {name: getattr(config.sampling, name) for name in Sampling.__struct_fields__}
    return RequestOptions(model=model, **fields)


def load_options(config: RunConfig) -> LoadOptions:
    """The client's part of the load."""
    load = config.load
    return LoadOptions(
        concurrency=load.in_flight,
        request_rate=load.request_rate,
        arrival=load.arrival,
        timeout_seconds=load.timeout_seconds,
        max_seconds=load.max_seconds,
        seed=load.seed,
        ca_file=Path(config.server.ca_file) if config.server.ca_file is not None else None,
        insecure=config.server.insecure,
    )


def read_config(path: Path) -> RunConfig:
    """Reads one run from a YAML or JSON file.

    Raises:
        UsageError: it cannot be read, or holds a key that does not exist, which is named with its nearest relative.
    """
    return config_from(read_mapping(path), str(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a YAML or JSON file.

    Raises:
        UsageError: it cannot be read, or is no mapping.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give a YAML or JSON file") from error
    try:
        value = msgspec.json.decode(content)
    except JSON_ERRORS as error:
        if path.suffix == ".json":
            raise UsageError(f"{path} is not JSON ({error})") from error
        value = _yaml(content, path)
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds no keys; write e.g. `model: Qwen/Qwen2-7B-Instruct`")
    return value


def config_from(value: Mapping[str, Any], where: str) -> RunConfig:
    """A run from the keys that people write.

    Args:
        value: `model`, `method`, `server`, `benchmark`, `sampling`, `load` and the rest of `RunConfig`. `engine` may
            stand for `server` with `name` and `method` inside, `generation` for `sampling`; `model` may be a path.
        where: for messages.

    Raises:
        UsageError: a key does not exist, or a value has the wrong kind.
    """
    given = dict(value)
    if isinstance(given.get("model"), str):
        given["model"] = {"path": given["model"]}
    if isinstance(given.get("method"), str):
        given["method"] = {"name": given["method"]}
    for short, key in (("generation", "sampling"), ("engine", "server")):
        if short in given and key in given:
            raise UsageError(f"{where}: `{short}` and `{key}` mean the same; give one of them")
        if short in given:
            given[key] = given.pop(short)
    if isinstance(given.get("server"), str):
        given["server"] = {"engine": given["server"]}
    if isinstance(given.get("server"), dict):
        given |= _engine(dict(given["server"]), given.get("method"), where)
    if isinstance(given.get("benchmark"), str):
        given["benchmark"] = {"name": given["benchmark"]}
    _check_keys(RunConfig, given, where)
    try:
        return msgspec.convert(given, RunConfig)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {error}") from error


def needs_extra(what: str) -> UsageError:
    """The error for a missing package of the extra."""
    return UsageError(f"{what} needs more packages: pip install 'nemo-skills-specdec[experiments]'")


_SHORT = {"name": "engine", "engine_python": "python", "args": "arguments", "env": "environment"}
_METHOD_SHORT = {
    "num_speculative_tokens": "draft_length",
    "num_tokens": "draft_length",
    "draft_model": "draft_model",
    "draft_length": "draft_length",
    "prompt_lookup_max": "prompt_lookup_max",
    "prompt_lookup_min": "prompt_lookup_min",
    "ngram_prompt_lookup_max": "prompt_lookup_max",
    "ngram_prompt_lookup_min": "prompt_lookup_min",
    "draft_tensor_parallel_size": "draft_tensor_parallel_size",
    "eagle_topk": "topk",
    "topk": "topk",
    "num_draft_tokens": "num_draft_tokens",
}
"""Words for the method that people write among the engine's settings."""


def _engine(server: dict[str, Any], method: Any, where: str) -> dict[str, Any]:
    """Splits what people write under `engine` into server and method."""
    for short, key in _SHORT.items():
        if short in server:
            server[key] = server.pop(short)
    own: dict[str, Any] = {}
    if "method" in server:
        named = server.pop("method")
        own = dict(named) if isinstance(named, dict) else {"name": named}
    for short, key in _METHOD_SHORT.items():
        if short in server:
            own[key] = server.pop(short)
    if own and method is not None:
        raise UsageError(f"{where}: the method is described twice, under `method` and under the engine; give it once")
    return {"server": server, "method": own} if own else {"server": server}


def _check_keys(kind: Any, value: Mapping[str, Any], where: str, path: str = "") -> None:
    """Names an unknown key with its nearest relative, which msgspec's own message does not."""
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for key, inner in value.items():
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            advice = f"did you mean `{path}{close[0]}`?" if close else f"there are {', '.join(fields)}"
            raise UsageError(f"{where}: unknown key `{path}{key}`; {advice}")
        inner_kind = fields[key]
        if isinstance(inner, dict) and isinstance(inner_kind, type) and issubclass(inner_kind, msgspec.Struct):
            _check_keys(inner_kind, inner, where, f"{path}{key}.")


def _check_load(config: RunConfig) -> None:
    positive = {
        "load.concurrency": config.load.concurrency,
        "load.request_rate": config.load.request_rate,
        "load.max_seconds": config.load.max_seconds,
        "load.timeout_seconds": config.load.timeout_seconds,
        "sampling.max_tokens": config.sampling.max_tokens,
        "benchmark.num_prompts": config.benchmark.num_prompts,
        "benchmark.limit_per_category": config.benchmark.limit_per_category,
        "benchmark.prompt_tokens": config.benchmark.prompt_tokens,
        "warmup": config.warmup,
    }
    for name, value in positive.items():
        if value is not None and not value > 0:
            raise UsageError(f"{name} is {value}; it must be above 0")
    if config.sampling.temperature < 0:
        raise UsageError(f"sampling.temperature is {config.sampling.temperature}; it must not be negative")


def _yaml(content: bytes, path: Path) -> Any:
    try:
        return msgspec.yaml.decode(content)
    except ImportError as error:
        raise needs_extra(f"reading {path} (YAML)") from error
    except JSON_ERRORS as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path} is not YAML ({reason})") from error
