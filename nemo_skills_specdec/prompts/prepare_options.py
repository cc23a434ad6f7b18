"""The options of preparing a prompt set, declared once: for the command line, NeMo-Skills' folders and Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from nemo_skills_specdec.prompts.speed_bench.schema import Flavor

_SPEED_BENCH = "SPEED-Bench"
_SETS = "Other prompt sets"
_WHERE = "Output"
_NETWORK = "Network"


class PrepareFlags(msgspec.Struct, frozen=True, kw_only=True):
    """What to take and where to put it; `config` to `skip_gated` are of SPEED-Bench, `source` to `seed` of others.

    `coser_order` `auto` is `row`, what upstream's scripts give with a present-day `datasets` (4.7.0 or later).
    """

    config: Annotated[
        str,
        typer.Option(
            help="qualitative, throughput_1k, _2k, _8k, _16k, _32k, or all; of mini, also small; of a hub data set, "
            "its config.",
            rich_help_panel=_SPEED_BENCH,
        ),
    ] = "qualitative"
    flavor: Annotated[
        Flavor, typer.Option(help="Reproduce the rows of this upstream script.", rich_help_panel=_SPEED_BENCH)
    ] = "nemo-skills"
    coser_order: Annotated[
        Literal["auto", "row", "union"],
        typer.Option(help="Order of profiles in CoSER rows; auto means row.", rich_help_panel=_SPEED_BENCH),
    ] = "auto"
    texts: Annotated[
        Literal["upstream", "own"],
        typer.Option(
            help="Wording around the records; results with own are not comparable.", rich_help_panel=_SPEED_BENCH
        ),
    ] = "upstream"
    texts_from: Annotated[
        Path | None, typer.Option(help="Upstream file to read the wording from.", rich_help_panel=_SPEED_BENCH)
    ] = None
    allow_unknown_texts: Annotated[
        bool,
        typer.Option(
            "--allow-unknown-texts", help="Accept wording of an unknown version.", rich_help_panel=_SPEED_BENCH
        ),
    ] = False
    from_prepared: Annotated[
        Path | None,
        typer.Option(help="Check and import a folder prepared elsewhere; no network.", rich_help_panel=_SPEED_BENCH),
    ] = None
    skip_gated: Annotated[
        bool,
        typer.Option(
            "--skip-gated", help="Leave out rows whose source requires accepting terms.", rich_help_panel=_SPEED_BENCH
        ),
    ] = False
    source: Annotated[
        Path | None, typer.Option("--from", help="Read this local file or folder instead.", rich_help_panel=_SETS)
    ] = None
    column: Annotated[
        str | None,
        typer.Option(help="Column (key) of the prompt, in a hub data set or a file.", rich_help_panel=_SETS),
    ] = None
    subset: Annotated[
        list[str] | None, typer.Option(help="Subset of a hub data set; repeatable.", rich_help_panel=_SETS)
    ] = None
    split: Annotated[
        str | None,
        typer.Option(help="Split of a hub data set. Default: test, validation or train.", rich_help_panel=_SETS),
    ] = None
    num_prompts: Annotated[int, typer.Option(min=1, help="Number of random prompts.", rich_help_panel=_SETS)] = 100
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens per random prompt.", rich_help_panel=_SETS)] = 512
    tokenizer: Annotated[
        Path | None, typer.Option(help="The model's tokenizer.json, for random prompts.", rich_help_panel=_SETS)
    ] = None
    seed: Annotated[int, typer.Option(help="Seed of random prompts.", rich_help_panel=_SETS)] = 0
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            "--data_dir",
            help="Data folder; files are written to its folder NAME. Default: NEMO_SKILLS_DATA_DIR, else data.",
            rich_help_panel=_WHERE,
        ),
    ] = None
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir", "--output_dir", help="Write the files directly into this folder.", rich_help_panel=_WHERE
        ),
    ] = None
    limit_per_category: Annotated[
        int | None, typer.Option(min=1, help="Keep the first N rows of each category.", rich_help_panel=_WHERE)
    ] = None
    revision: Annotated[
        str | None, typer.Option(help="Revision of the hub data set. Default: pinned.", rich_help_panel=_NETWORK)
    ] = None
    offline: Annotated[
        bool, typer.Option("--offline", help="Use the cache only; no network.", rich_help_panel=_NETWORK)
    ] = False
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="Download cache. Default: SPECDEC_CACHE, else ~/.cache.", rich_help_panel=_NETWORK),
    ] = None
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Additional host to read from; repeatable.", rich_help_panel=_NETWORK),
    ] = None
