"""The end of a watch as one JSON object: sums, and the rates that follow from them."""

from __future__ import annotations

from typing import Any

import msgspec

from nemo_skills_specdec.watch.figures import WatchFigures
from nemo_skills_specdec.watch.run import WatchResult


def summary_of(result: WatchResult) -> dict[str, Any]:
    """The summary as plain data; rates as fractions, times in seconds, bounds as `{low, high}`."""
    counted = max((one.seconds for one in result.replicas), default=0.0)
    return {
        "started_at": result.started_at,
        "seconds": result.seconds,
        "counted_seconds": counted,
        "total": _rates(result.total, counted),
        "replicas": {
            one.replica: {"engine": one.engine, "seconds": one.seconds, **_rates(one.figures, one.seconds)}
            for one in result.replicas
        },
        "events": [msgspec.to_builtins(event) for event in result.events],
        "breach": msgspec.to_builtins(result.breach),
    }


def _rates(figures: WatchFigures, seconds: float) -> dict[str, Any]:
    tokens = figures.generation_tokens
    sums = {name: getattr(figures, name) for name in WatchFigures.__struct_fields__ if name != "estimate"}
    return {
        **msgspec.to_builtins(sums),
        "acceptance_length": msgspec.to_builtins(figures.acceptance_length),
        "acceptance_rate": msgspec.to_builtins(figures.acceptance_rate),
        "per_position_acceptance_rates": msgspec.to_builtins(figures.per_position_acceptance_rates),
        "tokens_per_step": figures.tokens_per_step,
        "cache_hit_rate": figures.cache_hit_rate,
        "output_tokens_per_second": tokens / seconds if tokens is not None and seconds > 0 else None,
    }
