"""vLLM: counters on `/metrics`, and statistics in each answer where a server flag asks for them."""

from nemo_skills_specdec.engines.vllm.answers import (
    reached_per_position,
    request_counts,
    request_extras,
    stream_counts,
)
from nemo_skills_specdec.engines.vllm.facts import FACTS
from nemo_skills_specdec.engines.vllm.metrics import read
from nemo_skills_specdec.engines.vllm.server import answers_to, describe, offers

__all__ = [
    "FACTS",
    "answers_to",
    "describe",
    "offers",
    "reached_per_position",
    "read",
    "request_counts",
    "request_extras",
    "stream_counts",
]
