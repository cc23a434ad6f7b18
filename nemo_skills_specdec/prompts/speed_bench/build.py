"""Completing a config: every masked row from its source, in the order of the data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.prepared.rows import user_messages
from nemo_skills_specdec.prompts.speed_bench.own_texts import OWN_TEXTS, SOURCE_MARK
from nemo_skills_specdec.prompts.speed_bench.rules import Completer, Rules
from nemo_skills_specdec.prompts.speed_bench.schema import MASK, RawRow
from nemo_skills_specdec.prompts.speed_bench.sources import source_of
from nemo_skills_specdec.records import PromptRow

# Rules that add no wording of their own, so that rows are the same with our wording.
_WITHOUT_WORDING = frozenset(
    {
        "abisee/cnn_dailymail",
        "livecodebench/code_generation_lite",
        "deepmind/code_contests",
        "mtbench101/mt-bench-101",
        "Helsinki-NLP/opus-100",
        "ZenMoore/RoleBench",
    }
)


def completers(rows: Sequence[RawRow], access: Access, rules: Rules) -> dict[str, Completer]:
    """What completes the masked rows, by the marker of their source. Fetches every record that will be needed.

    Raises:
        DataError: a masked row is of no known source, or its placeholder is not the one of the texts.
    """
    by_marker: defaultdict[str, list[RawRow]] = defaultdict(list)
    for row in rows:
        if row.masked:
            if not row.turns[0].startswith(rules.texts.placeholder):
                raise DataError(
                    f"row {row.question_id} has a placeholder of an unknown form; choose another --revision"
                )
            by_marker[source_of(row).marker].append(row)
    return {marker: source_of(members[0]).load(members, access, rules) for marker, members in by_marker.items()}


def built_rows(rows: Iterable[RawRow], completing: dict[str, Completer], rules: Rules) -> Iterator[PromptRow]:
    """The complete rows, one at a time, in the order given, which must be that of the data set.

    Raises:
        DataError: a row has no text, or a placeholder is left in it.
    """
    own = rules.texts is OWN_TEXTS
    for row in rows:
        turns, source = row.turns, row.source
        if row.masked:
            marker = source_of(row).marker
            turns = completing[marker](row)
            alone = rules.budget is None and marker == "cais/hle"
            if own and marker not in _WITHOUT_WORDING and not alone:
                source = SOURCE_MARK + source
        if not turns or not all(turn.strip() for turn in turns):
            raise DataError(f"row {row.question_id} from {row.source} has an empty turn; was the source changed?")
        if any(MASK in turn for turn in turns):
            raise DataError(
                f"row {row.question_id} from {row.source} still holds a placeholder; was the source changed?"
            )
        yield PromptRow(
            question_id=row.question_id,
            category=row.category,
            sub_category=row.sub_category,
            source=source,
            src_id=row.src_id,
            difficulty=row.difficulty,
            multiturn=row.multiturn,
            messages=user_messages(turns),
        )
