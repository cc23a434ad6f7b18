"""The one selection among prompt rows, for every command that sends them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from nemo_skills_specdec.client.schedule import round_robin
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.records import PromptRow


def select(
    rows: Sequence[PromptRow],
    *,
    categories: Collection[str] = (),
    limit_per_category: int | None = None,
    num_prompts: int | None = None,
    name: str = "the prompt set",
) -> list[PromptRow]:
    """The rows of the categories and numbers asked for, in the order they came.

    Args:
        categories: to keep; none keeps all.
        limit_per_category: keep the first so many of each category.
        num_prompts: keep at most so many, taken in turn from the categories.
        name: of the prompt set, for messages.

    Raises:
        UsageError: a category does not exist; names those that do.
    """
    known = {row.category for row in rows}
    if missing := sorted(set(categories) - known):
        raise UsageError(f"no category {', '.join(missing)} in {name}; there are {', '.join(sorted(known))}")
    kept = [row for row in rows if not categories or row.category in categories]
    kept = list(first_of_each(kept, limit_per_category))
    if num_prompts is not None and num_prompts < len(kept):
        chosen = set(round_robin([row.category for row in kept])[:num_prompts])
        kept = [row for index, row in enumerate(kept) if index in chosen]
    return kept


def first_of_each(rows: Iterable[PromptRow], limit: int | None) -> Iterator[PromptRow]:
    """The first `limit` rows of each category, one at a time. Every row is consumed, also those left out."""
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.category] += 1
        if limit is None or seen[row.category] <= limit:
            yield row
