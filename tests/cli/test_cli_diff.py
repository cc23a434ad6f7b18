"""`ns-specdec diff` on recorded texts."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nemo_skills_specdec.cli import app
from nemo_skills_specdec.errors import UsageError

CAPTURES = Path(__file__).parent.parent / "data" / "captures"
NULL = "NUL" if sys.platform == "win32" else "/dev/null"


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[str], str]:
    def unpack(name: str) -> str:
        target = tmp_path / name.replace("/", "-")
        packed = CAPTURES / f"{name}.gz"
        target.write_bytes(gzip.decompress(packed.read_bytes()) if packed.exists() else (CAPTURES / name).read_bytes())
        return str(target)

    return unpack


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["diff", *arguments])


def test_json_is_one_object_with_the_fields_of_the_contract(recorded: Callable[[str], str]) -> None:
    result = run(recorded("vllm/eagle3/metrics_before.txt"), recorded("vllm/eagle3/metrics_after.txt"), "--json")
    body = json.loads(result.stdout)
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert {key: body[key] for key in list(body)[:5]} == {
        "source": "counters",
        "num_drafts": 1023,
        "num_draft_tokens": 3069,
        "num_accepted_tokens": 883,
        "accepted_per_position": [695, 188, 0],
    }
    assert body["acceptance_length"] == 1906 / 1023
    assert body["acceptance_rate"] == 883 / 3069
    assert body["per_position_acceptance_rates"] == [695 / 1023, 188 / 1023, 0.0]
    assert body["conditional_acceptance_rates"] == [695 / 1023, 188 / 695, 0.0]
    assert body["tokens_per_step"] == 1890 / 1023
    assert [(item["code"], item["severity"]) for item in body["findings"]] == [("tokens_cut_off", "info")]
    assert (body["engine"], body["traffic"]["requests"]) == ("vllm", 30)


@pytest.mark.parametrize("before", ["-", NULL])
def test_no_text_before_counts_from_zero(recorded: Callable[[str], str], before: str) -> None:
    body = json.loads(run(before, recorded("vllm/ngram/metrics_after.txt"), "--json").stdout)
    assert (body["source"], body["num_drafts"], body["num_accepted_tokens"]) == ("counters", 768, 1594)


def test_what_a_text_does_not_tell_is_null(recorded: Callable[[str], str]) -> None:
    body = json.loads(run("-", recorded("sglang/metrics_0.5.23_ngram.txt"), "--json").stdout)
    assert (body["source"], body["num_drafts"], body["num_accepted_tokens"]) == ("bounds", 5649, None)
    assert body["accepted_per_position"] is None
    assert body["conditional_acceptance_rates"] is None


def test_bounds_are_printed_as_pairs(recorded: Callable[[str], str]) -> None:
    case = "sglang-gpu/sgl_ngram/T0_c1_metrics"
    body = json.loads(run(recorded(f"{case}_before.txt"), recorded(f"{case}_after.txt"), "--json").stdout)
    low, high = body["acceptance_length_bounds"]
    assert body["source"] == "bounds"
    assert low < 3.594633 < high
    assert body["acceptance_length"] == (low + high) / 2


def test_speculation_off_is_null_and_not_zero(recorded: Callable[[str], str]) -> None:
    body = json.loads(
        run(recorded("vllm/off/metrics_before.txt"), recorded("vllm/off/metrics_after.txt"), "--json").stdout
    )
    assert (body["source"], body["num_drafts"], body["acceptance_length"]) == (None, None, None)
    assert [item["code"] for item in body["findings"]] == ["speculation_off"]


def test_the_table_fits_80_columns_and_shows_findings(recorded: Callable[[str], str]) -> None:
    result = run(recorded("vllm/ngram/metrics_before.txt"), recorded("vllm/ngram/metrics_after.txt"))
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    for text in ("768", "3006", "1594", "533 442 321 298", "3.0755", "0.5303", "2.1957", "530 of 1298"):
        assert text in result.stdout


def test_swapped_texts_give_no_number_and_strict_fails(recorded: Callable[[str], str]) -> None:
    before, after = recorded("vllm/ngram/metrics_before.txt"), recorded("vllm/ngram/metrics_after.txt")
    swapped = run(after, before, "--json")
    body = json.loads(swapped.stdout)
    assert (swapped.exit_code, body["acceptance_length"]) == (0, None)
    assert [item["code"] for item in body["findings"]] == ["counters_decreased"]
    assert run(after, before, "--strict").exit_code == 1
    assert run(before, after, "--strict").exit_code == 0


def test_metrics_without_statistics_name_the_flag(recorded: Callable[[str], str]) -> None:
    result = run("-", recorded("vllm/ngram_nologstats/metrics_after.txt"), "--json")
    assert isinstance(result.exception, UsageError)
    assert "--disable-log-stats" in str(result.exception)
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"<html></html>", "is a web page"),
        (b'{"a": 1}', "is JSON"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"what is this", "is not Prometheus text"),
    ],
)
def test_what_is_no_metrics_text_is_one_clear_line(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "after.txt"
    file.write_bytes(content)
    result = run("-", str(file))
    assert isinstance(result.exception, UsageError)
    assert told in str(result.exception)
    assert str(file) in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    result = run("-", str(tmp_path / "nothing.txt"))
    assert isinstance(result.exception, UsageError)
    assert "No such file" in str(result.exception)
