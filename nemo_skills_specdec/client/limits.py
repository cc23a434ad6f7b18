"""What the client asks of the system for a run, and the bounds that it sets to servers."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

from nemo_skills_specdec.client.exchange import RequestOptions

_OTHER_FILES = 64
"""Descriptors left to the rest of the process."""
_SWITCH_SECONDS = 0.0002
_ALLOCATIONS = 50_000
_LONGEST_ANSWER = 1 << 28
_BYTES_PER_TOKEN = 1 << 14


def connections_allowed(wanted: int) -> int:
    """How many connections may be open, after the soft limit on open files was raised as far as it goes."""
    try:
        import resource
    except ImportError:  # no such limit on this system
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + 2 * _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return wanted if soft == resource.RLIM_INFINITY else max(min(wanted, soft - _OTHER_FILES), 1)


def answer_limit(request: RequestOptions) -> int:
    """Bytes of one answer at most: far more than any honest one, so that endless ones cannot fill the memory."""
    tokens = request.max_tokens
    if tokens is None:
        return _LONGEST_ANSWER
    return min((8 << 20) + tokens * request.n * _BYTES_PER_TOKEN, _LONGEST_ANSWER)


@contextlib.contextmanager
def quick_reactions() -> Iterator[None]:
    """While it lasts, threads hand over sooner, and garbage is looked for rarely and only among what is new."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(_ALLOCATIONS, *thresholds[1:])
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)
