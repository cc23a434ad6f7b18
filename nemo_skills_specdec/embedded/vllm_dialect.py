"""Responses in vLLM's form (0.33), with its per-request statistics."""

from itertools import accumulate
from typing import Any

import msgspec

from nemo_skills_specdec.embedded.dialect import Body, Reply, body_head, fresh_name, truncation, usage, usage_so_far
from nemo_skills_specdec.embedded.logprobs import EmittedLogprob, chat_logprobs, completion_logprobs, sampled_first
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.protocol import GenerationRequest
from nemo_skills_specdec.embedded.sequence import Sequence, StepOutput
from nemo_skills_specdec.embedded.service import Service
from nemo_skills_specdec.embedded.vllm_metrics import VllmMetrics

VERSION = "0.33.0+embedded"
"""The vLLM whose form is imitated; the local part says that this is not it."""


class VllmDialect:
    """vLLM's names, bodies and chunks."""

    def __init__(self, options: EmbeddedOptions, service: Service) -> None:
        self.metrics: VllmMetrics | None = VllmMetrics(options, service)
        self._options = options
        self._service = service
        parallel = f"-dp{options.data_parallel_size}" if options.data_parallel_size > 1 else ""
        self._fingerprint = f"vllm-{VERSION}{parallel}-{options.method}-k{options.draft_length}"

    def names(self, request: GenerationRequest) -> tuple[str, list[str]]:
        """As vLLM: `chatcmpl-` or `cmpl-` and 16 digits; samples put their number before it."""
        reply_id = ("chatcmpl-" if request.chat else "cmpl-") + (request.request_id or fresh_name()[:16])
        if request.samples == 1:
            return reply_id, [reply_id]
        return reply_id, [f"{sample}_{reply_id}" for sample in range(request.samples)]

    def answer(self, reply: Reply) -> Body:
        """The body of a response that is not streamed."""
        sequences = reply.channel.sequences
        return {
            **body_head(reply, "chat.completion"),
            "choices": [self._choice(reply, index, sequence) for index, sequence in enumerate(sequences)],
            "service_tier": None,
            "system_fingerprint": self._fingerprint,
            "usage": {**usage(sequences), "prompt_tokens_details": None, "completion_tokens_details": None},
            "kv_transfer_params": None,
            "metrics": self._metrics(sequences, streamed=False),
            **truncation(sequences),
        }

    def opening(self, reply: Reply, index: int) -> Body | None:
        """The role, for a chat."""
        if not reply.request.chat:
            return None
        delta = {"role": "assistant", "content": ""}
        return self._chunk(reply, index, {"delta": delta, "logprobs": None, "finish_reason": None})

    def chunks(self, reply: Reply, index: int, output: StepOutput) -> list[Body]:
        """One chunk a step; the last one says why the text ended."""
        choice: dict[str, Any] = {"delta": {"content": output.text}} if reply.request.chat else {"text": output.text}
        choice |= {
            "logprobs": self._logprobs(reply, output.sequence, output.logprobs, output.generated),
            "finish_reason": output.finish_reason,
        }
        if output.finish_reason is not None or not reply.request.chat:
            choice["stop_reason"] = self._stop_reason(output.sequence)
        chunk = self._chunk(reply, index, {**choice, "token_ids": None})
        if reply.request.continuous_usage:
            chunk["usage"] = usage_so_far(output)
        return [chunk]

    def closing(self, reply: Reply) -> list[Body]:
        """Usage and statistics, if the client asked for usage."""
        if not reply.request.include_usage:
            return []
        sequences = reply.channel.sequences
        chunk = self._chunk(reply, 0, None) | {"usage": usage(sequences), "system_fingerprint": self._fingerprint}
        metrics = self._metrics(sequences, streamed=True)
        if metrics is not None:
            chunk["metrics"] = metrics
        return [chunk | truncation(sequences)]

    def answered(self, reply: Reply) -> None:
        """Nothing more happens in vLLM."""

    def _choice(self, reply: Reply, index: int, sequence: Sequence) -> dict[str, Any]:
        text = reply.channel.text(sequence)
        ending: Body = {"finish_reason": sequence.finish_reason, "stop_reason": self._stop_reason(sequence)}
        ending["logprobs"] = self._logprobs(reply, sequence, sequence.logprobs, sequence.generated)
        if not reply.request.chat:
            return {"index": index, "text": text, **ending, "token_ids": None}
        message: Body = {"role": "assistant", "content": text, "refusal": None, "tool_calls": [], "reasoning": None}
        return {"index": index, "message": message, **ending, "token_ids": None}

    def _logprobs(
        self, reply: Reply, sequence: Sequence, items: list[EmittedLogprob], generated: int
    ) -> dict[str, Any] | None:
        """Log-probabilities of the last of `generated` tokens."""
        count = reply.request.top_logprobs
        if count is None:
            return None
        tokenizer = self._service.models.tokenizer
        if reply.request.chat:
            return chat_logprobs([(item, sampled_first(item)[:count]) for item in items], tokenizer)
        lengths = [len(tokenizer.token_text(item.token)) for item in sequence.logprobs[:generated]]
        offsets = [0, *accumulate(lengths)][generated - len(items) : generated]
        return completion_logprobs([(item, sampled_first(item)) for item in items], tokenizer, offsets=offsets)

    def _chunk(self, reply: Reply, index: int, choice: dict[str, Any] | None) -> Body:
        return {
            **body_head(reply, "chat.completion.chunk"),
            "choices": [] if choice is None else [{"index": index, **choice}],
        }

    def _stop_reason(self, sequence: Sequence) -> str | int | None:
        # The model's own end token is no reason to vLLM; stop strings and stop_token_ids are.
        if isinstance(sequence.matched, int) and sequence.matched not in sequence.criteria.stop_token_ids:
            return None
        return sequence.matched

    def _metrics(self, sequences: list[Sequence], *, streamed: bool) -> dict[str, Any] | None:
        if self._options.per_request_stats == "none" or not self._options.speculative or len(sequences) > 1:
            return None
        statistics = speculative_decoding(sequences[0], self._options)
        if streamed:
            return {"speculative_decoding": {key: value for key, value in statistics.items() if value is not None}}
        times = ("time_to_first_token_ms", "generation_time_ms", "queue_time_ms", "mean_itl_ms", "tokens_per_second")
        return {**dict.fromkeys(times), "speculative_decoding": statistics}


def speculative_decoding(sequence: Sequence, options: EmbeddedOptions) -> dict[str, Any]:
    """vLLM's statistics of one request; steps without a draft are in none of them."""
    steps = [
        (drafted, accepted)
        for drafted, accepted in zip(sequence.steps.drafted, sequence.steps.accepted, strict=True)
        if drafted
    ]
    drafted = sum(count for count, _ in steps)
    accepted = sum(count for _, count in steps)
    detailed = options.per_request_stats == "detailed"
    return {
        "mean_acceptance_length": 1.0 + accepted / len(steps) if steps else 1.0,
        "draft_acceptance_rate": accepted / drafted if drafted else 0.0,
        "acceptance_histogram": sequence.steps.histogram(options.draft_length, undrafted=False),
        "num_spec_steps": len(steps),
        "num_accepted_draft_tokens": accepted,
        "num_draft_tokens": drafted,
        "num_spec_tokens": options.draft_length,
        "per_step_accepted": [count for _, count in steps] if detailed else None,
        "per_step_drafted": [count for count, _ in steps] if detailed else None,
    }


def error(message: str, kind: str, status: int) -> bytes:
    """An error body."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": status}})
