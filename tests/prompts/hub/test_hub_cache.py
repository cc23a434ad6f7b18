from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest
from standin_hub import Fault, StandIn

from nemo_skills_specdec.errors import DataError, WriteError
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import ChangedError, Fetcher, OfflineError
from nemo_skills_specdec.prompts.hub.patience import HttpError, Patience

DATA = b"0123456789" * 20_000
URL = "https://huggingface.co/datasets/a/b/resolve/main/x.bin"


@pytest.fixture
def filled(hub: StandIn) -> StandIn:
    hub.add("a/b", "x.bin", DATA)
    return hub


def fetcher(hub: StandIn, **options: object) -> Fetcher:
    return Fetcher(endpoint=hub.url, patience=Patience(sleep=lambda _: None, attempts=2), **options)  # type: ignore[arg-type]


def test_a_file_is_read_once_and_hashed(filled: StandIn, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    stored = cache.file(fetcher(filled), URL, name="x")
    assert cache.file(fetcher(filled, offline=True), URL, name="x") == stored
    assert Path(stored.path).read_bytes() == DATA
    assert stored.sha256 == hashlib.sha256(DATA).hexdigest()
    assert len(filled.log) == 1


def test_a_file_that_broke_off_is_continued_by_the_next_run(filled: StandIn, tmp_path: Path) -> None:
    filled.faults.append(Fault("x.bin", times=1, cut_after=65_536))
    filled.faults.append(Fault("x.bin", times=2, cut_after=0))
    with pytest.raises(HttpError):
        Cache(tmp_path).file(fetcher(filled), URL, name="x")
    stored = Cache(tmp_path).file(fetcher(filled), URL, name="x")
    assert Path(stored.path).read_bytes() == DATA
    assert filled.log[-1].range == "bytes=65536-"


def test_a_file_that_changed_since_it_broke_off_is_read_anew(filled: StandIn, tmp_path: Path) -> None:
    filled.faults.append(Fault("x.bin", times=1, cut_after=65_536))
    filled.faults.append(Fault("x.bin", times=2, cut_after=0))
    with pytest.raises(HttpError):
        Cache(tmp_path).file(fetcher(filled), URL, name="x")
    filled.add("a/b", "x.bin", DATA[::-1])
    filled.forget()
    assert Path(Cache(tmp_path).file(fetcher(filled), URL, name="x").path).read_bytes() == DATA[::-1]


@pytest.mark.parametrize("bytes_here", [0, 65_536])
@pytest.mark.parametrize("version", ["", '"half of a ver'])
def test_a_run_killed_as_it_noted_the_version_does_not_stop_the_next(
    filled: StandIn, tmp_path: Path, bytes_here: int, version: str
) -> None:
    filled.faults.append(Fault("x.bin", times=1, cut_after=65_536))
    filled.faults.append(Fault("x.bin", times=2, cut_after=0))
    with pytest.raises(HttpError):
        Cache(tmp_path).file(fetcher(filled), URL, name="x")
    (part,), (tag,) = tmp_path.rglob("*.part"), tmp_path.rglob("*.version")
    part.write_bytes(DATA[:bytes_here])
    tag.write_text(version, encoding="utf-8")
    assert Path(Cache(tmp_path).file(fetcher(filled), URL, name="x").path).read_bytes() == DATA


def test_a_file_with_another_hash_is_refused_and_not_kept(filled: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it was replaced at its source; nothing of it was kept"):
        Cache(tmp_path).file(fetcher(filled), URL, name="x", sha256="0" * 64)
    with pytest.raises(OfflineError):
        Cache(tmp_path).file(fetcher(filled, offline=True), URL, name="x")


def test_a_file_damaged_in_the_cache_is_read_again(filled: StandIn, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    stored = cache.file(fetcher(filled), URL, name="x")
    Path(stored.path).write_bytes(b"short")
    assert Path(cache.file(fetcher(filled), URL, name="x").path).read_bytes() == DATA


def test_a_range_is_read_once(filled: StandIn, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.range(fetcher(filled), URL, 5, 15, len(DATA)) == DATA[5:15]
    assert cache.range(fetcher(filled, offline=True), URL, 5, 15, len(DATA)) == DATA[5:15]


def test_a_file_replaced_between_two_ranges_is_refused_and_evicted(filled: StandIn, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    cache.range(fetcher(filled), URL, 5, 15, len(DATA))
    filled.add("a/b", "x.bin", DATA[::-1])
    filled.forget()
    with pytest.raises(
        ChangedError, match=rf"changed at its source .*; its cache entry {tmp_path}/cache/ranges/.* was removed"
    ):
        cache.range(fetcher(filled), URL, 20, 30, len(DATA))
    assert list((tmp_path / "cache").rglob("*.bin")) == []
    assert cache.range(fetcher(filled), URL, 5, 15, len(DATA)) == DATA[::-1][5:15]


@pytest.mark.parametrize("fault", [Fault("x.bin", shifted=1), Fault("x.bin", page=b"<html>")])
def test_a_wrong_answer_to_a_range_is_not_kept(filled: StandIn, tmp_path: Path, fault: Fault) -> None:
    fault.times = 9
    filled.faults.append(fault)
    with pytest.raises(HttpError):
        Cache(tmp_path / "cache").range(fetcher(filled), URL, 5, 15, len(DATA))
    assert list((tmp_path / "cache").rglob("*.bin")) == []


def test_content_that_fails_its_check_is_not_kept(filled: StandIn, tmp_path: Path) -> None:
    def check(path: Path) -> None:
        raise DataError("not what it should be")

    with pytest.raises(DataError, match="not what it should be; nothing of it was kept"):
        Cache(tmp_path / "cache").file(fetcher(filled), URL, name="x", check=check)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_a_full_disk_is_one_line(filled: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(WriteError, match=rf"cannot write {tmp_path}.*: No space left on device; free space, or choose"):
        Cache(tmp_path / "cache").file(fetcher(filled), URL, name="x")
