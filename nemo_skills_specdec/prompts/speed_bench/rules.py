"""What every rule needs besides the row and its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.schema import CoserOrder, Flavor, RawRow
from nemo_skills_specdec.prompts.speed_bench.texts import Texts
from nemo_skills_specdec.prompts.speed_bench.tokens import Encoder


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How one config is built.

    Attributes:
        budget: tokens of a throughput prompt; None in the qualitative config.
        encoder: counts those tokens; None in the qualitative config.
    """

    texts: Texts
    flavor: Flavor
    coser_order: CoserOrder
    budget: int | None = None
    encoder: Encoder | None = None

    def measure(self, row: RawRow) -> tuple[Encoder, int]:
        """The tokenizer and the budget.

        Raises:
            DataError: the row belongs to the throughput configs, and this is not one.
        """
        if self.encoder is None or self.budget is None:
            raise DataError(
                f"row {row.question_id} from {row.source} needs a number of tokens, which only throughput configs "
                "give; is the file under the right name?"
            )
        return self.encoder, self.budget


Completer = Callable[[RawRow], list[str]]
"""Gives the turns of a masked row. Called once for each row of a config, in the order of the config."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One family of sources.

    Attributes:
        marker: what `source` contains; the first source of the list that matches is taken.
        load: fetches the records of some rows, and returns what completes them.
        gated: the repository whose terms must be accepted first.
    """

    marker: str
    load: Callable[[Sequence[RawRow], Access, Rules], Completer]
    gated: str | None = None
