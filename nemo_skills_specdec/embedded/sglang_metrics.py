"""`/metrics` of the sglang dialect: the `sglang:` series of SGLang 0.5.23, with its ways.

Two kinds of series, as there. Tokenizer series change when a request ends; `spec_verify_calls_total` does not exist
before the first. Scheduler series change with the decode iterations: `realtime_tokens_total` in every one, the
`spec_accept_*` gauges only in every `decode_log_interval`-th, when they become the mean since the last such tick; they
are never reset. Every step of a speculative server is a verify call with K - 1 proposed tokens, also where the n-gram
drafter had no match: SGLang fills such a draft with padding that is never accepted.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from nemo_skills_specdec.embedded import exposition
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.embedded.sequence import Sequence, StepOutput, StepReport
from nemo_skills_specdec.embedded.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY = (
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0, 600.0, 1200.0,
    1800.0, 2400.0,
)  # fmt: skip
_BETWEEN_TOKENS = (
    0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0,
    2.0, 4.0, 6.0, 8.0,
)  # fmt: skip


def num_steps(options: EmbeddedOptions) -> int | None:
    """`speculative_num_steps`: draft length, but for NGRAM the tree's depth bound K, one more than the draft length."""
    if not options.speculative:
        return None
    return options.draft_length + 1 if options.method == "ngram" else options.positions


class AcceptanceWindow:
    """The scheduler's running sums: since the last tick for the gauges, since the last flush for the lifetime value.

    Attributes:
        lifetime_length: (accepted + steps) / steps since start or flush, as of the last tick; None before it.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._iterations = 0
        self._accepted = self._steps = 0
        self._all_accepted = self._all_steps = 0
        self.lifetime_length: float | None = None

    def iteration(self, accepted: int, steps: int) -> tuple[float, float] | None:
        """Adds one decode iteration.

        Args:
            accepted: draft tokens accepted in it.
            steps: sequences decoded in it.

        Returns:
            At a tick the mean accepted tokens a step since the last tick, bonus token included, and without it;
            None between ticks.
        """
        self._iterations += 1
        self._accepted += accepted
        self._steps += steps
        if self._iterations % self._interval:
            return None
        self._all_accepted += self._accepted
        self._all_steps += self._steps
        self.lifetime_length = (self._all_accepted + self._all_steps) / self._all_steps
        mean = self._accepted / self._steps
        self._accepted = self._steps = 0
        return 1 + mean, mean

    def flush(self) -> None:
        """Forgets the lifetime value, as a flushed cache does."""
        self._all_accepted = self._all_steps = 0
        self.lifetime_length = None


class SglangMetrics:
    """Counters, gauges and histograms of one server."""

    content_type = CONTENT_TYPE

    def __init__(self, options: EmbeddedOptions, service: Service) -> None:
        self.registry = CollectorRegistry()
        self.windows = [AcceptanceWindow(options.decode_log_interval) for _ in service.engines]
        self._service = service
        self._tokenizer = _TokenizerMetrics(self.registry, options)
        families = _SchedulerFamilies(self.registry, options)
        self._schedulers = [
            _SchedulerMetrics(families, options, window, rank) for rank, window in enumerate(self.windows)
        ]
        service.watch(self._step, self._tokenizer.abort)

    def render(self) -> bytes:
        """The exposition at this moment."""
        for scheduler, engine in zip(self._schedulers, self._service.engines, strict=True):
            scheduler.running.set(engine.num_running)
            scheduler.waiting.set(engine.num_waiting)
        return exposition.text(self.registry, multiprocess=True)

    def _step(self, report: StepReport) -> None:
        self._schedulers[report.engine].step(report)
        for output in report.outputs:
            self._tokenizer.output(output)


class _TokenizerMetrics:
    def __init__(self, registry: CollectorRegistry, options: EmbeddedOptions) -> None:
        self._labels = {"model_name": options.served_model_name, "engine_type": "unified"}
        self._speculative = options.speculative
        names = [*self._labels]

        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(f"sglang:{name}", text, [*names, *more], registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *more: str) -> Histogram:
            return Histogram(f"sglang:{name}", text, [*names, *more], buckets=buckets, registry=registry)

        self._prompt = counter("prompt_tokens_total", "Number of prefill tokens processed.", "is_streaming")
        self._generation = counter("generation_tokens_total", "Number of generation tokens processed.", "is_streaming")
        self._verify = counter("spec_verify_calls_total", "Number of speculative decoding verification calls.")
        self._requests = counter("num_requests_total", "Number of requests processed.", "is_streaming")
        self._aborted = counter("num_aborted_requests_total", "Number of requests aborted.")
        self._first = histogram(
            "time_to_first_token_seconds", "Histogram of time to first token in seconds.", _LATENCY, "is_streaming"
        )
        self._between = histogram(
            "inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", _BETWEEN_TOKENS
        )
        self._whole = histogram(
            "e2e_request_latency_seconds",
            "Histogram of End-to-end request latency in seconds",
            _LATENCY,
            "is_streaming",
        )

    def output(self, output: StepOutput) -> None:
        labels, sequence = self._labels, output.sequence
        streaming = {**labels, "is_streaming": "true" if sequence.streaming else "false"}
        if output.prefill:
            self._first.labels(**streaming).observe(output.interval)
        elif output.emitted:
            # One observation a step, of the time a token took: SGLang spreads a step over its tokens.
            self._between.labels(**labels).observe(output.interval / output.emitted)
        if output.finish_reason is None:
            return
        self._prompt.labels(**streaming).inc(sequence.prompt_length)
        self._generation.labels(**streaming).inc(sequence.generated)
        self._requests.labels(**streaming).inc()
        self._whole.labels(**streaming).observe((sequence.last_token or sequence.arrived) - sequence.arrived)
        if self._speculative and len(sequence.steps.step):
            self._verify.labels(**labels).inc(len(sequence.steps.step))

    def abort(self, sequence: Sequence) -> None:
        self._aborted.labels(**self._labels).inc()


class _SchedulerFamilies:
    def __init__(self, registry: CollectorRegistry, options: EmbeddedOptions) -> None:
        names = ["model_name", "engine_type", "tp_rank", "pp_rank", "moe_ep_rank"]
        if options.data_parallel_size > 1:
            names.append("dp_rank")

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"sglang:{name}", text, names, registry=registry)

        self.running = gauge("num_running_reqs", "The number of running requests.")
        self.waiting = gauge("num_queue_reqs", "The number of requests in the waiting queue.")
        self.accept_length = gauge("spec_accept_length", "The average acceptance length of speculative decoding.")
        self.accept_rate = gauge("spec_accept_rate", "The average acceptance rate of speculative decoding.")
        self.num_steps = gauge("spec_num_steps", "The number of speculative steps in use.")
        self.num_draft_tokens = gauge("spec_num_draft_tokens", "The number of speculative draft tokens in use.")
        self.realtime = Counter(
            "sglang:realtime_tokens_total", "Total number of tokens processed.", [*names, "mode"], registry=registry
        )


class _SchedulerMetrics:
    def __init__(
        self, families: _SchedulerFamilies, options: EmbeddedOptions, window: AcceptanceWindow, rank: int
    ) -> None:
        self._families = families
        self._options = options
        self._window = window
        self._labels = {
            "model_name": options.served_model_name,
            "engine_type": "unified",
            "tp_rank": "0",
            "pp_rank": "0",
            "moe_ep_rank": "0",
        }
        if options.data_parallel_size > 1:
            self._labels["dp_rank"] = str(rank)
        self.running = families.running.labels(**self._labels)
        self.waiting = families.waiting.labels(**self._labels)
        self._gauges = [
            gauge.labels(**self._labels)
            for gauge in (
                families.accept_length, families.accept_rate, families.num_steps, families.num_draft_tokens,
            )
        ]  # fmt: skip

    def step(self, report: StepReport) -> None:
        decoded = [output for output in report.outputs if not output.prefill]
        if report.prefilled:
            self._realtime("prefill_compute").inc(report.prefilled)
        if not decoded:
            return
        accepted = sum(output.accepted for output in decoded)
        self._realtime("decode").inc(accepted + len(decoded))
        means = self._window.iteration(accepted, len(decoded))
        options = self._options
        if means is not None and options.speculative:
            length, accepted_mean = means
            values = (length, accepted_mean / options.proposed, num_steps(options), options.proposed + 1)
            for gauge, value in zip(self._gauges, values, strict=True):
                gauge.set(value or 0)

    def _realtime(self, mode: str) -> Counter:
        return self._families.realtime.labels(**self._labels, mode=mode)
