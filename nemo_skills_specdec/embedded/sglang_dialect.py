"""Responses in SGLang's form (0.5.23): OpenAI routes, server info, request-metric files."""

import time
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.embedded.dialect import Body, Reply, body_head, fresh_name, truncation, usage, usage_so_far
from nemo_skills_specdec.embedded.logprobs import EmittedLogprob, chat_logprobs, completion_logprobs
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.protocol import GenerationRequest
from nemo_skills_specdec.embedded.request_file_writer import RequestFileWriter
from nemo_skills_specdec.embedded.sequence import Sequence, StepOutput
from nemo_skills_specdec.embedded.service import Service
from nemo_skills_specdec.embedded.sglang_metrics import AcceptanceWindow, SglangMetrics, num_steps

VERSION = "0.5.23+embedded"
"""The SGLang whose form is imitated; the local part says that this is not it."""

REDACTED = "<redacted>"


class SglangDialect:
    """SGLang's names, bodies and chunks."""

    def __init__(self, options: EmbeddedOptions, service: Service) -> None:
        recorded = SglangMetrics(options, service)
        self.windows = recorded.windows
        self.metrics: SglangMetrics | None = None if options.disable_log_stats else recorded
        self.files = RequestFileWriter(Path(options.export_metrics_dir)) if options.export_metrics_dir else None
        self._options = options
        self._tokenizer = service.models.tokenizer

    def names(self, request: GenerationRequest) -> tuple[str, list[str]]:
        """32 digits, or the client's `rid`; several sequences get names of their own."""
        name = request.request_id or fresh_name()
        names = [name] if request.samples == 1 else [f"{name}_{fresh_name()}" for _ in range(request.samples)]
        return names[0], names

    def answer(self, reply: Reply) -> Body:
        """The body of a response that is not streamed."""
        sequences = reply.channel.sequences
        body: Body = {
            **body_head(reply, "chat.completion"),
            "choices": [self._choice(reply, index, sequence) for index, sequence in enumerate(sequences)],
            "usage": self._usage(sequences),
            "metadata": {"weight_version": "default"},
        }
        details = self._details(reply)
        if details is not None:
            body["sglext"] = {"spec_tokens_details": details}
        return body | truncation(sequences)

    def opening(self, reply: Reply, index: int) -> Body | None:
        """The role, for a chat."""
        if not reply.request.chat:
            return None
        delta = {"reasoning_content": None, "role": "assistant", "content": ""}
        return self._chunk(reply, index, {"delta": delta}, None)

    def chunks(self, reply: Reply, index: int, output: StepOutput) -> list[Body]:
        """One chunk a step; the end of a chat comes in a chunk of its own."""
        logprobs = self._logprobs(reply, output.logprobs)
        if reply.request.chat:
            text: dict[str, Any] = {"delta": {"reasoning_content": None, "content": output.text}, "logprobs": logprobs}
            chunks = []
            if output.text or output.logprobs or output.finish_reason is None:
                chunks.append(self._chunk(reply, index, text, None))
            if output.finish_reason is not None:
                chunks.append(self._chunk(reply, index, {"delta": {"reasoning_content": None}}, output.sequence))
        else:
            ended = output.sequence if output.finish_reason is not None else None
            chunks = [self._chunk(reply, index, {"text": output.text, "logprobs": logprobs}, ended)]
        if reply.request.continuous_usage:
            for chunk in chunks:
                chunk["usage"] = {**usage_so_far(output), "prompt_tokens_details": None, "reasoning_tokens": 0}
        return chunks

    def closing(self, reply: Reply) -> list[Body]:
        """Statistics and usage, each in a chunk of its own."""
        chunks = []
        details = self._details(reply)
        if details is not None:
            statistics = {"usage": None, "sglext": {"spec_tokens_details": details}}
            chunks.append(self._chunk(reply, 0, None, None) | statistics)
        if reply.request.include_usage:
            chunks.append(self._chunk(reply, 0, None, None) | {"usage": self._usage(reply.channel.sequences)})
        if chunks:
            chunks[-1] |= truncation(reply.channel.sequences)
        return chunks

    def answered(self, reply: Reply) -> None:
        """Queues the request's lines for the request-metric file."""
        if self.files is None:
            return
        for sequence in reply.channel.sequences:
            parameters: dict[str, Any] = {
                "rid": sequence.request_id,
                "input_ids": reply.request.prompt,
                "sampling_params": sampling_params(sequence, reply.request),
                "return_logprob": reply.request.top_logprobs is not None,
                "stream": reply.request.stream,
                "log_metrics": True,
                "received_time": sequence.arrived,
            }
            record = {"request_parameters": msgspec.json.encode(parameters).decode()}
            self.files.add(record | self.meta_info(sequence, reply) | {"response_sent_to_client_ts": time.time()})

    def meta_info(self, sequence: Sequence, reply: Reply) -> dict[str, Any]:
        """SGLang's account of one finished sequence; speculative fields only if it had a verify step."""
        begun = reply.received - sequence.arrived

        def clock(moment: float | None) -> float | None:
            return None if moment is None else begun + moment

        reason: dict[str, Any] | None = None
        if sequence.finish_reason == "length":
            reason = {"type": "length", "length": sequence.generated}
        elif sequence.finish_reason is not None:
            reason = {"type": sequence.finish_reason, "matched": sequence.matched}
        information: dict[str, Any] = {
            "id": sequence.request_id,
            "finish_reason": reason,
            "prompt_tokens": sequence.prompt_length,
            "weight_version": "default",
            "num_retractions": 0,
            "forward_entry_time": clock(sequence.scheduled),
            "prefill_finished_time": clock(sequence.first_token),
            "queue_time": (sequence.scheduled or sequence.arrived) - sequence.arrived,
            "reasoning_tokens": 0,
            "completion_tokens": sequence.generated,
            "cached_tokens": 0,
            "cached_tokens_details": None,
            "dp_rank": sequence.engine if self._options.data_parallel_size > 1 else None,
            **({"truncated_prompt_tokens": sequence.truncated} if sequence.truncated else {}),
        }
        if sequence.finish_reason is None:
            return information
        first, last = sequence.first_token or sequence.arrived, sequence.last_token or sequence.arrived
        information["e2e_latency"] = last - sequence.arrived
        if self._options.speculative and len(sequence.steps.step):
            information |= speculative_fields(sequence, self._options)
        information |= {
            "request_received_ts": reply.received,
            "first_token_latency": first - sequence.arrived,
            "request_finished_ts": clock(last),
        }
        if last > first:
            information["decode_throughput"] = (sequence.generated - 1) / (last - first)
        return information

    def _choice(self, reply: Reply, index: int, sequence: Sequence) -> dict[str, Any]:
        text = reply.channel.text(sequence)
        logprobs = self._logprobs(reply, sequence.logprobs)
        ending = {"logprobs": logprobs, "finish_reason": sequence.finish_reason, "matched_stop": sequence.matched}
        if not reply.request.chat:
            return {"index": index, "text": text, **ending}
        message = {"role": "assistant", "content": text, "reasoning_content": None, "tool_calls": None}
        choice: dict[str, Any] = {"index": index, "message": message, **ending}
        if reply.request.meta_info:
            choice["meta_info"] = self.meta_info(sequence, reply)
        return choice

    def _logprobs(self, reply: Reply, items: list[EmittedLogprob]) -> dict[str, Any] | None:
        count = reply.request.top_logprobs
        if count is None:
            return None
        pairs = [(item, item.top) for item in items]
        if reply.request.chat:
            return chat_logprobs(pairs, self._tokenizer)
        # SGLang knows no places in the text, and without top tokens writes an empty list.
        body = completion_logprobs(pairs, self._tokenizer, offsets=[-1] * len(items))
        return body if count else {**body, "top_logprobs": []}

    def _chunk(self, reply: Reply, index: int, choice: dict[str, Any] | None, ended: Sequence | None) -> Body:
        ending = {
            "finish_reason": ended.finish_reason if ended else None,
            "matched_stop": ended.matched if ended else None,
        }
        return {
            **body_head(reply, "chat.completion.chunk"),
            "choices": [] if choice is None else [{"index": index, "logprobs": None, **choice, **ending}],
        }

    def _usage(self, sequences: list[Sequence]) -> dict[str, Any]:
        return {**usage(sequences), "prompt_tokens_details": None, "reasoning_tokens": 0}

    def _details(self, reply: Reply) -> dict[str, Any] | list[dict[str, Any] | None] | None:
        if not reply.request.spec_tokens_details or not self._options.speculative:
            return None
        details = [
            {
                **speculative_fields(sequence, self._options),
                "spec_cap_length": 0.0,
                "spec_block_accept_length": 0.0,
                "spec_cap_lens_histogram": [],
            }
            if len(sequence.steps.step)
            else None
            for sequence in reply.channel.sequences
        ]
        return details[0] if len(details) == 1 else details


def speculative_fields(sequence: Sequence, options: EmbeddedOptions) -> dict[str, Any]:
    """SGLang's statistics of one sequence: every step counts, each with K - 1 proposed tokens.

    In a tree these are all nodes but the root, and the histogram counts the depth of the accepted path.
    """
    steps = len(sequence.steps.step)
    accepted = sum(sequence.steps.accepted)
    proposed = steps * options.proposed
    histogram = sequence.steps.histogram(options.positions, undrafted=True)
    while len(histogram) > 1 and histogram[-1] == 0:
        histogram.pop()
    return {
        "spec_accept_rate": accepted / proposed,
        "spec_accept_length": sequence.generated / steps,
        "spec_num_correct_drafts": accepted,
        "spec_num_proposed_drafts": proposed,
        "spec_verify_ct": steps,
        "spec_correct_drafts_histogram": histogram,
    }


def sampling_params(sequence: Sequence, request: GenerationRequest) -> dict[str, Any]:
    """The settings as SGLang writes them into its files."""
    return {
        "temperature": sequence.params.temperature,
        "max_new_tokens": sequence.criteria.max_tokens,
        "stop": list(sequence.criteria.stop) or None,
        "stop_token_ids": list(sequence.criteria.stop_token_ids) or None,
        "top_p": sequence.params.top_p,
        "top_k": sequence.params.top_k or -1,
        "min_p": sequence.params.min_p,
        "n": request.samples,
        "ignore_eos": sequence.criteria.ignore_eos,
        "sampling_seed": request.seed,
    }


def server_info(options: EmbeddedOptions, service: Service, windows: list[AcceptanceWindow]) -> Body:
    """Body of `GET /server_info`: resolved arguments, version, one internal state an engine; no secret."""
    algorithms = {"draft_model": "STANDALONE", "ngram": "NGRAM", "none": None}
    served = options.served_model_name
    resolved: Body = {
        "model_path": served,
        "served_model_name": served,
        "host": options.host,
        "api_key": REDACTED if options.api_key else None,
        "admin_api_key": None,
        "device": "cpu",
        "dtype": "float32",
        "context_length": service.models.context,
        "tp_size": 1,
        "dp_size": options.data_parallel_size,
        "max_running_requests": options.max_num_seqs,
        "random_seed": options.seed,
        "disable_overlap_schedule": True,
        "enable_metrics": not options.disable_log_stats,
        "export_metrics_to_file": options.export_metrics_dir is not None,
        "export_metrics_to_file_dir": options.export_metrics_dir,
        "decode_log_interval": options.decode_log_interval,
        "speculative_algorithm": algorithms[options.method],
        "speculative_draft_model_path": f"{served}-draft" if options.method == "draft_model" else None,
        "speculative_num_steps": num_steps(options),
        "speculative_eagle_topk": (options.tree.breadth if options.tree else 1) if options.speculative else None,
        "speculative_num_draft_tokens": options.proposed + 1 if options.speculative else None,
        "speculative_accept_threshold_single": 1.0,
        "speculative_accept_threshold_acc": 1.0,
        "speculative_adaptive": False,
    }
    states = []
    for engine, window in zip(service.engines, windows, strict=True):
        state = {**resolved, "memory_usage": {"token_capacity": service.models.context * options.max_num_seqs}}
        if options.speculative and window.lifetime_length is not None:
            state["avg_spec_accept_length"] = window.lifetime_length
        states.append(state | {"truncated_prompts": engine.truncated_prompts})
    return {
        **resolved,
        "status": "ready",
        "max_total_num_tokens": service.models.context * options.max_num_seqs,
        "max_req_input_len": service.models.context,
        "truncated_prompts": sum(engine.truncated_prompts for engine in service.engines),
        "internal_states": states,
        "version": VERSION,
    }
