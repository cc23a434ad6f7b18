"""News articles from abisee/cnn_dailymail, to be summarised."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules, Source
from nemo_skills_specdec.prompts.speed_bench.schema import RawRow, not_found
from nemo_skills_specdec.prompts.speed_bench.templates import filled

_REPOSITORY = "abisee/cnn_dailymail"
# Upstream pins no revision; the commit in use stands in the manifest.
_REVISION = "main"


def load(rows: Sequence[RawRow], access: Access, rules: Rules) -> Completer:
    """Finds the articles by their id."""
    table = access.table(_REPOSITORY, _REVISION, "3.0.0")
    articles = table.find("id", {row.src_id for row in rows}, ["article"])

    def turns(row: RawRow) -> list[str]:
        if row.src_id not in articles:
            raise not_found(row, table.name)
        return [filled(row.template, article=articles[row.src_id]["article"])]

    return turns


SOURCE = Source(marker=_REPOSITORY, load=load)
