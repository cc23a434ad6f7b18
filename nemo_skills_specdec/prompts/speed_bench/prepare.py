"""Preparing SPEED-Bench: checks first, then fetching, building, writing, and checks again."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.repository import Repository, check_access, open_repository
from nemo_skills_specdec.prompts.prepared.manifest import PreparedManifest, Wording, write_prepared
from nemo_skills_specdec.prompts.rows import first_of_each
from nemo_skills_specdec.prompts.speed_bench.build import built_rows, completers
from nemo_skills_specdec.prompts.speed_bench.raw import config_files, raw_rows
from nemo_skills_specdec.prompts.speed_bench.rules import Rules
from nemo_skills_specdec.prompts.speed_bench.schema import (
    DATASET,
    NOTICE,
    REVISION,
    Config,
    CoserOrder,
    Flavor,
    RawRow,
    token_budget,
)
from nemo_skills_specdec.prompts.speed_bench.sources import source_of
from nemo_skills_specdec.prompts.speed_bench.sources.hle import REPOSITORY as HLE
from nemo_skills_specdec.prompts.speed_bench.text_search import FoundTexts, find_texts, own_texts
from nemo_skills_specdec.prompts.speed_bench.tokens import ENCODING, Encoder, load_encoder
from nemo_skills_specdec.records import Finding

NAME = "speed-bench"

_SOURCE_BYTES = 400 << 20
"""Room that the sources take in the cache, estimated generously; LiveCodeBench is streamed and takes none."""

Say = Callable[[str], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What to prepare, and how.

    Attributes:
        folder: where `<config>.jsonl` and its manifest go.
        own_texts: take our own wording; rows and manifest say so.
        limit_per_category: keep so many rows of each category, after building all.
        skip_gated: leave out the rows whose source wants accepted terms.
        encoder: counts tokens; None loads tiktoken's.
    """

    configs: tuple[Config, ...]
    folder: Path
    flavor: Flavor = "nemo-skills"
    coser_order: CoserOrder = "row"
    revision: str = REVISION
    texts_from: Path | None = None
    own_texts: bool = False
    allow_unknown_texts: bool = False
    skip_gated: bool = False
    limit_per_category: int | None = None
    offline: bool = False
    encoder: Encoder | None = None


def prepare(options: Options, fetcher: Fetcher, cache: Cache, say: Say) -> list[PreparedManifest]:
    """Prepares configs: `<config>.jsonl` in NeMo-Skills' shape, and a manifest.

    Nothing large is fetched before it is known that nothing will be missing: texts, tokenizer, access, disk space,
    allowed hosts. What was fetched stays in the cache, so that a run that was stopped goes on where it was, and gives
    the same files.

    Args:
        options: what to prepare.
        fetcher: reads.
        cache: keeps.
        say: gets lines for the user.

    Raises:
        UsageError: something is missing; says what to do.
    """
    texts = own_texts() if options.own_texts else _texts(options, fetcher, cache)
    if texts.standing != "known":
        say(_warning_on(texts))
    encoder = _encoder(options)
    repository = _open(options, fetcher, cache)
    _check_space(options, repository, cache)
    if not (options.folder / ".gitignore").exists():
        say(NOTICE)
    manifests = []
    for config in options.configs:
        access = Access(fetcher, cache)
        rules = Rules(
            texts=texts.texts,
            flavor=options.flavor,
            coser_order=options.coser_order,
            budget=token_budget(config),
            encoder=encoder,
        )
        manifests.append(_prepare_config(config, options, access, repository, rules, texts, say))
    return manifests


def _texts(options: Options, fetcher: Fetcher, cache: Cache) -> FoundTexts:
    return find_texts(
        fetcher,
        cache,
        options.flavor,
        texts_from=options.texts_from,
        allow_unknown=options.allow_unknown_texts,
    )


def _encoder(options: Options) -> Encoder | None:
    if all(token_budget(config) is None for config in options.configs):
        return None
    return options.encoder or load_encoder(offline=options.offline)


def _open(options: Options, fetcher: Fetcher, cache: Cache) -> Repository:
    """Makes sure of the access that every config needs, before anything else is fetched."""
    if not options.skip_gated and not options.offline:
        check_access(fetcher, HLE)
    return open_repository(fetcher, cache, DATASET, options.revision)


def _check_space(options: Options, repository: Repository, cache: Cache) -> None:
    sizes = {file.path: file.size or 0 for file in repository.files}
    rows = sum(sizes[path] for config in options.configs for path in config_files(repository, config))
    # Parquet is compressed, rows are not; both the folder and the cache hold them for a while.
    for folder, needed in ((cache.root, rows + _SOURCE_BYTES), (options.folder, 4 * rows)):
        free = shutil.disk_usage(_existing(folder)).free
        if free < needed:
            raise UsageError(
                f"{folder} has {free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB are needed; make room, "
                "or choose other folders with --data-dir and --cache-dir"
            )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _prepare_config(
    config: Config,
    options: Options,
    access: Access,
    repository: Repository,
    rules: Rules,
    texts: FoundTexts,
    say: Say,
) -> PreparedManifest:
    raw, dataset = raw_rows(access, repository, config)
    source_rows = len(raw)
    raw, skipped = _without_gated(raw) if options.skip_gated else (raw, Counter())
    for repo_id, count in skipped.items():
        say(
            f"WARNING: {count} of {source_rows} rows of {config} are LEFT OUT because {repo_id} is gated; numbers from "
            f"the rest are not comparable. Accept the terms at https://huggingface.co/datasets/{repo_id} to have them"
        )
    _check_hosts(raw, access.fetcher)
    completing = completers(raw, access, rules)
    rows = first_of_each(built_rows(raw, completing, rules), options.limit_per_category)
    masked = any(row.masked for row in raw)
    manifest = PreparedManifest(
        benchmark=NAME,
        config=config,
        comparable=texts.standing == "known" and not skipped and options.limit_per_category is None,
        flavor=options.flavor,
        coser_order=options.coser_order,
        wording=Wording(standing=texts.standing, origin=texts.origin, sha256=texts.hashes),
        tokenizer=ENCODING if rules.budget is not None and masked else None,
        dataset=dataset,
        sources=sorted(access.used, key=lambda origin: (origin.source, origin.revision or "", origin.file or "")),
        source_rows=source_rows,
        limit_per_category=options.limit_per_category,
        skipped=dict(skipped),
        findings=_findings(texts, skipped),
    )
    done = write_prepared(options.folder, config, rows, manifest)
    say(f"{config}: {done.num_rows} rows, {done.num_turns} turns in {options.folder / config}.jsonl")
    return done


def _without_gated(raw: Sequence[RawRow]) -> tuple[list[RawRow], Counter[str]]:
    skipped: Counter[str] = Counter()
    kept: list[RawRow] = []
    for row in raw:
        gated = source_of(row).gated if row.masked else None
        if gated is None:
            kept.append(row)
        else:
            skipped[gated] += 1
    return kept, skipped


def _check_hosts(raw: Sequence[RawRow], fetcher: Fetcher) -> None:
    """Refuses addresses of hosts not allowed before the first of them is read."""
    for address in sorted({row.source for row in raw if row.masked and "://" in row.source}):
        fetcher.check_host(address)


def _warning_on(texts: FoundTexts) -> str:
    if texts.standing == "own":
        return (
            "WARNING: prompts are made with our own wording, not with upstream's; nothing measured with them is "
            "comparable to published numbers"
        )
    return (
        "WARNING: some wording is of an unknown version and was accepted on request; numbers may not be comparable to "
        "published ones"
    )


def _findings(texts: FoundTexts, skipped: Counter[str]) -> list[Finding]:
    findings = []
    if texts.standing != "known":
        findings.append(
            Finding(
                code="wording_not_comparable",
                severity="warning",
                message=_warning_on(texts).removeprefix("WARNING: "),
            )
        )
    for repo_id, count in skipped.items():
        findings.append(
            Finding(
                code="rows_left_out",
                severity="warning",
                message=f"{count} rows are left out because {repo_id} is gated; numbers are not comparable",
                numbers={"rows": count},
            )
        )
    return findings
