"""Many runs from lists of values: every method at every draft length under every load, so many times."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.studies.config import RunConfig

_RANGE = re.compile(r"(\d+)\.\.(\d+)(?::(\d+))?")
_T = TypeVar("_T", int, float)


def whole_numbers(text: str, option: str) -> list[int]:
    """Numbers from a list such as `1,4,16` with ranges such as `1..7` or `8..64:8`, each once, in the order given.

    Raises:
        UsageError: this is no such list, or a number is below 1.
    """
    values: list[int] = []
    for piece in _pieces(text, option):
        found = _RANGE.fullmatch(piece)
        if found is not None:
            first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
            if last < first or step < 1:
                raise UsageError(f"{option}: {piece} is empty; write the smaller number first, e.g. 1..7")
            values += range(first, last + 1, step)
        else:
            values.append(_number(piece, int, option))
    return _positive(values, option)


def numbers(text: str, option: str) -> list[float]:
    """Numbers from a list such as `0.5,1,2`, each once, in the order given.

    Raises:
        UsageError: this is no such list, or a number is not above 0.
    """
    return _positive([_number(piece, float, option) for piece in _pieces(text, option)], option)


def sweep(
    base: Sequence[RunConfig],
    *,
    draft_lengths: Sequence[int] = (),
    concurrencies: Sequence[int] = (),
    request_rates: Sequence[float] = (),
    repeats: int = 1,
) -> list[RunConfig]:
    """Every run of `base` at every draft length, under every load, `repeats` times.

    Runs that share a server come one after the other: the server changes only with model, method and draft length.

    Args:
        base: resolved runs, the baseline among them; a baseline has no draft length and is not multiplied by them.
        concurrencies: loads of so many in flight. With `request_rates` as well, every combination.
        request_rates: loads of so many prompts started per second; without concurrencies, no limit in flight.

    Raises:
        UsageError: a draft length is asked for where the server is set up elsewhere.
    """
    if repeats < 1:
        raise UsageError(f"the number of repeats is {repeats}; it must be at least 1")
    runs: list[RunConfig] = []
    for config in base:
        for served in _with_lengths(config, draft_lengths):
            for repeat in range(repeats):
                for load in _loads(concurrencies, request_rates):
                    runs.append(
                        msgspec.structs.replace(
                            served, load=msgspec.structs.replace(served.load, **load), repeat=repeat
                        )
                    )
    return list({msgspec.json.encode(run): run for run in runs}.values())


def _with_lengths(config: RunConfig, lengths: Sequence[int]) -> Iterable[RunConfig]:
    if lengths and config.server.engine == "running":
        raise UsageError("the draft length of a running server is set where it is started; drop the lengths")
    if not lengths or config.method.name in ("none", "as_served"):
        return [config]
    if config.method.topk > 1:
        raise UsageError(f"{config.method.label} is a tree, whose shape is more than a length; drop the lengths")
    return [
        msgspec.structs.replace(
            config, method=msgspec.structs.replace(config.method, draft_length=length, num_draft_tokens=None)
        )
        for length in lengths
    ]


def _loads(concurrencies: Sequence[int], rates: Sequence[float]) -> list[dict[str, int | float | None]]:
    if concurrencies and rates:
        return [{"concurrency": c, "request_rate": r} for r in rates for c in concurrencies]
    if rates:
        return [{"concurrency": None, "request_rate": r} for r in rates]
    return [{"concurrency": c} for c in concurrencies] or [{}]


def _pieces(text: str, option: str) -> list[str]:
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    if not pieces:
        raise UsageError(f"{option} is empty; write e.g. 1,4,16 or 1..7")
    return pieces


def _number(piece: str, kind: Callable[[str], _T], option: str) -> _T:
    try:
        return kind(piece)
    except ValueError as error:
        raise UsageError(f"{option}: {piece!r} is not a number; write e.g. 1,4,16 or 1..7") from error


def _positive(values: list[_T], option: str) -> list[_T]:
    for value in values:
        if not 0 < value < float("inf"):
            raise UsageError(f"{option}: {value} must be above 0")
    return list(dict.fromkeys(values))
