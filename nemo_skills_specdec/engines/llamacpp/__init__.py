"""llama.cpp's server: counters on `/metrics`, and `timings` in each answer."""

from nemo_skills_specdec.engines.llamacpp.answers import request_counts, request_extras, stream_counts
from nemo_skills_specdec.engines.llamacpp.facts import FACTS
from nemo_skills_specdec.engines.llamacpp.metrics import read
from nemo_skills_specdec.engines.llamacpp.server import answers_to, describe, offers

__all__ = ["FACTS", "answers_to", "describe", "offers", "read", "request_counts", "request_extras", "stream_counts"]
