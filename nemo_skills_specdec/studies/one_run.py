"""A study of one run: what `eval` and Python callers do."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nemo_skills_specdec.errors import WriteError
from nemo_skills_specdec.files import safe_name
from nemo_skills_specdec.launch.options import ServerOptions
from nemo_skills_specdec.launch.start import Started, start_server
from nemo_skills_specdec.measurement.measure import Measurement
from nemo_skills_specdec.measurement.run import Run, load_run
from nemo_skills_specdec.measurement.run_directory import held, prepare_directory, removed_if_empty
from nemo_skills_specdec.prompts.load import LoadedPrompts
from nemo_skills_specdec.prompts.rows import is_prompt_file
from nemo_skills_specdec.records import PromptRow
from nemo_skills_specdec.studies.config import Load, RunConfig, Sampling, config_from, resolve
from nemo_skills_specdec.studies.execute import SERVER_LOG, Reporter, execute
from nemo_skills_specdec.studies.prompts import EMULATED, load_prompts
from nemo_skills_specdec.studies.stored_config import with_secrets

REQUEST_METRICS = "request-metrics"


def run_once(
    config: RunConfig, directory: Path, *, prompts: LoadedPrompts | None = None, reporter: Reporter | None = None
) -> Measurement:
    """Finds or starts the server that a config names, measures it, and leaves a run directory.

    Args:
        directory: made here; if it holds an unfinished run of the same config, that is resumed.
        prompts: sent instead of those that the config names.

    Raises:
        UsageError: the server, the prompts or the directory cannot be used.
        WriteError: the directory cannot be written, so nothing was measured.
    """
    reporter = reporter or Reporter()
    config = with_secrets(resolve(config), os.environ)
    if prompts is None and config.benchmark.name != EMULATED:
        prompts = load_prompts(config.benchmark)
    prepare_directory(directory)
    with (
        removed_if_empty(directory),
        held(directory),
        serving(config, directory / SERVER_LOG, directory / REQUEST_METRICS, reporter) as started,
    ):
        return execute(config, started, directory, prompts=prompts, reporter=reporter)


def evaluate(
    url: str,
    prompts: str | Path | Sequence[PromptRow] = "mini",
    *,
    output_dir: Path | str | None = None,
    **options: Any,
) -> Run:
    """Measures a running server, as `ns-specdec eval --server-url` does, and leaves a run directory.

    An API key is taken from the environment variable `SPECDEC_API_KEY`, never from an argument.

    Args:
        url: base URL of the server, with or without `/v1`.
        prompts: `mini`, a prompt set made by `ns-specdec prepare`, a file of prompts, or rows of `load_prompts`.
        output_dir: run directory; None takes `results/<time>-<name>`.
        options: of requests (`max_tokens`, `temperature`, `top_p`, `seed`, `n`, `api`, `stream`, `extra_body` and the
            other fields of `Sampling`), of the load (`concurrency`, `request_rate` in prompts a second,
            `timeout_seconds` and the other fields of `Load`), of the server (`metrics_urls`, `server_type`,
            `request_files`), and `model`, `warmup`, `by_category`.

    Raises:
        UsageError: an option does not exist, or the server, the prompts or the directory cannot be used.
        WriteError: the run could not be written; the message says where it is.
    """
    config = _config_of(url, prompts, options)
    name = config.benchmark.label
    loaded = None
    if not isinstance(prompts, str | Path):
        name, loaded = "rows", LoadedPrompts(name="rows", rows=list(prompts), findings=[])
    directory = Path(output_dir) if output_dir is not None else default_directory(name)
    measurement = run_once(config, directory, prompts=loaded)
    if measurement.not_written is not None:
        raise WriteError(measurement.not_written)
    return load_run(directory)


def _config_of(url: str, prompts: str | Path | Sequence[PromptRow], options: Mapping[str, Any]) -> RunConfig:
    """The run that these options describe; each goes where its name is a field."""
    kinds = {"sampling": Sampling, "load": Load, "server": ServerOptions}
    content: dict[str, Any] = {"server": {"engine": "running", "url": url}, "method": {"name": "as_served"}}
    if isinstance(prompts, Path) or (isinstance(prompts, str) and is_prompt_file(prompts)):
        content["benchmark"] = {"prompts": str(prompts)}
    elif isinstance(prompts, str):
        content["benchmark"] = {"name": prompts}
    for name, value in options.items():
        home = next((part for part, kind in kinds.items() if name in kind.__struct_fields__), None)
        if home is None:
            content[name] = value
        else:
            content[home] = {**content.get(home, {}), name: value}
    return config_from(content, "evaluate")


def default_directory(name: str) -> Path:
    """A directory below `results` for something that starts now."""
    return Path("results") / f"{time.strftime('%Y%m%d-%H%M%S')}-{safe_name(name)}"


@contextlib.contextmanager
def serving(config: RunConfig, log: Path, request_files: Path, reporter: Reporter) -> Iterator[Started]:
    """The server that a config names: the one that runs, or one started here and stopped afterwards."""
    with contextlib.ExitStack() as stack:
        if config.server.engine == "running":
            reporter = Reporter()
        with reporter.waiting(f"starting {config.server.engine} for {config.method.label}") as on_wait:
            started = stack.enter_context(
                start_server(
                    config.model.path,
                    config.method,
                    config.server,
                    log=log,
                    request_files=request_files,
                    on_wait=on_wait,
                )
            )
        for remark in started.remarks:
            reporter.say(remark)
        yield started
