"""`/metrics` of the vllm dialect: the `vllm:` series that matter for speculative decoding, under vLLM's names.

Without speculation there is no `vllm:spec_decode_*` series; with `disable_log_stats` there is no `vllm:` series at all.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from nemo_skills_specdec.embedded import exposition
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.sequence import Sequence, StepOutput, StepReport
from nemo_skills_specdec.embedded.service import Service

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"

_FIRST_TOKEN = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0,
    640.0, 2560.0,
)  # fmt: skip
_BETWEEN_TOKENS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_WHOLE_REQUEST = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
_REASONS = ("stop", "length", "abort", "error", "repetition")


class HttpCounter:
    """`http_requests_total`, which vLLM's HTTP layer counts whatever the engine's settings."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "http_requests",
            "Total number of requests by method, status and handler.",
            ["method", "status", "handler"],
            registry=registry,
        )

    def count(self, method: str, status: int, handler: str) -> None:
        """Counts one answered request."""
        self._requests.labels(method=method, status=f"{status // 100}xx", handler=handler).inc()


class VllmMetrics:
    """Counters, gauges and histograms of all engines of one server."""

    content_type = CONTENT_TYPE

    def __init__(self, options: EmbeddedOptions, service: Service) -> None:
        self.registry = CollectorRegistry()
        self.http = HttpCounter(self.registry)
        # With several engines vLLM runs several API servers and writes the sum of their processes.
        self._multiprocess = options.data_parallel_size > 1
        if not self._multiprocess:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self._engines = []
        if not options.disable_log_stats:
            families = _Families(self.registry, options, context=service.models.context)
            self._engines = [_EngineMetrics(families, options, index) for index in range(options.data_parallel_size)]
            service.watch(self._step, self._abort)
        self._service = service

    def render(self) -> bytes:
        """The exposition at this moment."""
        for metrics, engine in zip(self._engines, self._service.engines, strict=False):
            metrics.running.set(engine.num_running)
            metrics.waiting.set(engine.num_waiting)
            metrics.cache_usage.set(engine.tokens_in_use / (engine.models.context * self._service.options.max_num_seqs))
        return exposition.text(self.registry, multiprocess=self._multiprocess)

    def _step(self, report: StepReport) -> None:
        self._engines[report.engine].step(report)

    def _abort(self, sequence: Sequence) -> None:
        self._engines[sequence.engine].success["abort"].inc()


class _Families:
    """The metrics before they get their labels."""

    def __init__(self, registry: CollectorRegistry, options: EmbeddedOptions, *, context: int) -> None:
        labels = ["model_name", "engine"]

        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(f"vllm:{name}", text, [*labels, *more], registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"vllm:{name}", text, labels, registry=registry)

        def seconds(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"vllm:{name}", text, labels, buckets=buckets, registry=registry)

        def tokens(name: str, text: str) -> Histogram:
            buckets = exposition.buckets_up_to(context)
            return Histogram(f"vllm:{name}", text, labels, buckets=buckets, registry=registry)

        if options.speculative:
            self.drafts = counter("spec_decode_num_drafts", "Number of spec decoding drafts.")
            self.draft_tokens = counter("spec_decode_num_draft_tokens", "Number of draft tokens.")
            self.accepted = counter("spec_decode_num_accepted_tokens", "Number of accepted tokens.")
            self.per_position = counter(
                "spec_decode_num_accepted_tokens_per_pos", "Accepted tokens per draft position.", "position"
            )
        self.running = gauge("num_requests_running", "Number of requests in model execution batches.")
        self.waiting = gauge("num_requests_waiting", "Number of requests waiting to be processed.")
        self.cache_usage = gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.")
        self.prompt_tokens = counter("prompt_tokens", "Number of prefill tokens processed.")
        self.generation_tokens = counter("generation_tokens", "Number of generation tokens processed.")
        self.success = counter("request_success", "Count of finished requests.", "finished_reason")
        self.request_prompt = tokens("request_prompt_tokens", "Number of prefill tokens processed.")
        self.request_generation = tokens("request_generation_tokens", "Number of generation tokens processed.")
        self.request_max_tokens = tokens("request_params_max_tokens", "The max_tokens request parameter.")
        self.iteration_tokens = tokens("iteration_tokens_total", "Number of tokens per engine step.")
        self.first_token = seconds("time_to_first_token_seconds", "Time to first token in seconds.", _FIRST_TOKEN)
        self.between = seconds("inter_token_latency_seconds", "Inter-token latency in seconds.", _BETWEEN_TOKENS)
        self.per_token = seconds(
            "request_time_per_output_token_seconds", "Time per output token of a request.", _BETWEEN_TOKENS
        )
        self.whole = seconds("e2e_request_latency_seconds", "End to end request latency in seconds.", _WHOLE_REQUEST)
        self.queue = seconds("request_queue_time_seconds", "Time spent in WAITING phase.", _WHOLE_REQUEST)
        self.inference = seconds("request_inference_time_seconds", "Time spent in RUNNING phase.", _WHOLE_REQUEST)
        self.prefill = seconds("request_prefill_time_seconds", "Time spent in PREFILL phase.", _WHOLE_REQUEST)
        self.decode = seconds("request_decode_time_seconds", "Time spent in DECODE phase.", _WHOLE_REQUEST)


class _EngineMetrics:
    """One engine's children of the families; they exist, at 0, from the start."""

    def __init__(self, families: _Families, options: EmbeddedOptions, index: int) -> None:
        labels = {"model_name": options.served_model_name, "engine": str(index)}
        self.running = families.running.labels(**labels)
        self.waiting = families.waiting.labels(**labels)
        self.cache_usage = families.cache_usage.labels(**labels)
        self.success = {reason: families.success.labels(**labels, finished_reason=reason) for reason in _REASONS}
        self._prompt_tokens = families.prompt_tokens.labels(**labels)
        self._generation_tokens = families.generation_tokens.labels(**labels)
        self._request_prompt = families.request_prompt.labels(**labels)
        self._request_generation = families.request_generation.labels(**labels)
        self._request_max_tokens = families.request_max_tokens.labels(**labels)
        self._iteration_tokens = families.iteration_tokens.labels(**labels)
        self._first_token = families.first_token.labels(**labels)
        self._between = families.between.labels(**labels)
        self._per_token = families.per_token.labels(**labels)
        self._whole = families.whole.labels(**labels)
        self._queue = families.queue.labels(**labels)
        self._inference = families.inference.labels(**labels)
        self._prefill = families.prefill.labels(**labels)
        self._decode = families.decode.labels(**labels)
        self._speculative = options.speculative
        if options.speculative:
            self._drafts = families.drafts.labels(**labels)
            self._draft_tokens = families.draft_tokens.labels(**labels)
            self._accepted = families.accepted.labels(**labels)
            self._per_position = [
                families.per_position.labels(**labels, position=str(position))
                for position in range(options.draft_length)
            ]

    def step(self, report: StepReport) -> None:
        """Counts one engine step."""
        drafts = draft_tokens = generated = 0
        accepted = [0] * len(self._per_position) if self._speculative else []
        for output in report.outputs:
            generated += output.emitted
            if output.prefill:
                self._prompt_tokens.inc(output.sequence.prompt_length)
                self._first_token.observe(output.interval)
            else:
                self._between.observe(output.interval)
                if output.drafted:
                    drafts += 1
                    draft_tokens += output.drafted
                    for position in range(output.accepted):
                        accepted[position] += 1
            if output.finish_reason is not None:
                self._finish(output)
        self._generation_tokens.inc(generated)
        self._iteration_tokens.observe(generated + report.prefilled)
        if drafts:
            self._drafts.inc(drafts)
            self._draft_tokens.inc(draft_tokens)
            self._accepted.inc(sum(accepted))
            for child, count in zip(self._per_position, accepted, strict=True):
                child.inc(count)

    def _finish(self, output: StepOutput) -> None:
        sequence = output.sequence
        scheduled = sequence.scheduled or sequence.arrived
        first, last = sequence.first_token or scheduled, sequence.last_token or scheduled
        self.success[output.finish_reason or "error"].inc()
        self._request_prompt.observe(sequence.prompt_length)
        self._request_generation.observe(sequence.generated)
        self._request_max_tokens.observe(sequence.criteria.max_tokens)
        self._whole.observe(last - sequence.arrived)
        self._queue.observe(scheduled - sequence.arrived)
        self._inference.observe(last - scheduled)
        self._prefill.observe(first - scheduled)
        self._decode.observe(last - first)
        self._per_token.observe((last - first) / (sequence.generated - 1) if sequence.generated > 1 else 0.0)
