from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from standin_hub import Fault, StandIn

from nemo_skills_specdec.errors import DataError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher, HttpError, OfflineError

DATA = b"0123456789" * 20_000
URL = "https://huggingface.co/datasets/a/b/resolve/main/x.bin"


@pytest.fixture
def filled(hub: StandIn) -> StandIn:
    hub.add("a/b", "x.bin", DATA)
    return hub


def fetcher(hub: StandIn, **options: object) -> Fetcher:
    return Fetcher(endpoint=hub.url, sleep=lambda _: None, attempts=2, **options)  # type: ignore[arg-type]


def test_a_file_is_read_once_and_hashed(filled: StandIn, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    stored = cache.file(fetcher(filled), URL)
    assert cache.file(fetcher(filled, offline=True), URL) == stored
    assert Path(stored.path).read_bytes() == DATA
    assert stored.sha256 == hashlib.sha256(DATA).hexdigest()
    assert len(filled.log) == 1


def test_a_file_that_broke_off_is_continued_by_the_next_run(filled: StandIn, tmp_path: Path) -> None:
    filled.faults.append(Fault("x.bin", times=1, cut_after=65_536))
    filled.faults.append(Fault("x.bin", times=2, cut_after=0))
    with pytest.raises(HttpError):
        Cache(tmp_path).file(fetcher(filled), URL)
    stored = Cache(tmp_path).file(fetcher(filled), URL)
    assert Path(stored.path).read_bytes() == DATA
    assert filled.log[-1].range == "bytes=65536-"


def test_a_file_that_changed_since_it_broke_off_is_read_anew(filled: StandIn, tmp_path: Path) -> None:
    filled.faults.append(Fault("x.bin", times=1, cut_after=65_536))
    filled.faults.append(Fault("x.bin", times=2, cut_after=0))
    with pytest.raises(HttpError):
        Cache(tmp_path).file(fetcher(filled), URL)
    filled.add("a/b", "x.bin", DATA[::-1])
    filled.forget()
    assert Path(Cache(tmp_path).file(fetcher(filled), URL).path).read_bytes() == DATA[::-1]


@pytest.mark.parametrize("bytes_here", [0, 65_536])
@pytest.mark.parametrize("version", ["", '"half of a ver'])
def test_a_run_killed_as_it_noted_the_version_does_not_stop_the_next(
    filled: StandIn, tmp_path: Path, bytes_here: int, version: str
) -> None:
    filled.faults.append(Fault("x.bin", times=1, cut_after=65_536))
    filled.faults.append(Fault("x.bin", times=2, cut_after=0))
    with pytest.raises(HttpError):
        Cache(tmp_path).file(fetcher(filled), URL)
    (part,), (tag,) = tmp_path.rglob("*.part"), tmp_path.rglob("*.etag")
    part.write_bytes(DATA[:bytes_here])
    tag.write_text(version, encoding="utf-8")
    assert Path(Cache(tmp_path).file(fetcher(filled), URL).path).read_bytes() == DATA


def test_a_file_with_another_hash_is_refused_and_not_kept(filled: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file was replaced at its source"):
        Cache(tmp_path).file(fetcher(filled), URL, sha256="0" * 64)
    with pytest.raises(OfflineError):
        Cache(tmp_path).file(fetcher(filled, offline=True), URL)


def test_a_file_damaged_in_the_cache_is_read_again(filled: StandIn, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    stored = cache.file(fetcher(filled), URL)
    Path(stored.path).write_bytes(b"short")
    assert Path(cache.file(fetcher(filled), URL).path).read_bytes() == DATA


def test_a_range_is_read_once(filled: StandIn, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.range(fetcher(filled), URL, 5, 15) == DATA[5:15]
    assert cache.range(fetcher(filled, offline=True), URL, 5, 15) == DATA[5:15]
