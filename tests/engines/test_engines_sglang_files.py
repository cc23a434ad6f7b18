"""SGLang's request-metric files: offsets, late records, broken lines, several samples."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from server_recordings import text_of

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, total
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.sglang.files import RequestFiles, parse_lines
from nemo_skills_specdec.errors import UsageError

ONE = AcceptanceCounts(num_drafts=2, num_draft_tokens=6, num_accepted_tokens=3, accepted_per_position=(1, 1, 1))
HEX = "37d5e320129f4ba6ab7aef02ad2c1702", "8101152d9c864ddb803dacb03a97f643"


def line(identity: str, **change: Any) -> str:
    record = {
        "id": identity,
        "completion_tokens": 6,
        "spec_verify_ct": 2,
        "spec_num_correct_drafts": 3,
        "spec_num_proposed_drafts": 6,
        "spec_correct_drafts_histogram": [1, 0, 0, 1],
        **change,
    }
    return json.dumps({key: value for key, value in record.items() if value is not None}) + "\n"


def write(folder: Path, text: str, hour: str = "20261122_19") -> None:
    with (folder / f"sglang-request-metrics-{hour}.log").open("a", encoding="utf-8") as file:
        file.write(text)


def test_records_written_in_the_window_are_matched_by_id(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    write(tmp_path, line("a") + line("b") + line("not ours"))
    found = files.wait_for(["a", "b"], timeout_seconds=0)
    assert found.counts == {"a": ONE, "b": ONE}
    assert (found.missing, found.broken_lines, found.findings) == ((), 0, ())


def test_records_from_before_the_window_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, line("a"))
    files = RequestFiles(tmp_path)
    write(tmp_path, line("b"))
    assert files.wait_for(["a", "b"], timeout_seconds=0).missing == ("a",)


def test_all_hourly_files_are_read(tmp_path: Path) -> None:
    write(tmp_path, line("old"), "20261122_18")
    files = RequestFiles(tmp_path)
    write(tmp_path, line("a"), "20261122_18")
    write(tmp_path, line("b"), "20261122_19")
    assert set(files.wait_for(["a", "b"], timeout_seconds=0).counts) == {"a", "b"}


def test_late_records_are_waited_for(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    writer = threading.Thread(target=lambda: (time.sleep(0.15), write(tmp_path, line("a"))))
    writer.start()
    found = files.wait_for(["a"], timeout_seconds=5)
    writer.join()
    assert found.counts == {"a": ONE}


def test_missing_records_are_told_after_the_timeout(tmp_path: Path) -> None:
    started = time.monotonic()
    found = RequestFiles(tmp_path).wait_for(["a", "b"], timeout_seconds=0.2)
    assert 0.2 <= time.monotonic() - started < 2
    assert (found.counts, found.missing) == ({}, ("a", "b"))
    assert [(finding.code, finding.numbers["missing"]) for finding in found.findings] == [
        ("request_records_missing", 2)
    ]


def test_a_line_that_is_still_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    text = line("a")
    write(tmp_path, text[:40])
    first = files.wait_for(["a"], timeout_seconds=0)
    write(tmp_path, text[40:])
    second = files.wait_for(["a"], timeout_seconds=0)
    assert (first.missing, first.broken_lines) == (("a",), 0)
    assert (second.counts, second.broken_lines) == ({"a": ONE}, 0)


def test_broken_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    write(tmp_path, '{"id": "torn", "spec_ve' + line("x") + "[1]\n{}\n\n" + line("a"))
    found = files.wait_for(["a"], timeout_seconds=0)
    assert (found.counts, found.broken_lines) == ({"a": ONE}, 3)
    assert [finding.code for finding in found.findings] == ["request_file_broken_lines"]


def test_bytes_that_are_no_text_are_a_broken_line() -> None:
    assert parse_lines(b"\xff\xfe\n") == ([], 1)


def test_the_samples_of_one_request_are_summed_without_their_warm_up(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    two = json.dumps({"sampling_params": {"n": 2}})
    warm_up = line("req", completion_tokens=0, spec_verify_ct=None, request_parameters=two)
    samples = [line(f"req_{suffix}", request_parameters=two) for suffix in HEX]
    write(tmp_path, warm_up + "".join(samples))
    found = files.wait_for([f"req_{HEX[0]}"], timeout_seconds=0, samples=2)
    assert found.counts == {f"req_{HEX[0]}": ONE + ONE}


def test_samples_with_ids_of_their_own_are_found_by_the_arrival_of_their_request(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    first, other = (json.dumps({"sampling_params": {"n": 2}, "received_time": at}) for at in (1.5, 1.6))
    warm_up = line("w", completion_tokens=0, spec_verify_ct=None, request_parameters=first)
    write(
        tmp_path,
        warm_up
        + "".join(line(i, request_parameters=p) for i, p in zip("abcd", (first, first, other, other), strict=True)),
    )
    found = files.wait_for(["a", "c"], timeout_seconds=0, samples=2)
    assert found.counts == {"a": ONE + ONE, "c": ONE + ONE}


def test_ids_of_our_own_that_end_like_samples_stand_for_themselves(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    write(tmp_path, "".join(line(f"run_{suffix}") for suffix in HEX))
    assert files.wait_for([f"run_{HEX[0]}"], timeout_seconds=0).counts == {f"run_{HEX[0]}": ONE}


def test_the_second_sample_is_waited_for(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    write(tmp_path, line(f"req_{HEX[0]}"))
    assert files.wait_for([f"req_{HEX[0]}"], timeout_seconds=0, samples=2).missing == (f"req_{HEX[0]}",)


def test_ids_of_our_own_with_an_underscore_stand_for_themselves(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    write(tmp_path, line("run_1") + line("run_2"))
    assert files.wait_for(["run_1"], timeout_seconds=0).counts == {"run_1": ONE}


def test_a_record_of_one_token_of_a_speculating_server_had_no_step(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    bare = line("b", completion_tokens=1, spec_verify_ct=None, spec_num_correct_drafts=None)
    write(tmp_path, line("a") + bare)
    assert files.wait_for(["a", "b"], timeout_seconds=0).counts == {"a": ONE, "b": NO_STEPS}


def test_a_record_that_contradicts_itself_gives_a_finding_and_no_counts(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    write(tmp_path, line("a", spec_verify_ct=3) + line("b"))
    found = files.wait_for(["a", "b"], timeout_seconds=0)
    assert set(found.counts) == {"b"}
    assert [(finding.code, finding.severity) for finding in found.findings] == [("identity_broken", "invalid")]


def test_records_without_speculation_give_no_counts(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    records = text_of("sglang/nospec-request-metrics.log")
    write(tmp_path, records)
    ids = [json.loads(item)["id"] for item in records.split("\n") if item]
    found = files.wait_for(ids, timeout_seconds=0)
    assert (found.counts, found.missing) == ({}, ())


def test_the_recorded_file_gives_the_stated_total(tmp_path: Path) -> None:
    files = RequestFiles(tmp_path)
    records = text_of("sglang/sglang-request-metrics-0.5.23.log")
    write(tmp_path, records)
    ids = [json.loads(item)["id"] for item in records.split("\n") if item]
    found = files.wait_for(ids, timeout_seconds=0)
    assert total(found.counts.values()) == AcceptanceCounts(
        num_drafts=5741, num_draft_tokens=17223, num_accepted_tokens=4662, accepted_per_position=(2228, 1412, 1022)
    )


def test_the_records_of_an_adaptive_server_have_no_draft_tokens(tmp_path: Path) -> None:
    info = ServerInfo(engine="sglang", base_url="", settings={"speculative_adaptive": True})
    files = RequestFiles(tmp_path, info)
    write(tmp_path, line("a"))
    assert files.wait_for(["a"], timeout_seconds=0).counts["a"].num_draft_tokens is None


def test_a_folder_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        RequestFiles(tmp_path / "nothing")
