"""`ns-specdec prepare`: prompt sets, ready to be sent."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec
import typer

from nemo_skills_specdec.cli._streams import write_line
from nemo_skills_specdec.option_groups import spread
from nemo_skills_specdec.prompts.prepare_options import PrepareFlags


@spread
def prepare(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="speed-bench, mini, spec-bench, mt-bench, gsm8k, humaneval, math-500, mbpp, speculator_benchmarks, "
            "random, org/name of a hub data set, or a file (JSON lines, JSON, CSV, Parquet, text).",
        ),
    ],
    flags: PrepareFlags,
) -> None:
    """Prepare a prompt set: rows in NeMo-Skills' shape, and a manifest that records where each comes from.

    If interrupted, rerun the same command to resume. Exits with 1 if the result is not fit for use.
    """
    from nemo_skills_specdec.evaluator.dataset_folders import free_name, write_dataset_folder
    from nemo_skills_specdec.prompts.catalog import folder_name
    from nemo_skills_specdec.prompts.preparation import PrepareOptions
    from nemo_skills_specdec.prompts.preparation import prepare as prepare_set
    from nemo_skills_specdec.prompts.prepared.folder import default_data_dir

    for_nemo_skills = flags.data_dir is not None or bool(os.environ.get("NEMO_SKILLS_DATA_DIR"))
    if flags.output_dir is None:
        name = free_name(name, lambda line: write_line(line, stderr=True) if for_nemo_skills else None)
    if flags.output_dir is None and for_nemo_skills:
        # First, since it brings all rows of `mini` along, which may be fewer in the end.
        write_dataset_folder(folder_name(name), flags.data_dir or default_data_dir())
    options = PrepareOptions(name=name, **msgspec.structs.asdict(flags))
    results = prepare_set(options, lambda line: write_line(line, stderr=True))
    if not all(result.ok for result in results):
        raise typer.Exit(1)
