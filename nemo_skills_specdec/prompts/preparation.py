"""Preparing a prompt set: rows and manifest in its folder, verified as they lie there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.files import cache_root
from nemo_skills_specdec.plural import rows_and_turns
from nemo_skills_specdec.prompts.catalog import NAMES, NO_CONFIGS, base_name, folder_name, load_prompt_set
from nemo_skills_specdec.prompts.checking import verify
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import DownloadProgress, Fetcher
from nemo_skills_specdec.prompts.hub.patience import Patience
from nemo_skills_specdec.prompts.hub.progress import progress_bars
from nemo_skills_specdec.prompts.prepare_options import PrepareFlags
from nemo_skills_specdec.prompts.prepared.folder import default_data_dir
from nemo_skills_specdec.prompts.prepared.manifest import PreparedManifest, write_prepared
from nemo_skills_specdec.prompts.prepared.verify import Verification
from nemo_skills_specdec.prompts.prompt_set import SPEED_BENCH, SetOptions
from nemo_skills_specdec.prompts.rows import first_of_each, is_prompt_file
from nemo_skills_specdec.prompts.speed_bench import prepare as speed_bench
from nemo_skills_specdec.prompts.speed_bench.adopt import adopt
from nemo_skills_specdec.prompts.speed_bench.schema import CONFIGS, REVISION, Config, check_config, token_budget
from nemo_skills_specdec.prompts.speed_bench.tokens import Encoder, load_encoder

DEFAULT_CONFIG = "qualitative"
SET_CONFIG = "test"
"""The one config of every prompt set but SPEED-Bench."""

Say = Callable[[str], None]


class PrepareOptions(PrepareFlags, frozen=True, kw_only=True):
    """What to prepare.

    Attributes:
        name: `speed-bench`, a name of `catalog.NAMES`, either with `-specdec` behind it for a folder of that name,
            `org/name` on the hub, or a file of prompts.
        encoder: counts tokens; None loads tiktoken's o200k_base.
    """

    name: str
    encoder: Encoder | None = None

    @property
    def set_name(self) -> str:
        """The prompt set behind the name."""
        return base_name(self.name)

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return self.output_dir or (self.data_dir or default_data_dir()) / folder_name(self.name)


def prepare(options: PrepareOptions, say: Say = lambda line: None) -> list[Verification]:
    """Prepares a prompt set in its folder and verifies the result.

    Returns:
        What was found in each file written; one that is not `ok` must not be used.

    Raises:
        UsageError: something is missing; says what to do.
    """
    if options.limit_per_category is not None and options.limit_per_category < 1:
        raise UsageError(f"the limit per category is {options.limit_per_category}; give a number from 1 on")
    if options.texts == "own" and options.texts_from is not None:
        raise UsageError("own wording and a file of texts exclude each other; give --texts own or --texts-from FILE")
    encoder = options.encoder
    if options.set_name == SPEED_BENCH:
        configs = CONFIGS if options.config == "all" else (check_config(options.config),)
        if options.from_prepared is not None:
            names = [
                adopt(options.from_prepared, config, options.folder, options.limit_per_category) for config in configs
            ]
        else:
            encoder = encoder or _encoder_for(configs, offline=options.offline)
            names = _prepare_speed_bench(options, configs, encoder, say)
    else:
        names = [_prepare_set(options, say)]
    results = [verify(options.folder / f"{name}.jsonl", encoder=encoder) for name in names]
    for result in results:
        for remark in result.findings:
            say(f"{result.name}: {remark.severity}: {remark.message}")
    return results


def _encoder_for(configs: Sequence[Config], *, offline: bool) -> Encoder | None:
    if all(token_budget(config) is None for config in configs):
        return None
    return load_encoder(offline=offline)


def _prepare_speed_bench(
    options: PrepareOptions, configs: tuple[Config, ...], encoder: Encoder | None, say: Say
) -> list[str]:
    wanted = speed_bench.Options(
        configs=configs,
        folder=options.folder,
        flavor=options.flavor,
        coser_order="row" if options.coser_order == "auto" else options.coser_order,
        revision=options.revision or REVISION,
        texts_from=options.texts_from,
        own_texts=options.texts == "own",
        allow_unknown_texts=options.allow_unknown_texts,
        skip_gated=options.skip_gated,
        limit_per_category=options.limit_per_category,
        offline=options.offline,
        encoder=encoder,
    )
    with progress_bars() as progress:
        fetcher = _fetcher(options, progress, say)
        manifests = speed_bench.prepare(wanted, fetcher, Cache(options.cache_dir or cache_root()), say)
    say(f"{fetcher.bytes_received / 1e6:.1f} MB were read over the network")
    return [manifest.config for manifest in manifests]


def _prepare_set(options: PrepareOptions, say: Say) -> str:
    config = None if options.config in (DEFAULT_CONFIG, SET_CONFIG) else options.config
    if config is not None and (options.set_name in NO_CONFIGS or is_prompt_file(options.name)):
        raise UsageError(f"{options.name} has no configs; leave out --config")
    with progress_bars() as progress:
        access = Access(_fetcher(options, progress, say), Cache(options.cache_dir or cache_root()))
        loaded = load_prompt_set(options.set_name, access, _set_options(options, config))
    if loaded.split is not None:
        of = f"config {loaded.config}, " if loaded.config else ""
        say(f"{options.name}: {of}split {loaded.split}, data files: {len(loaded.origins)}")
    manifest = PreparedManifest(
        benchmark=options.set_name if options.set_name in NAMES else folder_name(options.name),
        config=SET_CONFIG,
        comparable=options.limit_per_category is None,
        dataset=loaded.origins,
        source_config=loaded.config,
        source_split=loaded.split,
        source_rows=len(loaded.rows),
        limit_per_category=options.limit_per_category,
        findings=loaded.findings,
    )
    rows = first_of_each(loaded.rows, options.limit_per_category)
    done = write_prepared(options.folder, SET_CONFIG, rows, manifest)
    say(f"{options.name}: {rows_and_turns(done.num_rows, done.num_turns)} in {options.folder / SET_CONFIG}.jsonl")
    return SET_CONFIG


def _set_options(options: PrepareOptions, config: str | None) -> SetOptions:
    return SetOptions(
        path=options.source,
        column=options.column,
        config=config,
        subsets=tuple(options.subset or ()),
        split=options.split,
        revision=options.revision,
        num_prompts=options.num_prompts,
        prompt_tokens=options.prompt_tokens,
        tokenizer=options.tokenizer,
        seed=options.seed,
    )


def _fetcher(options: PrepareOptions, progress: DownloadProgress, say: Say) -> Fetcher:
    from huggingface_hub import get_token

    return Fetcher(
        token=get_token(),
        hosts=tuple(options.allow_host or ()),
        offline=options.offline,
        patience=Patience(say=say),
        progress=progress,
    )
