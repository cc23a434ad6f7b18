"""Who printed a line of a log, as far as what stands around vLLM's own text tells.

Whatever collects logs puts something before each line: `kubectl logs --prefix` a pod, docker compose a service,
journald a host and a unit, srun a rank, Ray an actor, vLLM itself a process. None of these is known by name: what
stands before the level (`INFO`), without times and line numbers, is the origin. Lines that are JSON objects are told
apart by the fields that name a pod, container or host.
"""

from __future__ import annotations

import re

LEVEL = re.compile(r"\b(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)\b:?(?:\s+(\d\d-\d\d \d\d:\d\d:\d\d)\b|\s)")
"""vLLM's level, with its `month-day hour:minute:second` where that is there."""

FILE_HEADING = re.compile(r"==> (.{1,200}) <==\s*$")
"""What `tail` prints before the lines of each of several files."""

_PROCESSES = re.compile(r"(?:\([^()]{0,120}\bpid=\d+[^()]{0,120}\)\s*)+")
_JSON_NAMES = re.compile(
    r'"((?:k8s_|kubernetes_|_)?(?:pod|pod_?name|host|host_?name|container|container_?name|unit|systemd_unit))"\s*:\s*'
    r'"([^"]{1,120})"',
    re.IGNORECASE,
)
_TIMES = re.compile(
    r"\d{4}[-/]\d\d[-/]\d\d[T ]?(?:\d\d:\d\d(?::\d\d)?)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
    r"|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+\d{1,2}(?:\s+\d{4})?\b"
    r"|\b\d\d:\d\d:\d\d(?:[.,]\d+)?"
    r"|\b\d{9,}(?:\.\d+)?\b|\b\d+\.\d{3,}\b"
)
_LINE_NUMBER = re.compile(r"^\s*\d+\t|(?:^|(?<=:))\d+:(?=\S|$)")
_REST_OF_TIMES = {"|", "[", "]", "[]"}


def origin(line: str, head: str) -> str:
    """The printer of a record: pod, host, service or rank, and process; empty where nothing is said.

    Args:
        line: the whole line, without colour codes.
        head: what stands before the record, on this line; of the second record of one line, all of the first.
    """
    levels = list(LEVEL.finditer(head))
    own = head[: levels[-1].start()] if levels else head
    processes = [match[0].strip() for match in _PROCESSES.finditer(own)]
    if line.lstrip().startswith("{"):
        around = " ".join(sorted({f"{match[1]}={match[2]}" for match in _JSON_NAMES.finditer(line[:20_000])}))
    else:
        first = LEVEL.search(line)
        before = line[: first.start()] if first else head.split("[metrics.py")[0]
        words = _LINE_NUMBER.sub("", _PROCESSES.sub("", _TIMES.sub("", before[:400]))).split()
        around = " ".join(word for word in words if word not in _REST_OF_TIMES)
    name = " ".join(part for part in (around, *processes[-1:]) if part)
    return "".join(character for character in name if character.isprintable())
