"""The door to every prompt set: prepare it, load what was prepared, verify it.

Also what a NeMo-Skills dataset folder calls: its `prepare.py` is
`sys.exit(main("speed-bench", sys.argv[1:], default_folder=Path(__file__).parent))`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import msgspec

from nemo_skills_specdec.errors import SpecdecError, UsageError
from nemo_skills_specdec.files import cache_root
from nemo_skills_specdec.prompts.catalog import NAMES, folder_name, load_prompt_set
from nemo_skills_specdec.prompts.hub.access import Access
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import DownloadProgress, Fetcher
from nemo_skills_specdec.prompts.hub.progress import progress_bars
from nemo_skills_specdec.prompts.prepared.folder import default_data_dir, prepared_file, prepared_names
from nemo_skills_specdec.prompts.prepared.manifest import Manifest, write_prepared
from nemo_skills_specdec.prompts.prepared.rows import stored_rows
from nemo_skills_specdec.prompts.prepared.verify import Verification, verify_file
from nemo_skills_specdec.prompts.prompt_set import SetOptions
from nemo_skills_specdec.prompts.speed_bench import prepare as speed_bench
from nemo_skills_specdec.prompts.speed_bench.adopt import adopt
from nemo_skills_specdec.prompts.speed_bench.build import limited
from nemo_skills_specdec.prompts.speed_bench.schema import (
    CONFIGS,
    REVISION,
    Config,
    CoserOrder,
    Flavor,
    check_config,
    token_budget,
)
from nemo_skills_specdec.prompts.speed_bench.tokens import Encoder, load_encoder
from nemo_skills_specdec.prompts.speed_bench.verify import verify_config
from nemo_skills_specdec.records import Finding, PromptRow

SPEED_BENCH = speed_bench.NAME
DEFAULT_CONFIG = "qualitative"
_SET_CONFIG = "test"

Say = Callable[[str], None]


class PrepareOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to prepare. `config` to `skip_gated` concern SPEED-Bench, `prompts` the other sets.

    Attributes:
        name: `speed-bench`, a name of `benchmarks.catalog.NAMES`, `org/name` on the hub, or a file of prompts.
        config: of SPEED-Bench, or `all`.
        data_dir: NeMo-Skills' data folder; files go to the folder `<name>` in it.
        output_dir: the very folder for the files; goes before `data_dir`.
        coser_order: `auto` is `row`, what upstream's scripts give with a present-day `datasets` (4.7.0 or later).
        own_texts: take our own wording in place of upstream's.
        from_prepared: a folder prepared elsewhere, to check and take over without any network.
        offline: send nothing; everything must be in the cache.
        cache_dir: what was fetched; None takes `SPECDEC_CACHE`, else a folder in the user's cache.
        allow_hosts: further hosts that may be read.
        encoder: counts tokens; None loads tiktoken's o200k_base.
    """

    name: str
    config: str = DEFAULT_CONFIG
    data_dir: Path | None = None
    output_dir: Path | None = None
    revision: str | None = None
    flavor: Flavor = "nemo-skills"
    coser_order: CoserOrder | None = None
    texts_from: Path | None = None
    own_texts: bool = False
    allow_unknown_texts: bool = False
    from_prepared: Path | None = None
    skip_gated: bool = False
    limit_per_category: int | None = None
    offline: bool = False
    cache_dir: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    prompts: SetOptions = SetOptions()
    encoder: Encoder | None = None

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return self.output_dir or (self.data_dir or default_data_dir()) / folder_name(self.name)


class Loaded(msgspec.Struct, kw_only=True):
    """Prompts ready to be sent, and what is to be said about them.

    Attributes:
        name: of the prompt set, with its config where it has several.
        findings: remarks on the prompts, to be repeated beside numbers measured with them.
        manifest: None for rows whose making is not recorded.
    """

    name: str
    rows: list[PromptRow]
    findings: list[Finding]
    manifest: Manifest | None


def prepare(options: PrepareOptions, say: Say = lambda line: None) -> list[Verification]:
    """Prepares a prompt set in its folder and verifies the result.

    Args:
        options: what to prepare.
        say: gets lines for the user.

    Returns:
        What was found in each file written; one that is not `ok` must not be used.

    Raises:
        UsageError: something is missing; says what to do.
    """
    if options.limit_per_category is not None and options.limit_per_category < 1:
        raise UsageError(f"the limit per category is {options.limit_per_category}; give a number from 1 on")
    if options.own_texts and options.texts_from is not None:
        raise UsageError("own wording and a file of texts exclude each other; give --texts own or --texts-from FILE")
    encoder: Encoder | None = options.encoder
    if options.name == SPEED_BENCH:
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


def load_benchmark(name: str, *, config: str | None = None, data_dir: Path | None = None) -> Loaded:
    """Prompts of a prepared set, or of a set that needs no preparation (`mini`, a local file).

    Args:
        name: as for `prepare`.
        config: of SPEED-Bench; None takes `qualitative`.
        data_dir: the folder that was given when preparing, or the set's own folder; None takes NeMo-Skills' data
            folder, else `data`.

    Raises:
        UsageError: it is not prepared; says how to do that.
        DataError: a file is damaged.
    """
    if name == "mini" or Path(name).is_file():
        access = Access(Fetcher(offline=True), Cache(cache_root()))
        loaded = load_prompt_set(name, access, SetOptions())
        return Loaded(name=folder_name(name), rows=loaded.rows, findings=loaded.findings, manifest=None)
    wanted = (config or DEFAULT_CONFIG) if name == SPEED_BENCH else (config or _SET_CONFIG)
    if name == SPEED_BENCH:
        check_config(wanted)
    elif name not in NAMES and "/" not in name:
        raise UsageError(f"there is no prompt set {name!r}; choose one of: {SPEED_BENCH}, {', '.join(NAMES)}")
    base = data_dir or default_data_dir()
    folder = next((place for place in (base / folder_name(name), base) if wanted in prepared_names(place)), None)
    if folder is None:
        option = f" --config {wanted}" if name == SPEED_BENCH else ""
        where = f" --data-dir {data_dir}" if data_dir else ""
        raise UsageError(f"{name} is not prepared in {base}; run: ns-specdec prepare {name}{option}{where}")
    path = prepared_file(folder, wanted)
    verification, manifest = verify_file(path)
    if not verification.ok:
        reasons = "; ".join(remark.message for remark in verification.findings if remark.severity == "invalid")
        raise UsageError(f"{path} must not be used: {reasons}")
    if manifest is not None and manifest.benchmark not in (name, folder_name(name)):
        raise UsageError(f"{path} holds {manifest.benchmark}, not {name}; give another --data-dir")
    title = f"{name}/{wanted}" if name == SPEED_BENCH else name
    return Loaded(name=title, rows=list(stored_rows(path)), findings=verification.findings, manifest=manifest)


def verify(path: Path, *, encoder: Encoder | None = None, offline: bool = False) -> Verification:
    """Checks one prepared file by the rules of its prompt set.

    Args:
        path: the file of rows.
        encoder: counts tokens of throughput configs; None loads tiktoken's, and does without where it is missing.
        offline: fetch no tokenizer.
    """
    name = path.stem if path.suffix == ".jsonl" else path.parent.name
    if name not in CONFIGS:
        return verify_file(path)[0]
    if encoder is None and token_budget(name) is not None:
        try:
            encoder = load_encoder(offline=offline)
        except UsageError:
            encoder = None
    return verify_config(path, encoder)


def verify_folder(path: Path, *, encoder: Encoder | None = None, offline: bool = False) -> list[Verification]:
    """Checks every prepared file in a folder, or one file.

    Raises:
        UsageError: there is none.
    """
    names = prepared_names(path)
    if not names:
        raise UsageError(f"{path} holds no prepared file; prepare one with: ns-specdec prepare")
    return [verify(prepared_file(path, name), encoder=encoder, offline=offline) for name in names]


def main(name: str, argv: Sequence[str], default_folder: Path | None = None) -> int:
    """Prepares a prompt set from command-line arguments, for dataset folders of NeMo-Skills.

    Args:
        name: of the prompt set.
        argv: arguments, as upstream's script takes them and more; see `--help`.
        default_folder: where files go unless the arguments say otherwise.

    Returns:
        Exit code: 0 fine, 1 the result is not fit for use, 2 wrong use or cannot run.
    """
    arguments = _parser(name).parse_args(argv)
    folder = arguments.output_dir or (None if arguments.data_dir else default_folder)
    try:
        results = prepare(
            PrepareOptions(
                name=name,
                config=arguments.config,
                data_dir=arguments.data_dir,
                output_dir=folder,
                revision=arguments.revision,
                flavor=arguments.flavor,
                coser_order=None if arguments.coser_order == "auto" else arguments.coser_order,
                texts_from=arguments.texts_from,
                own_texts=arguments.texts == "own",
                allow_unknown_texts=arguments.allow_unknown_texts,
                from_prepared=arguments.from_prepared,
                skip_gated=arguments.skip_gated,
                limit_per_category=arguments.limit_per_category,
                offline=arguments.offline,
                cache_dir=arguments.cache_dir,
                allow_hosts=tuple(arguments.allow_host),
            ),
            _say,
        )
    except SpecdecError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return 0 if all(result.ok for result in results) else 1


def _say(line: str) -> None:
    print(line, file=sys.stderr)


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
        coser_order=options.coser_order or "row",
        revision=options.revision or REVISION,
        texts_from=options.texts_from,
        own_texts=options.own_texts,
        allow_unknown_texts=options.allow_unknown_texts,
        skip_gated=options.skip_gated,
        limit_per_category=options.limit_per_category,
        offline=options.offline,
        encoder=encoder,
    )
    with progress_bars() as progress:
        fetcher = _fetcher(options, progress)
        manifests = speed_bench.prepare(wanted, fetcher, Cache(options.cache_dir or cache_root()), say)
    say(f"{fetcher.bytes_received / 1e6:.1f} MB were read over the network")
    return [manifest.config for manifest in manifests]


def _prepare_set(options: PrepareOptions, say: Say) -> str:
    if options.config not in (DEFAULT_CONFIG, _SET_CONFIG):
        raise UsageError(f"{options.name} has no configs; choose parts of it with --subset")
    with progress_bars() as progress:
        access = Access(_fetcher(options, progress), Cache(options.cache_dir or cache_root()))
        prompts = msgspec.structs.replace(options.prompts, revision=options.revision or options.prompts.revision)
        loaded = load_prompt_set(options.name, access, prompts)
    manifest = Manifest(
        benchmark=options.name if options.name in NAMES else folder_name(options.name),
        config=_SET_CONFIG,
        comparable=options.limit_per_category is None,
        dataset=loaded.origins,
        source_rows=len(loaded.rows),
        limit_per_category=options.limit_per_category,
        findings=loaded.findings,
    )
    rows = limited(loaded.rows, options.limit_per_category)
    done = write_prepared(options.folder, _SET_CONFIG, rows, manifest)
    say(f"{options.name}: {done.num_rows} rows, {done.num_turns} turns in {options.folder / _SET_CONFIG}.jsonl")
    return _SET_CONFIG


def _fetcher(options: PrepareOptions, progress: DownloadProgress) -> Fetcher:
    from huggingface_hub import get_token

    return Fetcher(
        token=get_token(),
        hosts=options.allow_hosts,
        offline=options.offline,
        progress=progress,
    )


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"{name}/prepare.py", description=f"Prepares {name}.", allow_abbrev=False)
    configs = [*CONFIGS, "all"] if name == SPEED_BENCH else [DEFAULT_CONFIG, _SET_CONFIG]
    parser.add_argument("--config", choices=configs, default=DEFAULT_CONFIG, help="which config (%(default)s)")
    parser.add_argument(
        "--data-dir", "--data_dir", type=Path, help=f"data folder of NeMo-Skills; files go to {name} in it"
    )
    parser.add_argument("--output-dir", "--output_dir", type=Path, help="the very folder for the files")
    parser.add_argument("--revision", help="of the data set on the hub (the pinned one)")
    parser.add_argument("--flavor", choices=get_args(Flavor), default="nemo-skills", help="whose rows to reproduce")
    parser.add_argument(
        "--coser-order", choices=["auto", "row", "union"], default="auto", help="order of CoSER profiles"
    )
    parser.add_argument("--texts", choices=["upstream", "own"], default="upstream", help="whose wording around records")
    parser.add_argument("--texts-from", type=Path, help="an upstream file to read the wording from")
    parser.add_argument("--allow-unknown-texts", action="store_true", help="accept wording of an unknown version")
    parser.add_argument("--from-prepared", type=Path, help="a folder prepared elsewhere, to check and take over")
    parser.add_argument("--skip-gated", action="store_true", help="leave out rows whose source wants accepted terms")
    parser.add_argument("--limit-per-category", type=int, help="keep so many rows of each category")
    parser.add_argument("--offline", action="store_true", help="send nothing; take everything from the cache")
    parser.add_argument("--cache-dir", type=Path, help="what was fetched (SPECDEC_CACHE, else ~/.cache)")
    parser.add_argument("--allow-host", action="append", default=[], help="a further host that may be read")
    return parser
