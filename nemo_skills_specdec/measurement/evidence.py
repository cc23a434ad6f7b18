"""Everything that a result rests on. `conclude` makes the result of it, now or years later."""

from __future__ import annotations

import msgspec

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.client.exchange import Delays, RequestOptions
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.measurement.snapshots import Window
from nemo_skills_specdec.measurement.speed_options import SpeedOptions
from nemo_skills_specdec.records import Finding, RequestRecord


class SenderDelays(msgspec.Struct, frozen=True, kw_only=True):
    """How punctual our own client was in one window; see `client.exchange.Sent`.

    Attributes:
        lateness: from the arrival of bytes until this client read them.
        dispatch: from when a request could be sent until it was.
        kernel_times: whether arrivals are the kernel's.
        lowered_concurrency: to how many connections the limit on open files held this client; None if it did not.
    """

    lateness: Delays
    dispatch: Delays
    kernel_times: bool
    lowered_concurrency: int | None = None


class Conditions(msgspec.Struct, kw_only=True):
    """How a measurement went: what its result rests on besides answers and snapshots. Stored in the manifest.

    Attributes:
        prompts_planned: prompts that were to be sent.
        request: as sent, with the fields that ask for statistics.
        speculates: whether it is to speculate; a baseline is not.
        observed: findings made on the way, of which answers and snapshots do not tell.
        senders: how punctual this client was, one of each window.
        request_file: the sum over SGLang's request-metric files, if they hold every answer.
        warmup_requests: requests answered before the window.
        cut_off: requests that the server may have counted though no record tells of them; None if their number is not
            known, so that records and counters cannot be compared.
        interrupted: whether it was stopped before its end, or the server went away.
        max_failed: share of failed requests above which the result is invalid.
        wall_seconds: time in which requests were on their way: from the first one sent to the last byte received,
            summed over windows.
        category_wall_seconds: likewise for each category that had a window of its own.
        seed: of the intervals.
        concurrency: requests that were to be in flight; None where none were asked for, or where that is not known.
        request_rate: prompts that were to be started per second; None likewise.
        speed: how speed is summed up.
        categories_planned: of the prompts, sent or not; None where that is not known.
    """

    benchmark: str
    prompts_planned: int
    request: RequestOptions
    speculates: bool = True
    observed: list[Finding] = []
    senders: list[SenderDelays] = []
    request_file: AcceptanceCounts | None = None
    warmup_requests: int = 0
    cut_off: int | None = 0
    interrupted: bool = False
    max_failed: float = 0.05
    wall_seconds: float = 0.0
    category_wall_seconds: dict[str, float] = {}
    seed: int = 0
    concurrency: int | None = None
    request_rate: float | None = None
    speed: SpeedOptions = SpeedOptions()
    categories_planned: int | None = None


class Evidence(msgspec.Struct, kw_only=True):
    """All that was measured.

    Attributes:
        server: what the server said about itself.
        window: of the whole measurement; None where no metrics were to be had.
        categories: by name, a window of its own each; empty if there was one window only.
    """

    conditions: Conditions
    server: ServerInfo
    records: list[RequestRecord]
    window: Window | None = None
    categories: dict[str, Window] = {}
