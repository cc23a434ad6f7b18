"""How fast it went, as a client saw it: throughput, latencies and goodput, with the definitions of `docs/names.md`.

Pure: every figure follows from the stored records and the stored wall time.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec.client.timing import chunk_offsets
from nemo_skills_specdec.measurement.in_flight import (
    Span,
    mean_in_flight,
    overlap,
    peak_in_flight,
    start_rate,
    steady_span,
)
from nemo_skills_specdec.measurement.speed_options import Slo, SpeedOptions
from nemo_skills_specdec.records import RequestRecord


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """Of one figure, in seconds or tokens per second; interpolated linearly between order statistics.

    Attributes:
        standard_deviation: of the values themselves (divided by their number).
        others: those that were asked for besides, by name (`75`, `99.9`).
        over: how many values there are.
        of: how many there could be: answers, or the chunk gaps of all answers; None where that is not known.
    """

    mean: float
    p50: float
    p90: float
    p99: float
    standard_deviation: float | None = None
    p95: float | None = None
    others: dict[str, float] = {}
    over: int | None = None
    of: int | None = None


class Goodput(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that met every objective, as vLLM's bench and guidellm count them.

    A request that failed is none of them, nor is one of which a bounded figure is not known. An answer of a single
    token has no time per output token, so none that is too long.

    Attributes:
        requests: how many met all.
        requests_per_second: requests / wall_seconds.
        fraction: of all requests that were sent.
    """

    slo: Slo
    requests: int
    requests_per_second: float | None
    fraction: float | None


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast it went, as a client saw it.

    Attributes:
        wall_seconds: from the first request sent to the last byte received, summed over windows.
        output_tokens_per_second: completion tokens of all answers / wall_seconds: the system's throughput.
        total_tokens_per_second: likewise, with the prompts' tokens.
        requests_per_second: answers / wall_seconds.
        prompts_started_per_second: gaps between the starts of prompts / time from the first start to the last.
        mean_concurrency: requests in flight, weighted by time: the sum of their durations / wall_seconds.
        peak_concurrency: the most that were in flight together.
        user_tokens_per_second: per answer, (completion tokens - 1) / (last chunk - first chunk) where streamed,
            completion tokens / end-to-end time where not.
        inter_chunk_seconds: per answer, the mean gap between chunks. A chunk holds several tokens under speculation.
        inter_chunk_pooled_seconds: every gap between two chunks of one answer, all answers together.
    """

    wall_seconds: float
    prompt_tokens: int | None
    completion_tokens: int | None
    output_tokens_per_second: float | None
    user_tokens_per_second: Percentiles | None = None
    ttft_seconds: Percentiles | None = None
    tpot_seconds: Percentiles | None = None
    inter_chunk_seconds: Percentiles | None = None
    end_to_end_seconds: Percentiles | None = None
    queue_seconds: Percentiles | None = None
    total_tokens_per_second: float | None = None
    requests_per_second: float | None = None
    prompts_started_per_second: float | None = None
    mean_concurrency: float | None = None
    peak_concurrency: int | None = None
    inter_chunk_pooled_seconds: Percentiles | None = None
    goodput: Goodput | None = None


class SteadyState(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of the time in which the asked number of requests was in flight, without ramp-up and tail.

    Attributes:
        concurrency: the number asked for.
        seconds: length of that time, summed over windows.
        num_requests: those sent and answered within it, to which the latencies belong.
        speed: `output_tokens_per_second` counts tokens that arrived within that time, those of an answer spread evenly
            over its chunks; `requests_per_second` and goodput count requests that ended in it.
    """

    concurrency: int
    seconds: float
    num_requests: int
    speed: Speed


def speed_of(records: Sequence[RequestRecord], wall_seconds: float, options: SpeedOptions | None = None) -> Speed:
    """Speed of the answered requests; failed ones are left out of every figure but wall time and concurrency."""
    options = options or SpeedOptions()
    answered = [record for record in records if record.error is None]
    completion = _known_sum([record.completion_tokens for record in answered])
    prompt = _known_sum([record.prompt_tokens for record in answered])
    together = completion + prompt if completion is not None and prompt is not None else None

    def summed(values: Sequence[float | None]) -> Percentiles | None:
        return percentiles(values, others=options.percentiles)

    return Speed(
        wall_seconds=wall_seconds,
        prompt_tokens=prompt,
        completion_tokens=completion,
        output_tokens_per_second=_per_second(completion, wall_seconds),
        total_tokens_per_second=_per_second(together, wall_seconds),
        requests_per_second=_per_second(len(answered), wall_seconds),
        prompts_started_per_second=start_rate([r.start_time for r in records if r.sent and r.turn == 0]),
        mean_concurrency=mean_in_flight(records, None, wall_seconds),
        peak_concurrency=peak_in_flight(records),
        user_tokens_per_second=summed([user_speed(record) for record in answered]),
        ttft_seconds=summed([record.ttft_seconds for record in answered]),
        tpot_seconds=summed([record.tpot_seconds for record in answered]),
        inter_chunk_seconds=summed([record.inter_chunk_seconds for record in answered]),
        inter_chunk_pooled_seconds=pooled_gaps(answered, options),
        end_to_end_seconds=summed([record.end_time - record.start_time for record in answered]),
        queue_seconds=summed([record.queue_seconds for record in answered]),
        goodput=goodput_of(records, options.slo, wall_seconds) if options.slo is not None else None,
    )


def steady_state_of(
    windows: Sequence[Sequence[RequestRecord]], concurrency: int, options: SpeedOptions
) -> SteadyState | None:
    """The figures without ramp-up and tail; None if the asked number was never in flight.

    Args:
        windows: the records of each window, which follow each other.
        concurrency: the number of requests that was asked for.
    """
    steady = [(span, records) for records in windows if (span := steady_span(records, concurrency)) is not None]
    seconds = sum(span.seconds for span, _ in steady)
    if not steady:
        return None
    inside, ended, tokens, busy = [], [], [], 0.0
    for span, records in steady:
        inside += [r for r in records if span.start <= r.start_time and r.end_time <= span.end]
        ended += [r for r in records if span.start < r.end_time <= span.end]
        tokens += [tokens_within(record, span) for record in records if record.error is None]
        busy += mean_in_flight(records, span, 1.0) or 0.0
    speed = speed_of(inside, seconds, options)
    known = [value for value in tokens if value is not None]
    return SteadyState(
        concurrency=concurrency,
        seconds=seconds,
        num_requests=sum(record.error is None for record in inside),
        speed=msgspec.structs.replace(
            speed,
            output_tokens_per_second=sum(known) / seconds if known and len(known) == len(tokens) else None,
            total_tokens_per_second=None,
            requests_per_second=sum(record.error is None for record in ended) / seconds,
            mean_concurrency=busy / seconds,
            peak_concurrency=max(peak_in_flight(records) for _, records in steady),
            goodput=goodput_of(ended, options.slo, seconds) if options.slo is not None else None,
        ),
    )


def tokens_within(record: RequestRecord, span: Span) -> float | None:
    """How many of an answer's tokens arrived within a span, each of its chunks taken to hold as many; None if unknown.

    Without the times of its chunks, its tokens are spread over the time that it was in flight.
    """
    if record.completion_tokens is None:
        return None
    if record.chunk_microseconds:
        times = record.start_time + chunk_offsets(record.chunk_microseconds)
        return record.completion_tokens * float(((times > span.start) & (times <= span.end)).mean())
    elapsed = record.end_time - record.start_time
    return record.completion_tokens * overlap(record, span) / elapsed if elapsed > 0 else 0.0


def user_speed(record: RequestRecord) -> float | None:
    """Output tokens per second that one user saw; None where it cannot be known."""
    if record.tpot_seconds:
        return 1 / record.tpot_seconds
    elapsed = record.end_time - record.start_time
    if record.lumped or record.ttft_seconds is not None or record.completion_tokens is None or elapsed <= 0:
        return None
    return record.completion_tokens / record.samples / elapsed


def goodput_of(records: Sequence[RequestRecord], slo: Slo, wall_seconds: float) -> Goodput:
    """How many of these requests met all objectives."""
    sent = [record for record in records if record.sent]
    good = sum(meets(record, slo) for record in sent)
    return Goodput(
        slo=slo,
        requests=good,
        requests_per_second=_per_second(good, wall_seconds),
        fraction=good / len(sent) if sent else None,
    )


def meets(record: RequestRecord, slo: Slo) -> bool:
    """Whether a request was answered within every bound."""
    if record.error is not None:
        return False
    single = record.completion_tokens is not None and record.completion_tokens <= record.samples
    pairs = (
        (slo.ttft_seconds, record.ttft_seconds),
        (slo.tpot_seconds, 0.0 if single else record.tpot_seconds),
        (slo.e2e_seconds, record.end_time - record.start_time),
    )
    return all(bound is None or (value is not None and value <= bound) for bound, value in pairs)


def pooled_gaps(answered: Sequence[RequestRecord], options: SpeedOptions) -> Percentiles | None:
    """Every gap between two chunks of one answer, all answers together; None where an answer's chunks are not known.

    Answers of several samples are left out: chunks of one sample lie between those of another.
    """
    import numpy as np

    streamed = [r for r in answered if r.samples == 1 and r.num_chunks is not None and not r.lumped]
    if not streamed or any(record.chunk_microseconds is None for record in streamed):
        return None
    gaps = [np.frombuffer(record.chunk_microseconds or b"", "<u4")[1:] for record in streamed]
    values = np.concatenate(gaps) / 1e6
    known = sum(record.num_chunks - 1 for record in streamed if record.num_chunks is not None)
    return percentiles(values.tolist(), others=options.percentiles, of=known)


def percentiles(
    values: Sequence[float | None], *, others: Sequence[float] = (), of: int | None = None
) -> Percentiles | None:
    """What there is to say about these values; those that are not known are left out.

    Args:
        others: percentiles besides those that are always given.
        of: how many values there could be; None for as many as are given.
    """
    import numpy as np

    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if not len(known):
        return None
    p50, p90, p95, p99, *rest = np.percentile(known, [50, 90, 95, 99, *others]).tolist()
    return Percentiles(
        mean=float(np.mean(known)),
        standard_deviation=float(np.std(known)),
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        others={f"{q:g}": value for q, value in zip(others, rest, strict=True)},
        over=len(known),
        of=len(values) if of is None else of,
    )


def _per_second(value: int | None, seconds: float) -> float | None:
    return value / seconds if value is not None and seconds > 0 else None


def _known_sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
