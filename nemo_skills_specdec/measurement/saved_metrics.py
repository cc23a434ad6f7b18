"""Acceptance from two saved `/metrics` texts."""

from __future__ import annotations

from pathlib import Path

from nemo_skills_specdec.engines.base import CounterReading, EngineName
from nemo_skills_specdec.engines.reading import acceptance_of_reading, read_window
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.measurement.steps import describe_steps
from nemo_skills_specdec.records import Acceptance


def diff(before: Path | str | None, after: Path | str, *, engine: EngineName | None = None) -> Acceptance:
    """Acceptance between two saved `/metrics` texts of one server.

    Args:
        before: the file saved at the start; None or an empty file for a server that had not counted anything yet.
        after: the file saved at the end.
        engine: where the texts hold series of several.

    Returns:
        Counts, rates as fractions, tokens per step, and findings on their validity.

    Raises:
        DataError: a file cannot be read, or is no metrics text.
        UsageError: the texts hold no series of an engine.
    """
    return acceptance_between(read_saved(before, after, engine=engine))


def read_saved(before: Path | str | None, after: Path | str, *, engine: EngineName | None = None) -> CounterReading:
    """What the counters say between two saved texts.

    Raises:
        DataError: a file cannot be read.
        UsageError: the texts hold no series of an engine.
    """
    first = _saved(Path(before)) if before is not None else Snapshot(url="the text before", taken_at=0.0)
    reading = read_window([first], [_saved(Path(after))], engine=engine)
    if reading.engine is None:
        raise UsageError(reading.findings[0].message)
    return reading


def acceptance_between(reading: CounterReading) -> Acceptance:
    """The result of a reading, with what it says about decode steps."""
    acceptance = acceptance_of_reading(reading)
    acceptance.findings += describe_steps(reading)
    return acceptance


def _saved(path: Path) -> Snapshot:
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give the path of a saved /metrics text") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); give the path of a saved /metrics text") from error
    return Snapshot(url=str(path), taken_at=0.0, text=text)
