"""Empties what a server remembers of earlier prompts, so that a second run on it starts where the first did.

A prefix cache makes the second run's first tokens come sooner; SGLang's n-gram corpus even changes what is accepted.
"""

from __future__ import annotations

import time

from nemo_skills_specdec.engines.base import part_of
from nemo_skills_specdec.engines.fetch import fetch
from nemo_skills_specdec.engines.registry import ENGINES
from nemo_skills_specdec.launch.methods import Method
from nemo_skills_specdec.launch.start import Started

_ATTEMPTS = 20
_PAUSE_SECONDS = 0.25


def can_be_reused(started: Started, method: Method) -> bool:
    """Whether a further run on this server can be as good as one on a fresh server.

    Suffix trees of vLLM and the slots of llama.cpp keep earlier text and cannot be emptied.
    """
    return started.engine != "llamacpp" and method.name != "suffix"


def empty_caches(started: Started, engine: str | None = None) -> str | None:
    """Empties the server's caches between two runs.

    Args:
        engine: of a server that somebody else started, as detected; without it such a server is left alone.

    Returns:
        None if they are empty now; otherwise why not, in one line.
    """
    engine = engine or started.engine
    facts = ENGINES[engine].FACTS if engine in ENGINES else None
    path = facts.cache_reset if facts is not None else None
    if path is None:
        # The embedded engine has none; a server of somebody else is not ours to change.
        return None if engine == "embedded" else "its caches may hold the prompts of an earlier run"
    problem = ""
    for _ in range(_ATTEMPTS):
        answer = fetch(f"{started.base_url}{path}", started.headers, 30.0, body=b"", tls=started.tls)
        if answer.error is not None:
            return answer.error
        if answer.status == 200 and part_of({"body": answer.json()}, "body").get("success") is not False:
            return None
        problem = f"{path} answers with HTTP status {answer.status}"
        if answer.status == 404:
            break
        time.sleep(_PAUSE_SECONDS)
    return problem
