"""`/metrics` of the vllm dialect: those `vllm:` series that readers of speculative decoding use, under vLLM's names.

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


class VllmMetrics:
    """Counters, gauges and histograms of all engines of one server."""

    content_type = CONTENT_TYPE

    def __init__(self, options: EmbeddedOptions, service: Service) -> None:
        self.registry = CollectorRegistry()
        # With several engines vLLM runs several API servers and writes the sum of their processes.
        self._multiprocess = options.data_parallel_size > 1
        if not self._multiprocess:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)
        self._service = service
        self._engines = []
        if not options.disable_log_stats:
            families = _Families(self.registry, speculative=options.speculative)
            self._engines = [_EngineMetrics(families, options, index) for index in range(options.data_parallel_size)]
            service.watch(self._step, self._abort)

    def render(self) -> bytes:
        """The exposition at this moment."""
        for metrics, engine in zip(self._engines, self._service.engines, strict=False):
            metrics.running.set(engine.num_running)
            metrics.waiting.set(engine.num_waiting)
        return exposition.text(self.registry, multiprocess=self._multiprocess)

    def _step(self, report: StepReport) -> None:
        self._engines[report.engine].step(report)

    def _abort(self, sequence: Sequence) -> None:
        self._engines[sequence.engine].success["abort"].inc()


class _Families:
    """The metrics before they get their labels."""

    def __init__(self, registry: CollectorRegistry, *, speculative: bool) -> None:
        labels = ["model_name", "engine"]

        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(f"vllm:{name}", text, [*labels, *more], registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"vllm:{name}", text, labels, registry=registry)

        def seconds(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"vllm:{name}", text, labels, buckets=buckets, registry=registry)

        if speculative:
            self.drafts = counter("spec_decode_num_drafts", "Number of spec decoding drafts.")
            self.draft_tokens = counter("spec_decode_num_draft_tokens", "Number of draft tokens.")
            self.accepted = counter("spec_decode_num_accepted_tokens", "Number of accepted tokens.")
            self.per_position = counter(
                "spec_decode_num_accepted_tokens_per_pos", "Accepted tokens per draft position.", "position"
            )
        self.running = gauge("num_requests_running", "Number of requests in model execution batches.")
        self.waiting = gauge("num_requests_waiting", "Number of requests waiting to be processed.")
        self.prompt_tokens = counter("prompt_tokens", "Number of prefill tokens processed.")
        self.generation_tokens = counter("generation_tokens", "Number of generation tokens processed.")
        self.success = counter("request_success", "Count of finished requests.", "finished_reason")
        self.first_token = seconds("time_to_first_token_seconds", "Time to first token in seconds.", _FIRST_TOKEN)
        self.between = seconds("inter_token_latency_seconds", "Inter-token latency in seconds.", _BETWEEN_TOKENS)
        self.whole = seconds("e2e_request_latency_seconds", "End to end request latency in seconds.", _WHOLE_REQUEST)


class _EngineMetrics:
    """One engine's children of the families; they exist, at 0, from the start."""

    def __init__(self, families: _Families, options: EmbeddedOptions, index: int) -> None:
        labels = {"model_name": options.served_model_name, "engine": str(index)}
        self.running = families.running.labels(**labels)
        self.waiting = families.waiting.labels(**labels)
        self.success = {reason: families.success.labels(**labels, finished_reason=reason) for reason in _REASONS}
        self._prompt_tokens = families.prompt_tokens.labels(**labels)
        self._generation_tokens = families.generation_tokens.labels(**labels)
        self._first_token = families.first_token.labels(**labels)
        self._between = families.between.labels(**labels)
        self._whole = families.whole.labels(**labels)
        self._per_position: list[Counter] = []
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
        accepted = [0] * len(self._per_position)
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
        if drafts:
            self._drafts.inc(drafts)
            self._draft_tokens.inc(draft_tokens)
            self._accepted.inc(sum(accepted))
            for child, count in zip(self._per_position, accepted, strict=True):
                child.inc(count)

    def _finish(self, output: StepOutput) -> None:
        sequence = output.sequence
        self.success[output.finish_reason or "error"].inc()
        self._whole.observe((sequence.last_token or sequence.arrived) - sequence.arrived)
