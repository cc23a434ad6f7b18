"""Which files of a data set hold a split: what its card declares, else where such files usually are."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.repository import Repository, RepositoryFile, whole_file

_FORMATS = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Formats that are read here, compressed or not; where a split comes in several, the first of these is taken."""

_NOT_DATA = frozenset({"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"})
_SHARD = re.compile(r"-\d{5}-of-(\d{5})")
_SPLITS = ("test", "validation", "train")
"""In the order in which one is taken when none is asked for."""


class SplitFiles(msgspec.Struct, frozen=True):
    """The files of one split of one config, in order.

    Attributes:
        config: its name; None where the card names none.
        named: whether the card or the names of the files tell the split.
    """

    config: str | None
    split: str
    files: tuple[RepositoryFile, ...]
    named: bool = True


def config_names(fetcher: Fetcher, repository: Repository) -> list[str]:
    """The configs that the card of a data set names."""
    return list(_card(fetcher, repository).configs)


def split_files(
    fetcher: Fetcher, repository: Repository, config: str | None = None, split: str | None = None
) -> SplitFiles:
    """All files of a split.

    Args:
        config: None takes the default one that the card names, or the only one.
        split: None takes test, else validation, else train, else the only one.

    Raises:
        UsageError: there are several configs or splits and none is the default; lists them.
        DataError: nothing fits; lists what there is.
    """
    card = _card(fetcher, repository)
    if config is None and card.configs:
        config = card.default
        if config is None:
            names = ", ".join(card.configs)
            raise UsageError(f"{repository.repo_id} has the configs {names} and no default; choose one with --config")
    declared = card.configs.get(config, {}) if config is not None else {}
    found = {name: files for name, patterns in declared.items() if (files := _matching(repository, patterns))}
    if split is None and found:
        split = next((name for name in _SPLITS if name in found), None)
        if split is None and len(found) > 1:
            raise UsageError(f"{repository.repo_id} has the splits {', '.join(found)}; choose one with --split")
        split = split or next(iter(found))
    if split is not None and split in found:
        return SplitFiles(config, split, _complete(repository, found[split]))
    for name in _SPLITS if split is None else (split,):
        for patterns in _usual_places(config, name, is_default=config == card.default):
            files = _matching(repository, patterns)
            if files:
                return SplitFiles(config, name, _complete(repository, files))
    everything = _matching(repository, ["*"])
    if split is None and not card.configs and config is None and everything:
        # Files whose names tell no split are the split train, as `datasets` has it.
        return SplitFiles(None, "train", _complete(repository, everything), named=False)
    listed = ", ".join(file.path for file in everything[:8]) or "none"
    known = f"; its configs are: {', '.join(card.configs)}" if card.configs else ""
    wanted = f"config {config!r}, split {split or 'test'!r}" if config else f"split {split or 'test'!r}"
    raise DataError(
        f"{repository.repo_id} at {repository.sha[:12]} has no data file for {wanted}; it has: {listed}{known}"
    )


def data_files(repository: Repository) -> list[RepositoryFile]:
    """The data files of a repository in the formats that are read here, in the order of their paths."""
    found = (f for f in repository.files if _format(f.path) and f.path.rpartition("/")[2] not in _NOT_DATA)
    return sorted(found, key=lambda file: file.path)


def _format(path: str) -> str | None:
    base = path.lower().removesuffix(".gz").removesuffix(".zst")
    return next((suffix for suffix in _FORMATS if base.endswith(suffix)), None)


def _matching(repository: Repository, patterns: Sequence[str]) -> tuple[RepositoryFile, ...]:
    """Data files that fit one of the patterns, all of one format."""
    found = [file for file in data_files(repository) if any(fnmatch.fnmatchcase(file.path, p) for p in patterns)]
    formats = {_format(file.path) for file in found}
    best = next((suffix for suffix in _FORMATS if suffix in formats), None)
    return tuple(file for file in found if _format(file.path) == best)


def _complete(repository: Repository, files: tuple[RepositoryFile, ...]) -> tuple[RepositoryFile, ...]:
    """The files, of which none is missing by the number of shards that their names tell.

    Raises:
        DataError: there are less shards than that.
    """
    known = Counter(_SHARD.sub("", file.path) for file in files)
    for file in files:
        told = _SHARD.search(file.path)
        count = known[_SHARD.sub("", file.path)]
        if told and count < int(told[1]):
            raise DataError(
                f"{repository.repo_id} at {repository.sha[:12]}: of {int(told[1])} shards like {file.path} only "
                f"{count} are known; run once without --offline, or choose another --revision"
            )
    return files


class _Card(msgspec.Struct, frozen=True):
    """What the header of a card declares: config -> split -> patterns of paths, and the default config."""

    configs: dict[str, dict[str, list[str]]]
    default: str | None


def _card(fetcher: Fetcher, repository: Repository) -> _Card:
    card = next((file for file in repository.files if file.path == "README.md"), None)
    if card is None:
        return _Card({}, None)
    from huggingface_hub import DatasetCard

    with open(whole_file(fetcher, repository, card).path, encoding="utf-8") as file:
        header: dict[str, Any] = vars(DatasetCard(file.read(), ignore_metadata_errors=True).data)
    configs: dict[str, dict[str, list[str]]] = {}
    defaults: list[str] = []
    for entry in _as_list(header.get("configs")):
        if not isinstance(entry, dict):
            continue
        name = str(entry.get("config_name"))
        if entry.get("default"):
            defaults.append(name)
        prefix = f"{str(entry['data_dir']).strip('/')}/" if entry.get("data_dir") else ""
        splits = configs.setdefault(name, {})
        for split, path in _patterns(
            entry.get("data_files") or ([f"*{split}*" for split in _SPLITS] if prefix else [])
        ):
            splits.setdefault(split, []).append(prefix + path)
    if not defaults:
        defaults = ["default"] if "default" in configs else list(configs) if len(configs) == 1 else []
    return _Card(configs, defaults[0] if defaults else None)


def _patterns(data_files: object) -> Iterator[tuple[str, str]]:
    """Split and pattern, from any of the forms in which a card may list data files."""
    if isinstance(data_files, Mapping):
        for split, paths in data_files.items():
            yield from ((str(split), path) for path in _as_list(paths) if isinstance(path, str))
        return
    for data in _as_list(data_files):
        if isinstance(data, Mapping):
            yield from ((str(data.get("split", "train")), p) for p in _as_list(data.get("path")) if isinstance(p, str))
        elif isinstance(data, str):
            name = data.lower()
            yield next((split for split in _SPLITS if split in name), "train"), data


def _usual_places(config: str | None, split: str, *, is_default: bool) -> list[list[str]]:
    def inside(folder: str) -> list[str]:
        return [f"{folder}{split}-*", f"{folder}{split}.*", f"{folder}{split}[0-9]*"]

    places: list[list[str]] = []
    if config:
        places += [inside(f"{config}/"), inside(f"data/{config}/"), [f"*{config}*{split}*"]]
    if is_default:
        places += [inside("data/"), inside(""), inside("default/"), [f"*{split}*"]]
    return places


def _as_list(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
