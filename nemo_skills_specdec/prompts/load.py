"""Prompts ready to be sent, by name or path: the one road of `eval`, studies and Python."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.catalog import ALIAS, NAMES, base_name, folder_name
from nemo_skills_specdec.prompts.preparation import DEFAULT_CONFIG, SET_CONFIG
from nemo_skills_specdec.prompts.prepared.folder import default_data_dir, prepared_file, prepared_names
from nemo_skills_specdec.prompts.prepared.manifest import PreparedManifest
from nemo_skills_specdec.prompts.prepared.rows import stored_rows
from nemo_skills_specdec.prompts.prepared.verify import verify_file
from nemo_skills_specdec.prompts.prompt_set import SPEED_BENCH
from nemo_skills_specdec.prompts.rows import is_prompt_file, prompt_file_stem, read_rows, select
from nemo_skills_specdec.prompts.sets.mini import load_mini
from nemo_skills_specdec.prompts.speed_bench.schema import check_config
from nemo_skills_specdec.records import Finding, PromptRow


class LoadedPrompts(msgspec.Struct, kw_only=True):
    """Prompts ready to be sent, and what is to be said about them.

    Attributes:
        name: of the prompt set, with its config where it has several.
        findings: remarks on the prompts, to be repeated beside numbers measured with them.
        manifest: None for rows whose making is not recorded.
    """

    name: str
    rows: list[PromptRow]
    findings: list[Finding]
    manifest: PreparedManifest | None = None


def load_prompts(
    name: str | Path = "mini",
    *,
    config: str | None = None,
    data_dir: Path | None = None,
    column: str | None = None,
    categories: Collection[str] = (),
    limit_per_category: int | None = None,
    num_prompts: int | None = None,
) -> list[PromptRow]:
    """Prompt rows, ready for `evaluate`.

    Args:
        name: `mini`, the path of a file of prompts (JSON lines, JSON, CSV, Parquet, text), or a prompt set made by
            `ns-specdec prepare`, such as `speed-bench` or `gsm8k`.
        config: of a prompt set that has several; None takes `qualitative` of SPEED-Bench and `full` of mini, which
            also has `small`.
        data_dir: the folder that was given when preparing, or the set's own folder; None takes NeMo-Skills' data
            folder, else `data`.
        column: the key of the prompt in a file; None looks for it.
        categories: to keep; none keeps all.
        limit_per_category: keep the first so many of each category.
        num_prompts: keep at most so many, taken in turn from the categories.

    Raises:
        UsageError: there is no such set, category or column, or the set is not prepared; says how to do that.
        DataError: a file is damaged.
    """
    return load_with_findings(
        name,
        config=config,
        data_dir=data_dir,
        column=column,
        categories=categories,
        limit_per_category=limit_per_category,
        num_prompts=num_prompts,
    ).rows


def load_with_findings(
    name: str | Path = "mini",
    *,
    config: str | None = None,
    data_dir: Path | None = None,
    column: str | None = None,
    categories: Collection[str] = (),
    limit_per_category: int | None = None,
    num_prompts: int | None = None,
) -> LoadedPrompts:
    """As `load_prompts`, with the name of the set and the remarks on its rows."""
    loaded = _load(name, config, data_dir, column)
    loaded.rows = select(
        loaded.rows,
        categories=categories,
        limit_per_category=limit_per_category,
        num_prompts=num_prompts,
        name=loaded.name,
    )
    return loaded


def _load(name: str | Path, config: str | None, data_dir: Path | None, column: str | None) -> LoadedPrompts:
    if isinstance(name, Path) or is_prompt_file(name) or (base_name(name) not in NAMES and Path(name).is_file()):
        read = read_rows(Path(name), column=column)
        return LoadedPrompts(name=prompt_file_stem(str(name)), rows=read.rows, findings=read.findings)
    if column is not None:
        raise UsageError(f"a column (--column) is of a file of prompts, and {name} is a prompt set; drop it")
    if base_name(name) == "mini":
        title = "mini" if config in (None, "full") else f"mini/{config}"
        return LoadedPrompts(name=title, rows=load_mini(config or "full"), findings=[])
    return _load_prepared(name, config, data_dir)


def _load_prepared(name: str, config: str | None, data_dir: Path | None) -> LoadedPrompts:
    set_name = base_name(name)
    base = data_dir or default_data_dir()
    places = (base / folder_name(name), base / f"{set_name}{ALIAS}", base)
    # Sets of the hub are one file, whatever config of the data set it was made from.
    is_file = config is not None and any(config in prepared_names(place) for place in places)
    wanted = DEFAULT_CONFIG if set_name == SPEED_BENCH else SET_CONFIG
    if config is not None and (set_name == SPEED_BENCH or is_file):
        wanted = config
    if set_name == SPEED_BENCH:
        check_config(wanted)
    elif set_name not in NAMES and "/" not in name:
        raise UsageError(f"there is no prompt set {name!r}; choose one of: {SPEED_BENCH}, {', '.join(NAMES)}")
    command = f"ns-specdec prepare {name}" + (
        f" --config {config or wanted}" if config or set_name == SPEED_BENCH else ""
    )
    command += f" --data-dir {data_dir}" if data_dir else ""
    folder = next((place for place in places if wanted in prepared_names(place)), None)
    if folder is None:
        raise UsageError(f"{name} is not prepared in {base}; run: {command}")
    path = prepared_file(folder, wanted)
    verification, manifest = verify_file(path)
    if not verification.ok:
        raise UsageError(f"{path} must not be used: {verification.reasons}")
    if manifest is not None and manifest.benchmark not in (set_name, folder_name(name)):
        raise UsageError(f"{path} holds {manifest.benchmark}, not {name}; give another --data-dir")
    if manifest is not None and config not in (None, wanted, manifest.source_config):
        raise UsageError(f"{path} was made from config {manifest.source_config}, not {config}; run: {command}")
    title = set_name if config is None and set_name != SPEED_BENCH else f"{set_name}/{config or wanted}"
    return LoadedPrompts(name=title, rows=list(stored_rows(path)), findings=verification.findings, manifest=manifest)
