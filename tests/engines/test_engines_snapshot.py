"""A snapshot is parsed once, and a file holds its text alone."""

import msgspec
import pytest
from server_recordings import snapshot, text_of

from nemo_skills_specdec.engines import snapshot as module
from nemo_skills_specdec.engines.exposition import Samples
from nemo_skills_specdec.engines.reading import read_window
from nemo_skills_specdec.engines.snapshot import Snapshot
from nemo_skills_specdec.errors import DataError

TEXT = text_of("vllm/ngram/metrics_after.txt")


def test_a_snapshot_is_parsed_once_however_often_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = module.parse_metrics

    def counting(text: str, where: str, *, wanted: frozenset[str]) -> Samples:
        parsed.append(where)
        return parse(text, where, wanted=wanted)

    monkeypatch.setattr(module, "parse_metrics", counting)
    before, after = snapshot(text_of("vllm/ngram/metrics_before.txt"), "before"), snapshot(TEXT, "after")
    for _ in range(8):
        assert read_window([before], [after]).num_drafts == 768
        assert after.engine == "vllm"
    assert sorted(parsed) == ["after", "before"]


def test_a_text_that_cannot_be_read_is_parsed_once_too() -> None:
    broken = snapshot("vllm:generation_tokens_total x\n")
    for _ in range(2):
        with pytest.raises(DataError, match="not Prometheus text"):
            _ = broken.samples
    assert broken.engine is None


def test_a_file_holds_no_samples_and_is_read_back_the_same() -> None:
    first = snapshot(TEXT)
    assert first.samples.series
    written = msgspec.json.encode(first)
    assert set(msgspec.json.decode(written)) == {"url", "taken_at", "status", "text", "error"}
    again = msgspec.json.decode(written, type=Snapshot)
    assert (again, again.samples) == (first, first.samples)


def test_a_file_of_the_first_release_is_read() -> None:
    old = b'{"url":"http://h/metrics","taken_at":1.5,"text":"vllm:generation_tokens_total 5\\n"}'
    assert msgspec.json.decode(old, type=Snapshot).engine == "vllm"
