"""Durations of one request: pure functions, all in seconds.

Chunks are those that carry a choice, from the first with generated text to the last; under speculation one chunk holds
several tokens, so times between chunks are never called inter-token latencies.

    TTFT  = first chunk - sent                                 opening a connection, where one is needed, included
    TPOT  = (last chunk - first chunk) / (completion_tokens - 1)     tokens from the server's usage
    E2E   = ended - sent

The first chunk may hold more than one token; TPOT then is low by the share of those tokens, at most (K + 1) / tokens.
With several samples (`n`) tokens are those of one of them, since they are decoded side by side.

Chunks that came in a few lumps tell when something between server and client let them go, not when they were written:
there is no TTFT, TPOT or inter-chunk time then.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from nemo_skills_specdec.client.exchange import Answer, Exchange
from nemo_skills_specdec.records import RequestRecord

FEWEST_CHUNKS = 8
"""Shorter answers tell nothing: a draft or two may hold all of their tokens."""
MOST_LUMPS = 3
SAME_INSTANT_SECONDS = 0.0001
"""Chunks of one read of the socket, or of reads that follow each other without a pause."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Durations of one request in seconds; None where the request failed or they cannot be known.

    Attributes:
        queue_seconds: from when the schedule wanted it sent until it was sent; 0 for one that was never sent.
        e2e_seconds: from sending to the end of the answer.
        ttft_seconds: from sending to the first chunk with generated text.
        tpot_seconds: time per output token after the first; needs usage, two chunks and two tokens.
        num_chunks: chunks from the first with generated text to the last.
        inter_chunk_seconds: mean time between them; None for fewer than two.
        inter_chunk_p99_seconds: 99th percentile of the times between them, by linear interpolation.
        lumped: whether the chunks came in a few lumps.
        chunk_microseconds: see `RequestRecord`.
    """

    queue_seconds: float
    e2e_seconds: float | None = None
    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    num_chunks: int | None = None
    inter_chunk_seconds: float | None = None
    inter_chunk_p99_seconds: float | None = None
    lumped: bool = False
    chunk_microseconds: bytes | None = None


def timing_of(exchange: Exchange, answer: Answer, samples: int = 1) -> Timing:
    """Durations of one request, from its times and its decoded answer."""
    queue = max(exchange.sent_at - exchange.scheduled_at, 0.0)
    if exchange.error or answer.error:
        return Timing(queue_seconds=queue)
    e2e = exchange.ended_at - exchange.sent_at
    if answer.first_content is None or answer.last_content is None:
        return Timing(queue_seconds=queue, e2e_seconds=e2e)
    times = exchange.chunk_times[answer.first_content : answer.last_content + 1]
    if arrived_in_lumps(times):
        return Timing(queue_seconds=queue, e2e_seconds=e2e, num_chunks=len(times), lumped=True)
    decoding = times[-1] - times[0]
    several = len(times) > 1
    tokens = (answer.completion_tokens or 0) / samples
    return Timing(
        queue_seconds=queue,
        e2e_seconds=e2e,
        ttft_seconds=times[0] - exchange.sent_at,
        tpot_seconds=decoding / (tokens - 1) if several and tokens > 1 and decoding > 0 else None,
        num_chunks=len(times),
        inter_chunk_seconds=decoding / (len(times) - 1) if several else None,
        inter_chunk_p99_seconds=float(np.percentile(np.diff(times), 99)) if several else None,
        chunk_microseconds=packed_times(times, exchange.sent_at),
    )


def packed_times(times: Sequence[float], sent_at: float) -> bytes | None:
    """The times of chunks in whole microseconds: the first from sending, each other from the one before.

    Rounded before differencing, so that no error adds up. None where a gap is longer than 71 minutes.
    """
    offsets = np.maximum.accumulate(np.rint((np.asarray(times) - sent_at) * 1e6).clip(0))
    gaps = np.diff(offsets, prepend=0)
    return gaps.astype("<u4").tobytes() if len(gaps) and gaps.max() < 2**32 else None


def chunk_offsets(packed: bytes) -> NDArray[np.float64]:
    """When each chunk arrived, in seconds after sending."""
    return np.cumsum(np.frombuffer(packed, "<u4"), dtype=np.int64) / 1e6


def arrived_in_lumps(times: Sequence[float]) -> bool:
    """Whether chunks came in so few groups, each at one instant, that somebody in between must have held them back."""
    if len(times) < FEWEST_CHUNKS:
        return False
    groups = 1 + sum(later - earlier > SAME_INSTANT_SECONDS for earlier, later in pairwise(times))
    return groups <= MOST_LUMPS


def to_record(exchange: Exchange, answer: Answer, samples: int = 1) -> RequestRecord:
    """The record of one request, without acceptance counts. Of a failed request the text that arrived is kept.

    Args:
        samples: answers that were asked for, the API's `n`.
    """
    timing = timing_of(exchange, answer, samples)
    # A usage of zero beside text is the invention of something between server and client.
    rejected = answer.completion_tokens == 0 and bool(answer.generation or answer.reasoning)
    return RequestRecord(
        question_id=exchange.question_id,
        category=exchange.category,
        turn=exchange.turn,
        response_id=answer.response_id,
        status=exchange.status,
        error=exchange.error or answer.error,
        outcome="failed" if exchange.error is None and answer.error else exchange.outcome,
        num_resends=exchange.num_resends,
        retry_after_seconds=exchange.retry_after_seconds,
        sent=exchange.sent,
        generation=answer.generation,
        reasoning=answer.reasoning,
        finish_reason=answer.finish_reason,
        prompt_tokens=None if rejected else answer.prompt_tokens,
        cached_prompt_tokens=None if rejected else answer.cached_prompt_tokens,
        completion_tokens=None if rejected else answer.completion_tokens,
        usage_rejected=rejected,
        samples=samples,
        lumped=timing.lumped,
        start_time=exchange.sent_at,
        end_time=exchange.ended_at,
        queue_seconds=timing.queue_seconds,
        ttft_seconds=timing.ttft_seconds,
        tpot_seconds=timing.tpot_seconds,
        num_chunks=timing.num_chunks,
        inter_chunk_seconds=timing.inter_chunk_seconds,
        inter_chunk_p99_seconds=timing.inter_chunk_p99_seconds,
        chunk_microseconds=timing.chunk_microseconds,
        logprobs=answer.logprobs,
    )
