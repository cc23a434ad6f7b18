"""The options of preparing a prompt set, declared once: for the command line, NeMo-Skills' folders and Python."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from nemo_skills_specdec.prompts.speed_bench.schema import Flavor

_speed_bench = partial(typer.Option, rich_help_panel="SPEED-Bench")
_sets = partial(typer.Option, rich_help_panel="Other prompt sets")
_where = partial(typer.Option, rich_help_panel="Output")
_network = partial(typer.Option, rich_help_panel="Network")


class PrepareFlags(msgspec.Struct, frozen=True, kw_only=True):
    """What to take and where to put it; `config` to `skip_gated` are of SPEED-Bench, `source` to `seed` of others.

    `coser_order` `auto` is `row`, what upstream's scripts give with a present-day `datasets` (4.7.0 or later).
    """

    config: Annotated[
        str,
        _speed_bench(
            help="qualitative, throughput_1k, _2k, _8k, _16k, _32k, or all; of mini, also small; of a hub data set, "
            "its config."
        ),
    ] = "qualitative"
    flavor: Annotated[Flavor, _speed_bench(help="Reproduce the rows of this upstream script.")] = "nemo-skills"
    coser_order: Annotated[
        Literal["auto", "row", "union"], _speed_bench(help="Order of profiles in CoSER rows; auto means row.")
    ] = "auto"
    texts: Annotated[
        Literal["upstream", "own"],
        _speed_bench(help="Wording around the records; results with own are not comparable."),
    ] = "upstream"
    texts_from: Annotated[Path | None, _speed_bench(help="Upstream file to read the wording from.")] = None
    allow_unknown_texts: Annotated[
        bool, _speed_bench("--allow-unknown-texts", help="Accept wording of an unknown version.")
    ] = False
    from_prepared: Annotated[
        Path | None, _speed_bench(help="Check and import a folder prepared elsewhere; no network.")
    ] = None
    skip_gated: Annotated[
        bool, _speed_bench("--skip-gated", help="Leave out rows whose source requires accepting terms.")
    ] = False
    source: Annotated[Path | None, _sets("--from", help="Read this local file or folder instead.")] = None
    column: Annotated[str | None, _sets(help="Column (key) of the prompt, in a hub data set or a file.")] = None
    subset: Annotated[list[str] | None, _sets(help="Subset of a hub data set; repeatable.")] = None
    split: Annotated[str | None, _sets(help="Split of a hub data set. Default: test, validation or train.")] = None
    num_prompts: Annotated[int, _sets(min=1, help="Number of random prompts.")] = 100
    prompt_tokens: Annotated[int, _sets(min=1, help="Tokens per random prompt.")] = 512
    tokenizer: Annotated[Path | None, _sets(help="The model's tokenizer.json, for random prompts.")] = None
    seed: Annotated[int, _sets(help="Seed of random prompts.")] = 0
    data_dir: Annotated[
        Path | None,
        _where(
            "--data-dir",
            "--data_dir",
            help="Data folder; files are written to its folder NAME. Default: NEMO_SKILLS_DATA_DIR, else data.",
        ),
    ] = None
    output_dir: Annotated[
        Path | None, _where("--output-dir", "--output_dir", help="Write the files directly into this folder.")
    ] = None
    limit_per_category: Annotated[int | None, _where(min=1, help="Keep the first N rows of each category.")] = None
    revision: Annotated[str | None, _network(help="Revision of the hub data set. Default: pinned.")] = None
    offline: Annotated[bool, _network("--offline", help="Use the cache only; no network.")] = False
    cache_dir: Annotated[Path | None, _network(help="Download cache. Default: SPECDEC_CACHE, else ~/.cache.")] = None
    allow_host: Annotated[list[str] | None, _network(help="Additional host to read from; repeatable.")] = None
