"""What is true of llama.cpp's server: its series and its flags."""

from __future__ import annotations

from nemo_skills_specdec.engines.base import EngineFacts
from nemo_skills_specdec.engines.spec_counters import counter_names

PREFIX = "llamacpp:"

TRAFFIC = {
    "generation_tokens": "llamacpp:tokens_predicted_total",
    "computed_prompt_tokens": "llamacpp:prompt_tokens_total",
    "cached_prompt_tokens": "llamacpp:prompt_tokens_cached_total",
}

BUSY = ("llamacpp:requests_processing", "llamacpp:requests_deferred")

FACTS = EngineFacts(
    name="llamacpp",
    title="llama.cpp",
    series=frozenset([*counter_names(PREFIX).values(), *TRAFFIC.values(), *BUSY]),
    vital=(TRAFFIC["generation_tokens"],),
    owners=("llamacpp",),
    metrics_flag="--metrics",
    speculate="start the server with --spec-type (such as ngram-simple) or a draft model (-md)",
    several_samples="the statistics of llama.cpp are those of the first sample alone",
)
