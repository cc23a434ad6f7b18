"""Where a copy of an upstream file is found, so that the texts can be read from it."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.prepared.manifest import Wording
from nemo_skills_specdec.prompts.speed_bench.own_texts import OWN_TEXTS
from nemo_skills_specdec.prompts.speed_bench.schema import Flavor
from nemo_skills_specdec.prompts.speed_bench.texts import (
    Texts,
    as_flavor,
    flavor_of,
    hashes_of,
    read_texts,
    unknown_texts,
)

PINNED_URL = (
    "https://raw.githubusercontent.com/NVIDIA/Model-Optimizer/a2fbac7bad8ab446d3f8783dadb0c3366eb0ad73/"
    "examples/specdec_bench/specdec_bench/datasets/speed.py"
)
PINNED_SHA256 = "c0b24776b7ceb7f5eba74b945a132c2a2c860121d08599ac791d0715b513602a"
"""This file serves both flavors: the texts of `nemo-skills` follow from those of `specdec_bench`."""

_LARGEST_FILE = 4 << 20


class FoundTexts(msgspec.Struct, frozen=True, kw_only=True):
    """The texts to build with, and how far they can be trusted."""

    texts: Texts
    wording: Wording


def own_texts() -> FoundTexts:
    """Our own wording."""
    wording = Wording(standing="own", origin="own wording", sha256=hashes_of(OWN_TEXTS))
    return FoundTexts(texts=OWN_TEXTS, wording=wording)


def find_texts(
    fetcher: Fetcher, cache: Cache, flavor: Flavor, *, texts_from: Path | None = None, allow_unknown: bool = False
) -> FoundTexts:
    """Finds the texts of a flavor: the given file, else our cache, nemo_skills, aiperf, or the pinned download.

    Args:
        texts_from: an upstream file to take, and no other.
        allow_unknown: accept texts of `texts_from` whose sha256 is not known.

    Raises:
        DataError: the given file does not hold the texts of the flavor; names those that differ.
        UsageError: none was found; says where it was looked for and what to do.
    """
    if texts_from is not None:
        return _from_file(texts_from, flavor, f"file {texts_from.name}", allow_unknown)
    refused: list[str] = []
    for path, origin in _installed(cache):
        try:
            return _from_file(path, flavor, origin, allow_unknown=False)
        except DataError as error:
            refused.append(str(error))
    try:
        stored = cache.file(fetcher, PINNED_URL, sha256=PINNED_SHA256, name="prompt texts")
    except UsageError as error:
        also = f" ({'; '.join(refused)})" if refused else ""
        raise UsageError(
            f"the wording of SPEED-Bench's prompts was found neither in the cache nor in an installed nemo_skills or "
            f"aiperf{also}, and cannot be fetched: {error}. Fetch {PINNED_URL} elsewhere and give it with --texts-from"
        ) from error
    return _from_file(Path(stored.path), flavor, "pinned upstream file", allow_unknown=False)


def _installed(cache: Cache) -> Iterator[tuple[Path, str]]:
    """Copies that lie on this machine, in the order in which they are tried. No package is imported."""
    pinned = cache.stored_file(PINNED_URL)
    if pinned is not None and pinned.sha256 == PINNED_SHA256:
        yield Path(pinned.path), "pinned upstream file"
    for package, inside in (
        ("nemo_skills", "dataset/speed-bench/prepare.py"),
        ("aiperf", "dataset/loader/vendor/speed_bench_prepare.py"),
    ):
        with suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(package)
            for folder in (spec.submodule_search_locations or ()) if spec else ():
                if (Path(folder) / inside).is_file():
                    yield Path(folder) / inside, f"installed {package}"


def _from_file(path: Path, flavor: Flavor, origin: str, allow_unknown: bool) -> FoundTexts:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE)
        texts = read_texts(data.decode(), str(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give an upstream file with --texts-from") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file; give an upstream Python file with --texts-from") from error
    fitting, unknown = as_flavor(texts, flavor), unknown_texts(texts)
    if fitting is None and not (unknown and allow_unknown):
        if unknown:
            raise DataError(
                f"{path}: these texts are not those of a known upstream version: {', '.join(unknown)}; numbers would "
                "not be comparable. Give a known version, or accept them with --allow-unknown-texts"
            )
        had = flavor_of(texts)
        have = f"are of flavor {had}" if had else "mix two flavors"
        raise DataError(f"{path}: its texts {have}, not {flavor}; choose another file with --texts-from, or --flavor")
    wording = Wording(
        standing="known" if fitting else "unknown",
        origin=f"{origin}, sha256 {hashlib.sha256(data).hexdigest()}",
        sha256=hashes_of(fitting or texts),
    )
    return FoundTexts(texts=fitting or texts, wording=wording)
