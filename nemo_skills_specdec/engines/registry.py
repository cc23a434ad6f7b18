"""The engines that can be read. A new one is a module of its own and its line in `ENGINES`."""

from __future__ import annotations

from nemo_skills_specdec.engines import llamacpp, sglang, trtllm, vllm
from nemo_skills_specdec.engines.base import EngineModule, EngineName
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.versions import at_least

ENGINES: dict[EngineName, EngineModule] = {"vllm": vllm, "sglang": sglang, "llamacpp": llamacpp, "trtllm": trtllm}


def wanted_series() -> frozenset[str]:
    """Names of all series that some engine module reads."""
    return frozenset().union(*(module.FACTS.series for module in ENGINES.values()))


def recognise_engine(samples: Samples) -> EngineName | None:
    """The engine whose series these are; None for none of them."""
    return next((name for name, module in ENGINES.items() if module.FACTS.namespace in samples.prefixes), None)


def tells_per_request(engine: EngineName | None, version: str | None) -> bool | None:
    """Whether this version can be made to tell acceptance for each request; None where that is not known."""
    since = ENGINES[engine].FACTS.statistics_since if engine is not None else None
    return at_least(version, since) if since is not None else None


def counted_requests(engine: EngineName | None, requests: int, samples: int) -> int:
    """How many requests a server counts for some requests of several samples each (the API's `n`)."""
    extra = ENGINES[engine].FACTS.extra_requests_with_samples if engine is not None and samples > 1 else 0
    return requests * (samples + extra)
