"""Preparing SPEED-Bench: checks first, then fetching, building, writing, and checks again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.plural import rows_and_turns
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import DownloadProgress, Fetcher
from nemo_skills_specdec.prompts.hub.repository import (
    Repository,
    check_access,
    hub_cache,
    local_copy,
    open_repository,
)
from nemo_skills_specdec.prompts.prepared.manifest import PreparedManifest, write_prepared
from nemo_skills_specdec.prompts.prompt_set import SPEED_BENCH
from nemo_skills_specdec.prompts.rows import first_of_each
from nemo_skills_specdec.prompts.speed_bench.build import built_rows, completers
from nemo_skills_specdec.prompts.speed_bench.raw import config_files, raw_rows
from nemo_skills_specdec.prompts.speed_bench.room import bytes_of_rows, check_room
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
from nemo_skills_specdec.records import Finding, PromptRow

Say = Callable[[str], None]

_NOT_COMPARABLE = {
    "unknown": "Some wording is of an unknown version and was accepted on request; numbers may not be comparable to "
    "published ones.",
    "own": "Prompts are made with our own wording, not with upstream's; nothing measured with them is comparable to "
    "published numbers.",
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What to prepare, and how.

    Attributes:
        folder: where `<config>.jsonl` and its manifest go.
        own_texts: take our own wording; rows and manifest say so.
        limit_per_category: keep so many rows of each category, after building all.
        skip_gated: leave out the rows whose source requires accepted terms.
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
    allowed hosts. What was fetched stays in the caches, so that a run that was stopped resumes where it was, and gives
    the same files.

    Raises:
        UsageError: something is missing; says what to do.
    """
    if options.own_texts:
        texts = own_texts()
    else:
        allow = options.allow_unknown_texts
        texts = find_texts(fetcher, cache, options.flavor, texts_from=options.texts_from, allow_unknown=allow)
    for remark in _remarks(texts, {}):
        say(f"WARNING: {remark.message}")
    encoder = None
    if any(token_budget(config) is not None for config in options.configs):
        encoder = options.encoder or load_encoder(offline=options.offline)
    if not options.skip_gated and not fetcher.offline:
        check_access(fetcher, HLE)
    repository = open_repository(fetcher, cache, DATASET, options.revision)
    files = [file for config in options.configs for file in config_files(repository, config)]
    check_room({hub_cache(): sum(file.size or 0 for file in files if local_copy(repository, file) is None)})
    if not (options.folder / ".gitignore").exists():
        say(NOTICE)
    manifests = []
    for config in options.configs:
        rules = Rules(
            texts=texts.texts,
            flavor=options.flavor,
            coser_order=options.coser_order,
            budget=token_budget(config),
            encoder=encoder,
        )
        access = Access(fetcher, cache)
        manifests.append(_prepare_config(config, options, access, repository, rules, texts, say))
    return manifests


def _prepare_config(
    config: Config,
    options: Options,
    access: Access,
    repository: Repository,
    rules: Rules,
    texts: FoundTexts,
    say: Say,
) -> PreparedManifest:
    every, dataset = raw_rows(access, repository, config)
    raw, skipped = _without_gated(every) if options.skip_gated else (every, Counter())
    for repo_id, count in skipped.items():
        say(
            f"WARNING: {count} of {len(every)} rows of {config} are LEFT OUT because {repo_id} is gated; numbers from "
            f"the rest are not comparable. Accept the terms at https://huggingface.co/datasets/{repo_id} to have them"
        )
    # Addresses of hosts not allowed are refused before the first of them is read.
    for address in sorted({row.source for row in raw if row.masked and "://" in row.source}):
        access.fetcher.check_host(address)
    completed, masked = bytes_of_rows(raw, rules.budget)
    # Sources hold about as much again as is needed of them.
    check_room({options.folder: completed, access.cache.root: 0 if access.fetcher.offline else 2 * masked})
    built = built_rows(raw, completers(raw, access, rules), rules)
    rows = first_of_each(_shown(built, len(raw), config, access.fetcher.progress), options.limit_per_category)
    manifest = PreparedManifest(
        benchmark=SPEED_BENCH,
        config=config,
        comparable=texts.wording.standing == "known" and not skipped and options.limit_per_category is None,
        flavor=options.flavor,
        coser_order=options.coser_order,
        wording=texts.wording,
        tokenizer=ENCODING if rules.budget is not None and masked else None,
        dataset=dataset,
        sources=access.origins,
        source_rows=len(every),
        limit_per_category=options.limit_per_category,
        skipped=dict(skipped),
        findings=_remarks(texts, skipped),
    )
    done = write_prepared(options.folder, config, rows, manifest)
    say(f"{config}: {rows_and_turns(done.num_rows, done.num_turns)} in {options.folder / config}.jsonl")
    return done


def _without_gated(raw: Sequence[RawRow]) -> tuple[list[RawRow], Counter[str]]:
    gates = [source_of(row).gated if row.masked else None for row in raw]
    kept = [row for row, gate in zip(raw, gates, strict=True) if gate is None]
    return kept, Counter(gate for gate in gates if gate is not None)


def _shown(rows: Iterable[PromptRow], total: int, config: str, progress: DownloadProgress) -> Iterator[PromptRow]:
    with progress(f"building {config}", total, "rows") as advance:
        for row in rows:
            advance(1)
            yield row


def _remarks(texts: FoundTexts, skipped: dict[str, int]) -> list[Finding]:
    """What is to be said beside numbers measured with the rows."""
    wording = _NOT_COMPARABLE.get(texts.wording.standing)
    remarks = [Finding(code="wording_not_comparable", severity="warning", message=wording)] if wording else []
    for repo_id, count in skipped.items():
        message = f"{count} rows are left out because {repo_id} is gated, so numbers are not comparable."
        remarks.append(Finding(code="rows_left_out", severity="warning", message=message, numbers={"rows": count}))
    return remarks
