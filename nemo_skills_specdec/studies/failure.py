"""Why a run could not be made, as it is noted in the run's directory."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import JSON_ERRORS, WriteError
from nemo_skills_specdec.files import pretty, write_atomically
from nemo_skills_specdec.studies.config import RunConfig
from nemo_skills_specdec.studies.stored_config import config_hash

FAILED = "failed.json"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `failed.json`: why a run could not be made."""

    error: str
    config_hash: str
    at: str


def write_failure(directory: Path, config: RunConfig, error: Exception) -> None:
    """Notes in the run's directory why it could not be made."""
    failure = Failure(
        error=str(error),
        config_hash=config_hash(config),
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    with contextlib.suppress(WriteError):
        write_atomically(directory / FAILED, pretty(failure))


def read_failure(directory: Path) -> str | None:
    """Why a run could not be made; None if it did not fail."""
    try:
        return msgspec.json.decode((directory / FAILED).read_bytes(), type=Failure).error or "it failed for no reason"
    except FileNotFoundError:
        return None
    except (OSError, *JSON_ERRORS) as error:
        return f"{directory / FAILED} cannot be read ({error})"


def forget_failure(directory: Path) -> None:
    """Takes the note away, since the run is made again."""
    with contextlib.suppress(OSError):
        (directory / FAILED).unlink()
