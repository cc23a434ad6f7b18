"""`ns-specdec prepare`: prompt sets, ready to be sent."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

SPEED_BENCH = "SPEED-Bench"
SETS = "Other prompt sets"
WHERE = "Where to"
NETWORK = "Network"


class Flavor(str, Enum):
    """Whose rows to reproduce."""

    nemo_skills = "nemo-skills"
    specdec_bench = "specdec_bench"


class CoserOrder(str, Enum):
    """Order of the other characters' profiles in CoSER rows."""

    auto = "auto"
    row = "row"
    union = "union"


class Texts(str, Enum):
    """Whose wording stands around the records."""

    upstream = "upstream"
    own = "own"


def prepare(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="speed-bench, mini, spec-bench, mt-bench, gsm8k, humaneval, math-500, mbpp, speculator_benchmarks, "
            "random, org/name of a data set on the hub, or a .jsonl or .json file.",
        ),
    ],
    config: Annotated[
        str,
        typer.Option(help="qualitative, throughput_1k, _2k, _8k, _16k, _32k, or all.", rich_help_panel=SPEED_BENCH),
    ] = "qualitative",
    flavor: Annotated[
        Flavor, typer.Option(help="Whose rows to reproduce.", rich_help_panel=SPEED_BENCH)
    ] = Flavor.nemo_skills,
    coser_order: Annotated[
        CoserOrder,
        typer.Option(help="Order of profiles in CoSER rows; auto is row.", rich_help_panel=SPEED_BENCH),
    ] = CoserOrder.auto,
    texts: Annotated[
        Texts,
        typer.Option(help="Whose wording; with own, nothing is comparable.", rich_help_panel=SPEED_BENCH),
    ] = Texts.upstream,
    texts_from: Annotated[
        Path | None, typer.Option(help="An upstream file to read the wording from.", rich_help_panel=SPEED_BENCH)
    ] = None,
    allow_unknown_texts: Annotated[
        bool,
        typer.Option(
            "--allow-unknown-texts", help="Accept wording of an unknown version.", rich_help_panel=SPEED_BENCH
        ),
    ] = False,
    from_prepared: Annotated[
        Path | None,
        typer.Option(help="A folder prepared elsewhere, to check and take over.", rich_help_panel=SPEED_BENCH),
    ] = None,
    skip_gated: Annotated[
        bool,
        typer.Option(
            "--skip-gated", help="Leave out rows whose source wants accepted terms.", rich_help_panel=SPEED_BENCH
        ),
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="A local file or folder in place of the hub's.", rich_help_panel=SETS),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of a hub data set that holds the prompt.", rich_help_panel=SETS)
    ] = None,
    subset: Annotated[
        list[str] | None, typer.Option(help="Part of a hub data set; may be repeated.", rich_help_panel=SETS)
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of a hub data set. Default: test.", rich_help_panel=SETS)
    ] = None,
    num_prompts: Annotated[int, typer.Option(min=1, help="How many random prompts.", rich_help_panel=SETS)] = 100,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a random prompt.", rich_help_panel=SETS)] = 512,
    tokenizer: Annotated[
        Path | None, typer.Option(help="tokenizer.json of the model, for random prompts.", rich_help_panel=SETS)
    ] = None,
    seed: Annotated[int, typer.Option(help="For random prompts.", rich_help_panel=SETS)] = 0,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            "--data_dir",
            help="Data folder; files go to NAME in it. Default: NEMO_SKILLS_DATA_DIR, else data.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "--output_dir", help="The very folder for the files.", rich_help_panel=WHERE),
    ] = None,
    limit_per_category: Annotated[
        int | None,
        typer.Option(min=1, help="Keep the first N rows of each category.", rich_help_panel=WHERE),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Of the data set on the hub. Default: pinned.", rich_help_panel=NETWORK)
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Send nothing; take everything from the cache.", rich_help_panel=NETWORK)
    ] = False,
    cache_dir: Annotated[
        Path | None,
        typer.Option(help="What was fetched. Default: SPECDEC_CACHE, else ~/.cache.", rich_help_panel=NETWORK),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further host that may be read; may be repeated.", rich_help_panel=NETWORK),
    ] = None,
) -> None:
    """Prepare a prompt set: rows in NeMo-Skills' shape, and a manifest that says where each is from.

    Stopped at any moment, the same command goes on where it was. Exits 1 if the result is not fit for use.
    """
    from nemo_skills_specdec import prepare_data
    from nemo_skills_specdec.evaluator.dataset_folders import write_dataset_folder
    from nemo_skills_specdec.prompts.catalog import folder_name
    from nemo_skills_specdec.prompts.prepared.folder import default_data_dir
    from nemo_skills_specdec.prompts.prompt_set import SetOptions

    if output_dir is None and (data_dir is not None or os.environ.get("NEMO_SKILLS_DATA_DIR")):
        # First, since it brings all rows of `mini` along, which may be fewer in the end.
        write_dataset_folder(folder_name(name), data_dir or default_data_dir())
    results = prepare_data.prepare(
        prepare_data.PrepareOptions(
            name=name,
            config=config,
            data_dir=data_dir,
            output_dir=output_dir,
            revision=revision,
            flavor=flavor.value,
            coser_order=None if coser_order is CoserOrder.auto else coser_order.value,
            texts_from=texts_from,
            own_texts=texts is Texts.own,
            allow_unknown_texts=allow_unknown_texts,
            from_prepared=from_prepared,
            skip_gated=skip_gated,
            limit_per_category=limit_per_category,
            offline=offline,
            cache_dir=cache_dir,
            allow_hosts=tuple(allow_host or ()),
            prompts=SetOptions(
                path=source,
                column=column,
                subsets=tuple(subset or ()),
                split=split,
                num_prompts=num_prompts,
                prompt_tokens=prompt_tokens,
                tokenizer=tokenizer,
                seed=seed,
            ),
        ),
        lambda line: typer.echo(line, err=True),
    )
    if not all(result.ok for result in results):
        raise typer.Exit(1)
