"""What llama.cpp's server says about itself, and which sources of acceptance it offers."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.engines import spec_counters
from nemo_skills_specdec.engines.base import Ask, ServerInfo, SourceOffer, offer, part_of, text_or_none
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.llamacpp.facts import FACTS, PREFIX

_RATES = "AR, per request"


def answers_to(ask: Ask) -> bool:
    """Whether the server has llama.cpp's properties."""
    return "default_generation_settings" in part_of({"props": ask.get("/props")}, "props")


def describe(info: ServerInfo, ask: Ask) -> None:
    """Version from its properties; speculation from its slots, or from the positions that were drafted."""
    info.version = text_or_none(part_of({"props": ask.get("/props")}, "props").get("build_info"))
    slots = ask.get("/slots")
    told = [slot.get("speculative") for slot in slots if isinstance(slot, dict)] if isinstance(slots, list) else []
    info.draft_length = spec_counters.num_positions(ask.samples, PREFIX)
    if any(told) or info.draft_length:
        info.speculation = "on"
    elif told and not any(value is None for value in told):
        info.speculation = "off"


def offers(info: ServerInfo, samples: Sequence[Samples], no_metrics: str) -> list[SourceOffer]:
    """Timings in each answer, which lack the number of steps unless streamed, and counters behind a flag."""
    if info.speculation == "off":
        return [
            offer("response", False, _RATES, cure=FACTS.speculate),
            offer("counters", False, spec_counters.ALL_RATES, cure=FACTS.speculate),
        ]
    on = True if info.speculation == "on" else None
    timings = "timings in every response, without the number of steps (no AL)"
    response = offer("response", on, _RATES, uses=timings, cure=FACTS.speculate)
    if any(spec_counters.has_spec_series(item, PREFIX) for item in samples):
        uses = "llamacpp:spec_decode series on /metrics"
        return [response, offer("counters", on, spec_counters.ALL_RATES, uses=uses, cure=FACTS.speculate)]
    cure = no_metrics or "use a newer llama.cpp, whose metrics have llamacpp:spec_decode series"
    return [response, offer("counters", False, spec_counters.ALL_RATES, cure=cure)]
