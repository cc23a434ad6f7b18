"""Options about which prompts are sent, shared by `eval`, `experiment` and `sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from nemo_skills_specdec.errors import UsageError

if TYPE_CHECKING:
    from nemo_skills_specdec.studies.config import Benchmark

PROMPTS = "Prompts"


class PromptFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Options about the prompts."""

    benchmark: Annotated[
        str | None,
        typer.Option(
            help="mini (built in), in a study also emulated, or one made by `ns-specdec prepare`.",
            rich_help_panel=PROMPTS,
        ),
    ] = None
    config: Annotated[
        str | None, typer.Option(help="Config of the prompt set, e.g. throughput_2k.", rich_help_panel=PROMPTS)
    ] = None
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder given to `ns-specdec prepare`.", rich_help_panel=PROMPTS)
    ] = None
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="File of prompts to use instead (JSONL, JSON, CSV, Parquet or text).", rich_help_panel=PROMPTS
        ),
    ] = None
    column: Annotated[
        str | None,
        typer.Option(help="Column (key) of the prompt in that file. Default: a known one.", rich_help_panel=PROMPTS),
    ] = None
    category: Annotated[
        list[str] | None, typer.Option(help="Only this category; repeatable.", rich_help_panel=PROMPTS)
    ] = None
    limit_per_category: Annotated[
        int | None, typer.Option(min=1, help="Only the first N prompts of each category.", rich_help_panel=PROMPTS)
    ] = None


def benchmark_of(prompts: PromptFlags) -> Benchmark:
    """The prompts that these options name.

    Raises:
        UsageError: two of them exclude each other.
    """
    from nemo_skills_specdec.studies.config import Benchmark

    if prompts.benchmark is not None and prompts.prompts is not None:
        raise UsageError("--benchmark and --prompts exclude each other; give one of them")
    return Benchmark(
        name=prompts.benchmark or "mini",
        config=prompts.config,
        data_dir=str(prompts.data_dir) if prompts.data_dir is not None else None,
        prompts=str(prompts.prompts) if prompts.prompts is not None else None,
        column=prompts.column,
        categories=list(prompts.category or ()),
        limit_per_category=prompts.limit_per_category,
    )
