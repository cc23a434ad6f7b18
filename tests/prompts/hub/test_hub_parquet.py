from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import hf_hub_download
from standin_hub import Fault, StandIn

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub import parquet
from nemo_skills_specdec.prompts.hub.access import Access, Table
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.hub.patience import HttpError, Patience


def fetcher(hub: StandIn, **options: object) -> Fetcher:
    return Fetcher(endpoint=hub.url, patience=Patience(sleep=lambda _: None, attempts=2), **options)  # type: ignore[arg-type]


def opened(hub: StandIn, cache: Path, *tables: pa.Table, **options: object) -> Table:
    for number, content in enumerate(tables):
        buffer = io.BytesIO()
        pq.write_table(content, buffer, **options)
        hub.add("a/b", f"test-{number}.parquet", buffer.getvalue())
    hub.repos["a/b"].sha = "a" * 40
    return Access(fetcher(hub), Cache(cache)).table("a/b", "main")


def table(rows: int = 1000, blob: int = 2000) -> pa.Table:
    rng = random.Random(1)
    return pa.table(
        {
            "id": [f"id{n}" for n in range(rows)],
            "blob": [rng.randbytes(blob) for _ in range(rows)],
            "text": [f"text {n}" for n in range(rows)],
            "turns": [[f"a{n}", "b"] for n in range(rows)],
        }
    )


def test_only_the_needed_columns_are_read_and_in_few_requests(hub: StandIn, tmp_path: Path) -> None:
    made = opened(hub, tmp_path, table(), row_group_size=100)
    before = len(hub.log), hub.bytes_sent
    assert made.rows([0, 999, 500], ["text"]) == {
        0: {"text": "text 0"},
        500: {"text": "text 500"},
        999: {"text": "text 999"},
    }
    size = (hub.root / "datasets/a/b/test-0.parquet").stat().st_size
    assert hub.bytes_sent - before[1] < size / 20
    assert len(hub.log) - before[0] <= 6


def test_nested_columns_are_read_whole(hub: StandIn, tmp_path: Path) -> None:
    assert opened(hub, tmp_path, table(), row_group_size=100).rows([7], ["turns"]) == {7: {"turns": ["a7", "b"]}}


def test_a_key_is_found_at_its_first_row(hub: StandIn, tmp_path: Path) -> None:
    twice = pa.table({"id": ["x", "y", "x"], "text": ["first", "other", "second"]})
    made = opened(hub, tmp_path, twice, row_group_size=1)
    assert made.find("id", {"x", "z"}, ["text"]) == {"x": {"text": "first"}}


def test_what_was_read_is_not_read_again(hub: StandIn, tmp_path: Path) -> None:
    opened(hub, tmp_path, table()).rows([3], ["text"])
    before = len(hub.log)
    offline = Access(fetcher(hub, offline=True), Cache(tmp_path)).table("a/b", "main")
    assert offline.rows([3], ["text"]) == {3: {"text": "text 3"}}
    assert len(hub.log) == before


def test_what_is_not_to_be_kept_is_not(hub: StandIn, tmp_path: Path) -> None:
    made = opened(hub, tmp_path, table(50))
    assert len(list(made.column_rows(["blob"], keep=False))) == 50
    assert list(tmp_path.rglob("*.bin")) == []


def test_a_file_in_the_hubs_cache_is_not_fetched_again(hub: StandIn, tmp_path: Path, own_hub_cache: Path) -> None:
    made = opened(hub, tmp_path, table(10))
    hf_hub_download(
        "a/b", "test-0.parquet", repo_type="dataset", revision="a" * 40, endpoint=hub.url, cache_dir=own_hub_cache
    )
    before = len(hub.log)
    assert made.rows([3], ["text"]) == {3: {"text": "text 3"}}
    assert len(hub.log) == before


def test_a_row_beyond_the_end_is_refused(hub: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a/b at aaaaaaaaaaaa has no row 1000; was the source changed"):
        opened(hub, tmp_path, table()).rows([1000], ["text"])


def test_a_missing_column_is_named(hub: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'answer'; it has: id, blob, text, turns"):
        opened(hub, tmp_path, table()).rows([1], ["answer"])


def test_numbers_count_through_all_shards(hub: StandIn, tmp_path: Path) -> None:
    made = opened(hub, tmp_path, table(10), table(10), row_group_size=4)
    assert made.num_rows() == 20
    assert made.rows([9, 10], ["text"]) == {9: {"text": "text 9"}, 10: {"text": "text 0"}}


def test_a_file_of_another_kind_is_refused_and_not_kept(hub: StandIn, tmp_path: Path) -> None:
    made = opened(hub, tmp_path, table(10))
    hub.add("a/b", "test-0.parquet", b"version https://git-lfs.github.com/spec/v1\n" * 10)
    again = Access(fetcher(hub), Cache(tmp_path / "2")).table("a/b", "main")
    with pytest.raises(DataError, match=rf"is not a Parquet file that can be read .*; its cache entry {tmp_path}"):
        again.rows([1], ["text"])
    assert list((tmp_path / "2").rglob("*.bin")) == []
    with pytest.raises(HttpError, match="changed at its source"):
        made.rows([1], ["text"])


def test_bytes_beside_those_asked_for_are_refused_even_if_the_server_denies_it(hub: StandIn, tmp_path: Path) -> None:
    made = opened(hub, tmp_path, table(100), row_group_size=10)
    hub.faults.append(Fault("test-0.parquet", times=99, shifted=1, hidden=True))
    with pytest.raises(DataError, match=r"is not a Parquet file that can be read .*; its cache entry .* was removed"):
        made.rows([3], ["text"])
    assert list(tmp_path.rglob("*.bin")) == []
    hub.faults.clear()
    assert made.rows([3], ["text"]) == {3: {"text": "text 3"}}


def test_without_pyarrow_one_line_says_what_to_install(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = opened(hub, tmp_path, table(10))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"pip install 'nemo-skills-specdec\[prepare\]'"):
        made.rows([1], ["text"])
    assert parquet.__name__ in sys.modules


def test_the_command_line_runs_without_pyarrow(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None; "
        "from nemo_skills_specdec.prepare_data import PrepareOptions, prepare; from pathlib import Path; "
        "prepare(PrepareOptions(name='mini', output_dir=Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
