"""NeMo-Skills' generation task, `GENERATION_MODULE = "nemo_skills_specdec.evaluator.generation"`.

    python -m nemo_skills_specdec.evaluator.generation ++input_file=... ++output_file=... ++server.server_type=vllm ...

It replays conversations turn by turn, asks the server for statistics of every request, and puts a window around every
attempt. Everything that knows NeMo-Skills is built when it is first asked for; the features of the NeMo-Skills found,
not its version, decide how.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from nemo_skills_specdec.engines.fetch import API_KEY_VARIABLE, bearer
from nemo_skills_specdec.errors import ServerError, SpecdecError, UsageError
from nemo_skills_specdec.evaluator.conversation import check_input, conversation_of, identity_of, split_turns, together
from nemo_skills_specdec.evaluator.job import (
    Job,
    Target,
    as_sent,
    close_job,
    conclude_job,
    open_job,
    wait_until_reachable,
)
from nemo_skills_specdec.evaluator.rows import Row, drop_torn_line, stamps_of
from nemo_skills_specdec.evaluator.server_flags import with_statistics
from nemo_skills_specdec.evaluator.summary import told_in_words
from nemo_skills_specdec.measurement.request_statistics import count_answer, request_extras
from nemo_skills_specdec.records import Finding, RequestRecord

LOG = logging.getLogger("nemo_skills.specdec")

_REJECTED = frozenset({400, 413, 422})
"""The server read the request and will never answer it: sending it again would not help."""
_TURN = "_specdec_request"


def __getattr__(name: str) -> Any:
    if name == "GENERATION_TASK_CLASS":
        return task_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def register_package() -> None:
    """Has NeMo-Skills take this package along to containers: from a checkout the repository, else the package itself.

    Does nothing where there is no NeMo-Skills that could.
    """
    try:
        from nemo_skills.pipeline.utils import packager
    except ImportError:
        return
    package = Path(__file__).parents[1]
    checkout = package.parent if (package.parent / ".git").exists() else package
    if "nemo_skills_specdec" not in packager.EXTERNAL_REPOS:
        packager.register_external_repo(packager.RepoMetadata(name="nemo_skills_specdec", path=checkout))


def evaluates_in_own_process() -> bool:
    """Whether this NeMo-Skills evaluates outputs in a process of its own, which then must be told to leave them."""
    from importlib.util import find_spec

    try:
        return find_spec("nemo_skills.evaluation.evaluate_results") is not None
    except ImportError:
        return False


def server_url(server: Mapping[str, Any]) -> str:
    """The server's address from NeMo-Skills' `server` settings, in which a missing one may be the text `None`."""
    given = server.get("base_url")
    if isinstance(given, (list, tuple)):
        raise UsageError("several servers were given; acceptance is measured on one server at a time")
    if given and str(given) != "None":
        return str(given)
    return f"http://{server.get('host', '127.0.0.1')}:{server.get('port', 5000)}"


def server_command(build: Callable[..., tuple[str, int]]) -> Callable[..., tuple[str, int]]:
    """NeMo-Skills' builder of server commands, with the flags that make the server tell what it accepts."""

    def build_with_statistics(
        *positional: Any, server_args: str = "", cluster_config: Any = None, **rest: Any
    ) -> tuple[str, int]:
        executor = (cluster_config or {}).get("executor")
        files = tempfile.mkdtemp(prefix="sglang-request-metrics-") if executor == "none" else None
        if executor in ("local", "slurm"):
            # Where the containers of one job see the job's own folder.
            files = f"/nemo_run/sglang-request-metrics-{uuid4().hex[:8]}"
        arguments = with_statistics(rest.get("server_type", ""), server_args, files)
        return build(*positional, server_args=arguments, cluster_config=cluster_config, **rest)

    return build_with_statistics


@cache
def _config_class() -> type:
    from hydra.core.config_store import ConfigStore
    from nemo_skills.inference import generate
    from nemo_skills.utils import nested_dataclass

    base: Any = getattr(generate, "GenerationTaskConfig", None) or generate.GenerateSolutionsConfig

    @nested_dataclass(kw_only=True)  # type: ignore[untyped-decorator,unused-ignore]
    class SpecdecConfig(base):  # type: ignore[misc]
        prompt_format: str = "openai"
        max_concurrent_requests: int = 32
        metrics_urls: Any = None
        request_metrics_dir: Any = None
        server_wait_seconds: float = 600.0

        def _post_init_validate_params(self) -> None:
            if self.prompt_format != "openai" or self.prompt_config is not None:
                raise UsageError("prompts are sent as they are; drop ++prompt_format and ++prompt_config")
            endpoint = str(getattr(self.inference.endpoint_type, "value", self.inference.endpoint_type))
            if endpoint.rpartition(".")[2] != "chat":
                raise UsageError("conversations need the chat API; drop ++inference.endpoint_type")
            if self.code_execution or self.tool_modules or self.parallel_thinking.mode:
                raise UsageError("code execution, tools and parallel thinking change what is sent; drop them")
            super()._post_init_validate_params()

    ConfigStore.instance().store(name="specdec_generation", node=SpecdecConfig)
    return cast(type, SpecdecConfig)


@cache
def task_class() -> type:
    """NeMo-Skills' generation task with our window around it."""
    from nemo_skills.inference.generate import GenerationTask
    from omegaconf import OmegaConf  # type: ignore[import-not-found,unused-ignore]

    class SpecdecTask(GenerationTask):  # type: ignore[misc]
        """Generates, and says how many drafts were accepted on the way."""

        def __init__(self, cfg: Any) -> None:
            super().__init__(cfg)
            self.target = _target(cfg, getattr(self.llm, "base_url", None))
            self.job: Job | None = None
            self.extras: dict[str, Any] = {}
            self.remarks: list[Finding] = []

        def load_data(self) -> list[Row]:
            self.remarks = check_input(Path(self.cfg.input_file))
            return [{**row, "messages": conversation_of(row)} for row in super().load_data()]

        def skip_completed_samples(self, data: list[Row]) -> list[Row]:
            if drop_torn_line(Path(f"{self.cfg.output_file}-async")):
                LOG.warning("the last row of the interrupted run was cut off while it was written; it is sent again")
            return cast("list[Row]", super().skip_completed_samples(data))

        def wait_for_server(self) -> None:
            given = self.cfg.server.get("base_url")
            if given and str(given) != "None":
                wait_until_reachable(self.target, self.cfg.server_wait_seconds, LOG.warning)
            else:
                super().wait_for_server()

        async def async_loop(self, data: list[Row]) -> None:
            self.job = open_job(
                self.target,
                Path(self.cfg.output_file),
                planned_rows=len(data),
                longest_row=max((len(split_turns(conversation_of(row))) for row in data), default=0),
                concurrency=self.cfg.max_concurrent_requests,
                arguments=_arguments(self.cfg),
                remarks=self.remarks,
            )
            self.extras = request_extras(self.job.info, stream=False)
            self.places = asyncio.Semaphore(self.cfg.max_concurrent_requests)
            try:
                await super().async_loop(data)
            except BaseException:
                close_job(self.job, "cut_off")
                raise
            close_job(self.job, "complete")

        async def process_single_datapoint(self, data_point: Row, all_data: list[Row], **rest: Any) -> Row:
            # All rows are started at once. One place a row keeps its turns together, so that few rows are in progress
            # when the job is interrupted.
            async with self.places:
                return await self._converse(data_point, all_data, **rest)

        async def _converse(self, data_point: Row, all_data: list[Row], **rest: Any) -> Row:
            question_id, category = identity_of(data_point)
            messages: list[dict[str, str]] = []
            records: list[RequestRecord] = []
            results: list[Row] = []
            for number, added in enumerate(split_turns(conversation_of(data_point))):
                messages += added
                result = await super().process_single_datapoint({"messages": messages}, all_data, **rest)
                record: RequestRecord = result.pop(_TURN)
                record.question_id, record.category, record.turn = question_id, category, number
                records.append(record)
                results.append(result)
                if record.error is not None:
                    break
                messages.append({"role": "assistant", "content": record.generation})
            row = results[0] if len(results) == 1 else together(results)
            row.update(stamps_of(records), question_id=question_id, category=category, subset_for_metrics=category)
            errors = [f"turn {record.turn}: {record.error}" for record in records if record.error is not None]
            return row | ({"error": "; ".join(errors)} if errors else {})

        async def generate_with_semaphore(self, **params: Any) -> Row:
            assert self.job is not None
            given = params.get("extra_body") or {}
            own = OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else dict(given)
            params |= {"include_response": True, "extra_body": {**self.extras, **cast("dict[str, Any]", own)}}
            queued = time.time()
            async with self.semaphore:
                start = time.time()
                try:
                    result: Row = await self.llm.generate_async(**params)
                except Exception as error:
                    if getattr(error, "status_code", None) not in _REJECTED:
                        raise
                    result = {"generation": "", "num_generated_tokens": 0, "error": error}
                end = time.time()
            record = self._record(result)
            record.start_time, record.end_time, record.queue_seconds = start, end, start - queued
            return {**result, _TURN: record}

        def _record(self, result: Row) -> RequestRecord:
            assert self.job is not None
            record = RequestRecord(question_id="", category="", turn=0, generation=result["generation"])
            error, response = result.pop("error", None), result.pop("response", None)
            if error is not None:
                record.status, record.error = error.status_code, _one_line(error)
                return record
            told: dict[str, Any] = response.model_dump() if response is not None else {}
            usage = told.get("usage") or {}
            record.status, record.response_id = 200, told.get("id")
            record.reasoning = result.get("reasoning_content")
            record.finish_reason = result.get("finish_reason")
            record.prompt_tokens = usage.get("prompt_tokens")
            record.completion_tokens = usage.get("completion_tokens", result["num_generated_tokens"])
            problem = count_answer(record, as_sent(told), self.job.info)
            if problem is not None:
                self.job.kept.contradictions.append(problem)
            if record.counts is None and self.job.blind is not None and (record.completion_tokens or 0) > 1:
                raise ServerError(f"neither the responses nor the metrics report acceptance: {self.job.blind}")
            return record

        def generate(self) -> None:
            super().generate()
            if self.cfg.dry_run:
                return
            output = Path(self.cfg.output_file)
            if not output.exists():
                # A chunk whose merged output is there already.
                LOG.warning("%s is not there: its rows were merged before, nothing is left to do", output.name)
                return
            result, averages, *remarks = told_in_words(conclude_job(output, self.target))
            LOG.info(result)
            LOG.info(averages)
            for remark in remarks:
                LOG.warning(remark)

    def get_server_command_fn() -> Callable[..., tuple[str, int]]:
        from nemo_skills.pipeline.utils import get_server_command

        return server_command(get_server_command)

    # NeMo-Skills refuses to group jobs whose task has a builder of its own, because a group shares one server and it
    # would not know whose builder to take. Ours only adds flags, and a server with or without them serves every task,
    # so it goes by the name of the original.
    get_server_command_fn.__func__ = GenerationTask.get_server_command_fn.__func__  # type: ignore[attr-defined]
    SpecdecTask.get_server_command_fn = staticmethod(get_server_command_fn)
    return SpecdecTask


def main() -> None:
    """Runs the task as NeMo-Skills starts it: what the user can mend is one line on stderr, without a traceback."""
    import hydra
    from nemo_skills.inference.model import server_params
    from nemo_skills.utils import get_help_message, setup_logging

    config, task = _config_class(), task_class()
    if "--help" in sys.argv or "-h" in sys.argv:
        print(get_help_message(config, server_params=server_params()))
        return
    setup_logging()

    @hydra.main(version_base=None, config_name="specdec_generation")  # type: ignore[untyped-decorator,unused-ignore]
    def run(settings: Any) -> None:
        try:
            task(config(_init_nested=True, **settings)).generate()
        except SpecdecError as error:
            _give_up(str(error), 2)
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("litellm", "openai", "httpx"):
                raise
            _give_up(
                f"a request failed: {_one_line(error)}; finished rows are kept; run the same command again to resume", 1
            )

    run()


def _give_up(message: str, code: int) -> None:
    # A progress bar may have left its line open.
    print(f"\nnemo_skills_specdec: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


def _one_line(error: BaseException) -> str:
    from nemo_skills_specdec.client.faults import one_line

    return one_line(f"{type(error).__name__}: {error}")


def _target(cfg: Any, address: Any) -> Target:
    server = cfg.server
    variable = server.get("api_key_env_var")
    key = server.get("api_key") or (os.environ.get(variable) if variable else None) or os.environ.get(API_KEY_VARIABLE)
    urls = [cfg.metrics_urls] if isinstance(cfg.metrics_urls, str) else list(cfg.metrics_urls or ())
    engine = {"vllm": "vllm", "vllm_multimodal": "vllm", "sglang": "sglang"}.get(str(server.get("server_type")))
    return Target(
        url=address if isinstance(address, str) and address else server_url(server),
        metrics_urls=tuple(str(url) for url in urls),
        headers=bearer(key),
        engine=engine,
        request_files=Path(str(cfg.request_metrics_dir)) if cfg.request_metrics_dir else None,
    )


def _arguments(cfg: Any) -> dict[str, Any]:
    """What a reader of the results must know; nothing that could be a secret."""
    inference = cfg.inference
    names = ("temperature", "top_p", "top_k", "random_seed", "tokens_to_generate")
    extra = dict(inference.extra_body or {})
    return {
        "model": str(cfg.server.get("model")),
        **{name: getattr(inference, name) for name in names},
        "extra_body": {key: value for key, value in extra.items() if isinstance(value, (bool, int, float, str))},
        "max_concurrent_requests": cfg.max_concurrent_requests,
        "input_file": str(cfg.input_file),
        "max_samples": cfg.max_samples,
        "num_chunks": cfg.num_chunks,
        "chunk_id": cfg.chunk_id,
    }


if __name__ == "__main__":
    main()
