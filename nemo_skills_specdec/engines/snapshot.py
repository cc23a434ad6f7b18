"""Everything scraped from one metrics endpoint at one instant, parsed once."""

from __future__ import annotations

from functools import cached_property

import msgspec

from nemo_skills_specdec.engines.base import EngineName
from nemo_skills_specdec.engines.exposition import Samples, parse_metrics
from nemo_skills_specdec.engines.registry import recognise_engine, wanted_series
from nemo_skills_specdec.errors import DataError


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Everything scraped from one metrics endpoint at one instant; the raw text is kept.

    The samples are parsed when they are first asked for, once, and are not written to files.

    Attributes:
        url: the endpoint asked, without credentials.
        taken_at: seconds since the epoch when the answer arrived.
        status: HTTP status; None if there was no answer, or if the text was read from a file.
        error: one line saying why there are no metrics; None if there are.
    """

    url: str
    taken_at: float
    status: int | None = None
    text: str = ""
    error: str | None = None

    @cached_property
    def parsed(self) -> Samples | DataError:
        """The samples, or why there are none."""
        try:
            return parse_metrics(self.text, self.url, wanted=wanted_series())
        except DataError as error:
            return error

    @property
    def samples(self) -> Samples:
        """The samples of the text.

        Raises:
            DataError: the text is no exposition text.
        """
        if isinstance(self.parsed, DataError):
            raise self.parsed
        return self.parsed

    @property
    def engine(self) -> EngineName | None:
        """The engine whose series these are; None for none, or if the text cannot be read."""
        return None if isinstance(self.parsed, DataError) else recognise_engine(self.parsed)
