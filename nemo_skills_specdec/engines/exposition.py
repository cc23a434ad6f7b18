"""Exposition text to samples: only the series that some engine module reads, under one spelling of their names.

A text of metrics is mostly histogram buckets and series of other libraries, and an exporter in between may change
names: Ray serves vLLM's `vllm:x_total` as `ray_vllm_x_total`, and some leave `_total` out. So a line is looked at only
if its name holds an engine's namespace, and its sample is stored under the engine's own name.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from nemo_skills_specdec.errors import DataError

Labels = frozenset[tuple[str, str]]

START_TIME = "process_start_time_seconds"

MAX_LABEL_SETS = 100_000
"""More than this in the series of an engine is no inference server, and would only fill the memory."""

MAX_LINE = 65_536
"""Characters; a longer line is none of an engine, and backslashes without end would take memory without end."""

_CURE = "give the URL or the text of an inference server's /metrics"
_SAMPLE = re.compile(
    r"^[ \t]*([A-Za-z_:][A-Za-z0-9_:]*)(?:\{[^\n]*\})?[ \t]+[-+]?(?:[0-9.]|[Ii]nf|[Nn]a[Nn])[^\n]*$", re.MULTILINE
)
_LABEL = re.compile(r'[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*"([^"\\\n]*(?:\\.[^"\\\n]*)*)"[ \t]*(,|(?=\}))')
_ESCAPED = re.compile(r"\\(.)")


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """What one exposition text says in the series that some engine module reads.

    Attributes:
        series: name of the series as the engine itself writes it -> label set -> value.
        prefixes: namespace such as `vllm` -> what stands in its place in the text: `vllm:`, or `ray_vllm_`.
        names: all names of an engine's namespace in the text, under the engine's own spelling, read or not.
        others: some names of no engine, where the text holds no name of an engine.
    """

    series: dict[str, dict[Labels, float]]
    prefixes: dict[str, str] = {}
    names: frozenset[str] = frozenset()
    others: tuple[str, ...] = ()


class _Spelling(msgspec.Struct):
    """The series of one namespace behind one prefix, while they are read."""

    series: dict[str, dict[Labels, float]] = {}
    names: set[str] = set()


def parse_metrics(text: str, where: str = "the metrics", *, wanted: frozenset[str]) -> Samples:
    """Samples of one text, in the classic or in the OpenMetrics format.

    Args:
        where: what the text is, for error messages: a path or a URL.
        wanted: names of the series to read, such as `vllm:generation_tokens_total`.

    Raises:
        DataError: the text is empty, an HTML page, JSON, no exposition text or broken off, or a sample stands twice.
    """
    problem = not_metrics(text)
    if problem is not None:
        raise DataError(f"{where} {problem}")
    own: dict[str, dict[Labels, float]] = {}
    spellings: dict[tuple[str, str], _Spelling] = {}
    count = 0
    for line in _lines(wanted).finditer(text):
        prefix, namespace, rest, tail = line.groups()
        if namespace is None:
            name, series = START_TIME, own
        else:
            spelling = spellings.setdefault((namespace, prefix), _Spelling())
            name, series = f"{namespace}:{rest}", spelling.series
            spelling.names.add(name)
            name = _wanted_name(name, wanted)
        if line.end() == len(text) and namespace is not None:
            raise DataError(f"{where} breaks off in the middle of a line ({namespace}:{rest[:80]}); fetch it again")
        if not name:
            continue
        labels, value = _sample(tail, where, text, line.start())
        label_sets = series.setdefault(name, {})
        if labels in label_sets and namespace is not None:
            raise DataError(
                f"{where} holds {name}{labels_text(labels)} twice; give the text of one endpoint, and one "
                "--metrics-url per endpoint"
            )
        label_sets[labels] = value
        count += 1
        if count > MAX_LABEL_SETS:
            raise DataError(f"{where} holds more than {MAX_LABEL_SETS} samples of an engine; {_CURE}")
    return _chosen(own, spellings, text, where)


def not_metrics(text: str) -> str | None:
    """What a text is if it is plainly no exposition text (empty, an HTML page, JSON), with the cure; None otherwise."""
    head = text[:4096].lstrip("\ufeff \t\r\n")[:200].lower()
    if not head and not text.strip("\ufeff \t\r\n"):
        return "is empty; give the text of an inference server's /metrics"
    if head.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        return f"is a web page, not metrics; {_CURE}"
    if head.startswith(("{", "[", '"')):
        return f"is JSON, not metrics; {_CURE}"
    return None


def labels_text(labels: Labels) -> str:
    """A label set as it stands in a text of metrics."""
    return "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels)) + "}" if labels else ""


@lru_cache(maxsize=8)
def _lines(wanted: frozenset[str]) -> re.Pattern[str]:
    """Lines whose name holds a namespace: what stands before the name proper, the namespace, the name, the rest."""
    namespaces = "|".join(sorted({name.partition(":")[0] for name in wanted}))
    return re.compile(
        rf"^\ufeff?[ \t]*(?:((?:[A-Za-z_:][A-Za-z0-9_:]*?[_:])?({namespaces})[:_])([A-Za-z0-9_:]*)|{START_TIME})"
        r"([ \t{][^\n]*)?$",
        re.MULTILINE,
    )


def _wanted_name(name: str, wanted: frozenset[str]) -> str:
    """The name under which a sample is kept; empty if nobody reads it."""
    if name in wanted:
        return name
    if f"{name}_total" in wanted:
        return f"{name}_total"
    return name if name.endswith("_created") and name.removesuffix("_created") + "_total" in wanted else ""


def _sample(tail: str | None, where: str, text: str, start: int) -> tuple[Labels, float]:
    """Labels and value of what follows a name."""
    tail = (tail or "").lstrip(" \t")
    labels: dict[str, str] = {}
    place = 0
    complete = len(tail) < MAX_LINE
    if complete and tail.startswith("{"):
        place, complete = 1, False
        while (found := _LABEL.match(tail, place)) is not None and found[1] not in labels:
            labels[found[1]] = _unescaped(found[2])
            place = found.end()
        if tail[place:].lstrip(" \t").startswith("}"):
            place, complete = tail.index("}", place) + 1, True
    # After the value may come a time stamp, and in OpenMetrics an exemplar.
    words = tail[place:].split(" # ")[0].split()
    if complete and len(words) in (1, 2) and words[0].isascii() and "_" not in words[0]:
        try:
            return frozenset(labels.items()), float(words[0])
        except ValueError:
            pass
    number = text.count("\n", 0, start) + 1
    raise DataError(f"{where} is not Prometheus text (line {number} cannot be read); {_CURE}")


def _unescaped(value: str) -> str:
    if not value.isascii():
        # A text read from a file may hold halves of surrogate pairs, which no file of ours can.
        value = value.encode("utf-8", "replace").decode("utf-8")
    return _ESCAPED.sub(lambda found: {"n": "\n"}.get(found[1], found[1]), value) if "\\" in value else value


def _chosen(
    own: dict[str, dict[Labels, float]], spellings: dict[tuple[str, str], _Spelling], text: str, where: str
) -> Samples:
    """Of several prefixes of one namespace the one with most series, the engine's own first."""
    series = dict(own)
    prefixes: dict[str, str] = {}
    names: set[str] = set()
    for namespace in sorted({namespace for namespace, _ in spellings}):
        told = {prefix: item for (space, prefix), item in spellings.items() if space == namespace}
        best = max(told, key=lambda prefix: (len(told[prefix].series), prefix == f"{namespace}:", prefix))
        prefixes[namespace] = best
        series.update(told[best].series)
        names |= told[best].names
    if prefixes:
        return Samples(series=series, prefixes=prefixes, names=frozenset(names))
    others = _foreign_names(text)
    if not others and not own:
        told_lines = any(line.strip() and not line.lstrip().startswith("#") for line in text[:65536].split("\n"))
        raise DataError(f"{where} {'is not Prometheus text' if told_lines else 'holds no sample'}; {_CURE}")
    return Samples(series=series, others=others)


def _foreign_names(text: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for found in _SAMPLE.finditer(text):
        names[found[1]] = None
        if len(names) == 3:
            break
    return tuple(names)
