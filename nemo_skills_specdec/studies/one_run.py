"""A study of one run: what `eval` and Python callers do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from nemo_skills_specdec.launch.start import Started, start_server
from nemo_skills_specdec.measurement.measure import Measurement
from nemo_skills_specdec.measurement.run_directory import held, prepare_directory, removed_if_empty
from nemo_skills_specdec.prompts.load import LoadedPrompts
from nemo_skills_specdec.studies.config import RunConfig, resolve
from nemo_skills_specdec.studies.execute import SERVER_LOG, Reporter, execute
from nemo_skills_specdec.studies.prompts import EMULATED, load_prompts

REQUEST_METRICS = "request-metrics"


def run_once(
    config: RunConfig, directory: Path, *, prompts: LoadedPrompts | None = None, reporter: Reporter | None = None
) -> Measurement:
    """Finds or starts the server that a config names, measures it, and leaves a run directory.

    Args:
        directory: made here; must not hold a run.
        prompts: sent instead of those that the config names.

    Raises:
        UsageError: the server, the prompts or the directory cannot be used.
        WriteError: the directory cannot be written, so nothing was measured.
    """
    reporter = reporter or Reporter()
    config = resolve(config)
    if prompts is None and config.benchmark.name != EMULATED:
        prompts = load_prompts(config.benchmark)
    prepare_directory(directory)
    with (
        removed_if_empty(directory),
        held(directory),
        serving(config, directory / SERVER_LOG, directory / REQUEST_METRICS, reporter) as started,
    ):
        return execute(config, started, directory, prompts=prompts, reporter=reporter)


def default_directory(name: str) -> Path:
    """A directory below `results` for something that starts now."""
    return Path("results") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name.replace('/', '-')}"


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
