"""What SPEED-Bench is: configs, revisions, counts, the masked row, and how much text a throughput row holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeVar, get_args

import msgspec

from nemo_skills_specdec.errors import DataError, UsageError

DATASET = "nvidia/SPEED-Bench"
REVISION = "487aa718444e816458d1a0a52bfce7a454285cf4"
"""Version 1.0. Later versions may write `src_id` in other forms."""

RELEASES = {REVISION: "1.0", "454f88454792dfa3ccfd7ef15fff248efde44cd1": "1.1"}

Config = Literal["qualitative", "throughput_1k", "throughput_2k", "throughput_8k", "throughput_16k", "throughput_32k"]
CONFIGS: tuple[Config, ...] = get_args(Config)

QUALITATIVE_CATEGORIES = (
    "coding",
    "humanities",
    "math",
    "multilingual",
    "qa",
    "rag",
    "reasoning",
    "roleplay",
    "stem",
    "summarization",
    "writing",
)
THROUGHPUT_CATEGORIES = ("low_entropy", "mixed", "high_entropy")
ROWS_PER_QUALITATIVE_CATEGORY = 80
ROWS_PER_THROUGHPUT_CATEGORY = 512

MASK = "FULL BENCHMARK DATA"
"""How every placeholder begins: the mark of a row whose text must be fetched from its source."""

Flavor = Literal["nemo-skills", "specdec_bench"]
"""Whose rows to reproduce. The two upstream scripts differ in white space of three templates and in one list."""

CoserOrder = Literal["row", "union"]
"""Order of the other characters' profiles in CoSER rows, which upstream leaves to its JSON reader.

`row`: as each record has them (`datasets` 4.7.0 and later). `union`: in the order in which names first appear in the
whole file (earlier versions).
"""

NOTICE = (
    "SPEED-Bench is licensed under the NVIDIA Evaluation Dataset License Agreement: for evaluation only, and the "
    "completed rows must not be passed on. Its parts have licences of their own that you must check; the authors of "
    "HLE ask that its questions stay off the open web. "
    "See https://huggingface.co/datasets/nvidia/SPEED-Bench"
)

K = TypeVar("K")
V = TypeVar("V")


class RawRow(msgspec.Struct, kw_only=True):
    """One row as the hub has it.

    Attributes:
        turns: user texts; in a masked row the first begins with the placeholder.
        source: which data set the text is from; drives how the row is completed.
        src_id: key or number of the record in the source.
    """

    question_id: str
    category: str
    sub_category: str | None = None
    turns: list[str]
    source: str
    src_id: str
    difficulty: str | None = None
    multiturn: bool = False

    @property
    def masked(self) -> bool:
        """Whether the text must be fetched."""
        return bool(self.turns) and self.turns[0].startswith(MASK)

    @property
    def template(self) -> str:
        """What follows the placeholder in a masked row: a template for the fetched text.

        Raises:
            DataError: nothing follows.
        """
        template = self.turns[0].partition("\n\n")[2]
        if not template:
            raise DataError(f"row {self.question_id} from {self.source} holds no template after its placeholder")
        return template


def check_config(name: str) -> Config:
    """The config of that name.

    Raises:
        UsageError: there is none; lists those there are.
    """
    for config in CONFIGS:
        if config == name:
            return config
    raise UsageError(f"SPEED-Bench has no config {name!r}; choose one of: {', '.join(CONFIGS)}, all")


def token_budget(config: str) -> int | None:
    """Tokens of a prompt in a throughput config; None in the qualitative one. A k is 1000, not 1024."""
    match = re.search(r"throughput_(\d+)k", config)
    return int(match[1]) * 1000 if match else None


def numbers_in(row: RawRow) -> list[int]:
    """Every number behind an underscore in `src_id`, in order.

    Raises:
        DataError: there is none.
    """
    numbers = [int(number) for number in re.findall(r"_(\d+)", row.src_id)]
    if not numbers:
        raise unknown_form(row)
    return numbers


def number_at(row: RawRow, index: int) -> int:
    """The number that is a part of `src_id` between underscores, counted from 0; the last one is -1.

    Raises:
        DataError: there is none.
    """
    number = part(row, index)
    if "_" not in row.src_id or not number.isdigit():
        raise unknown_form(row)
    return int(number)


def part(row: RawRow, index: int) -> str:
    """A part of `src_id` between underscores, counted from 0.

    Raises:
        DataError: there is none.
    """
    parts = row.src_id.split("_")
    if index >= len(parts) or not parts[index]:
        raise unknown_form(row)
    return parts[index]


def unknown_form(row: RawRow) -> DataError:
    """The error for a `src_id` that no rule reads."""
    return DataError(
        f"row {row.question_id} from {row.source} has src_id {row.src_id!r}, a form that is not known; "
        f"the rules are those of revision {REVISION[:12]} (v1.0), use --revision {REVISION}"
    )


def record_of(row: RawRow, records: Mapping[K, V], key: K, where: str) -> V:
    """The record of a row.

    Raises:
        DataError: its source, which messages call `where`, does not hold it.
    """
    if key not in records:
        raise DataError(f"row {row.question_id}: {where} holds no record {row.src_id!r}; was the source changed?")
    return records[key]
