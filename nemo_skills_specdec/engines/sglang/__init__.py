"""SGLang: counters and gauges on `/metrics`, statistics in each answer on request, and request-metric files."""

from nemo_skills_specdec.engines.sglang.answers import request_counts, request_extras, request_steps, stream_counts
from nemo_skills_specdec.engines.sglang.facts import FACTS
from nemo_skills_specdec.engines.sglang.metrics import read
from nemo_skills_specdec.engines.sglang.server import answers_to, describe, offers

__all__ = [
    "FACTS",
    "answers_to",
    "describe",
    "offers",
    "read",
    "request_counts",
    "request_extras",
    "request_steps",
    "stream_counts",
]
