"""Conversations generated and measured: the part of the generation task that knows acceptance, and nothing of its base.

NeMo-Skills' own task provides everything else; `generation` puts the two together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from nemo_skills_specdec.client.faults import one_line
from nemo_skills_specdec.engines.base import EngineName
from nemo_skills_specdec.engines.fetch import API_KEY_VARIABLE, bearer
from nemo_skills_specdec.errors import ServerError, UsageError
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
from nemo_skills_specdec.evaluator.server_flags import VLLM_SERVERS
from nemo_skills_specdec.evaluator.summary import told_in_words
from nemo_skills_specdec.measurement.request_statistics import count_answer, request_extras
from nemo_skills_specdec.records import Finding, RequestRecord
from nemo_skills_specdec.redaction import redacted_options

LOG = logging.getLogger("nemo_skills.specdec")

_REJECTED = frozenset({400, 413, 422})
"""The server read the request and will never answer it: sending it again would not help."""
_TURN = "_specdec_request"


_Base: Any = object
"""At run time NeMo-Skills' task is the next base; what it is cannot be known here."""


class MeasuredConversations(_Base):  # type: ignore[misc]
    """What our generation task adds to NeMo-Skills' own, which comes after it in the order of its bases.

    Conversations are replayed turn by turn, the server is asked for statistics of every request, and a window is put
    around every attempt.
    """

    cfg: Any
    llm: Any
    semaphore: asyncio.Semaphore

    def __init__(self, cfg: Any) -> None:
        cfg.input_file = str(input_of(Path(str(cfg.input_file)), cfg.dataset_folder))
        server_type = str(cfg.server.get("server_type"))
        if server_type == "generic":
            # NeMo-Skills starts such a server and has no client for it; this one speaks to all that speak OpenAI's API.
            cfg.server["server_type"] = "vllm"
        if (given := cfg.server.get("base_url")) and isinstance(given, str) and given != "None":
            cfg.server["base_url"] = api_address(given)
        super().__init__(cfg)
        self.target = target_of(cfg, server_type, getattr(self.llm, "base_url", None))
        self.job: Job | None = None
        self.extras: dict[str, Any] = {}
        self.remarks: list[Finding] = []

    def load_data(self) -> list[Row]:
        """Checks the prepared rows, and brings each into the form of a conversation."""
        self.remarks = check_input(Path(self.cfg.input_file))
        return [{**row, "messages": conversation_of(row)} for row in super().load_data()]

    def skip_completed_samples(self, data: list[Row]) -> list[Row]:
        """Drops a row that was cut off while it was written before going on from the others."""
        if drop_torn_line(Path(f"{self.cfg.output_file}-async")):
            LOG.warning("the last row of the interrupted run was cut off while it was written; it is sent again")
        return cast("list[Row]", super().skip_completed_samples(data))

    def wait_for_server(self) -> None:
        """Waits for a server that was given by its address, too."""
        given = self.cfg.server.get("base_url")
        if given and str(given) != "None":
            wait_until_reachable(self.target, self.cfg.server_wait_seconds, LOG.warning)
        else:
            super().wait_for_server()

    async def async_loop(self, data: list[Row]) -> None:
        """Puts a window around the attempt, which is closed however it ends."""
        self.job = open_job(
            self.target,
            Path(self.cfg.output_file),
            planned_rows=len(data),
            longest_row=max((len(split_turns(conversation_of(row))) for row in data), default=0),
            concurrency=self.cfg.max_concurrent_requests,
            arguments=arguments_of(self.cfg),
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
        """Generates all turns of a conversation, one after the other."""
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
        """Sends one request that asks for statistics, and makes a record of it."""
        assert self.job is not None
        given = params.get("extra_body") or {}
        from omegaconf import OmegaConf  # type: ignore[import-not-found,unused-ignore]

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
            record.status, record.error = error.status_code, one_line(f"{type(error).__name__}: {error}")
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
        """Generates, and says at the end what it amounts to."""
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


def input_of(path: Path, dataset_folder: Any) -> Path:
    """The file of prompts: the one that was named or, without containers, that of the same name in its dataset folder.

    Without containers NeMo-Skills puts a folder of its own in place of the root of the code in a job: the current
    one or that of its installation, depending on its age. The prompts lie where the settings of the benchmark lay.
    """
    if path.exists() or not dataset_folder or str(dataset_folder) == "None":
        return path
    beside = Path(str(dataset_folder)) / path.name
    return beside if beside.exists() else path


def api_address(given: str) -> str:
    """The address of a server's OpenAI API: with a scheme, and with `/v1` where only the server itself is named."""
    address = given.strip().rstrip("/")
    if "://" not in address:
        address = f"http://{address}"
    return address if urlsplit(address).path else f"{address}/v1"


def server_url(server: Mapping[str, Any]) -> str:
    """The server's address from NeMo-Skills' `server` settings, in which a missing one may be the text `None`."""
    given = server.get("base_url")
    if isinstance(given, (list, tuple)):
        raise UsageError("several servers were given; acceptance is measured on one server at a time")
    if given and str(given) != "None":
        return str(given)
    return f"http://{server.get('host', '127.0.0.1')}:{server.get('port', 5000)}"


def target_of(cfg: Any, server_type: str, address: Any) -> Target:
    """The server to measure, from the settings of the task.

    Args:
        server_type: as NeMo-Skills was told.
        address: of the API, as its client has it.
    """
    server = cfg.server
    variable = server.get("api_key_env_var")
    key = server.get("api_key") or (os.environ.get(variable) if variable else None) or os.environ.get(API_KEY_VARIABLE)
    urls = [cfg.metrics_urls] if isinstance(cfg.metrics_urls, str) else list(cfg.metrics_urls or ())
    engine: EngineName | None = "vllm" if server_type in VLLM_SERVERS else None
    if server_type == "sglang":
        engine = "sglang"
    return Target(
        url=address if isinstance(address, str) and address else server_url(server),
        metrics_urls=tuple(str(url) for url in urls),
        headers=bearer(key),
        engine=engine,
        request_files=Path(str(cfg.request_metrics_dir)) if cfg.request_metrics_dir else None,
    )


def arguments_of(cfg: Any) -> dict[str, Any]:
    """What a reader of the results must know; nothing that could be a secret."""
    inference = cfg.inference
    names = ("temperature", "top_p", "top_k", "random_seed", "tokens_to_generate")
    extra = dict(inference.extra_body or {})
    return {
        "model": str(cfg.server.get("model")),
        **{name: getattr(inference, name) for name in names},
        "extra_body": redacted_options(
            {key: value for key, value in extra.items() if isinstance(value, (bool, int, float, str))}
        ),
        "max_concurrent_requests": cfg.max_concurrent_requests,
        "input_file": str(cfg.input_file),
        "max_samples": cfg.max_samples,
        "num_chunks": cfg.num_chunks,
        "chunk_id": cfg.chunk_id,
    }
