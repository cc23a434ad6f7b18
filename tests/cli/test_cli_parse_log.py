"""`ns-specdec parse-log` on recorded logs."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from nemo_skills_specdec.cli.parse_log import parse_log
from nemo_skills_specdec.errors import UsageError

CAPTURES = Path(__file__).parent.parent / "data" / "captures"
NGRAM = "vllm-gpu/vllm_ngram"


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[[str], str]:
    def unpack(name: str) -> str:
        target = tmp_path / name.replace("/", "-")
        target.write_bytes(gzip.decompress((CAPTURES / f"{name}.gz").read_bytes()))
        return str(target)

    return unpack


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(parse_log)
    return CliRunner().invoke(app, list(arguments))


def test_json_is_one_object_with_the_fields_of_the_contract(recorded: Callable[[str], str]) -> None:
    result = run(recorded("vllm/ngram/server.log"), "--json")
    body = json.loads(result.stdout)
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    assert (body["source"], body["num_drafts"], body["num_draft_tokens"], body["num_accepted_tokens"]) == (
        "log", 979, 3800, 1969,
    )  # fmt: skip
    assert body["accepted_per_position"] == [648, 534, 407, 380]
    assert body["acceptance_length"] == pytest.approx(1 + sum(body["per_position_acceptance_rates"]))
    assert body["conditional_acceptance_rates"][1] == pytest.approx(534 / 648)


def test_the_analysis_file_has_the_known_form(recorded: Callable[[str], str], tmp_path: Path) -> None:
    result = run(recorded(f"{NGRAM}/server.log"), "--output", str(tmp_path / "out"))
    assert result.exit_code == 0
    assert (tmp_path / "out" / "acceptance_analysis.txt").read_text() == (
        "Total samples: 3\n"
        "Total drafted tokens: 29946\n"
        "Average drafted tokens: 9982.00\n"
        "Weighted acceptance rates: [0.7084, 0.5993, 0.4921, 0.4483]\n"
        "Conditional acceptance rates: [0.7084, 0.8460, 0.8212, 0.9110]\n"
    )
    assert json.loads((tmp_path / "out" / "acceptance_analysis.json").read_text())["num_intervals"] == 3


def test_counters_of_the_same_steps_differ_by_rounding_alone(recorded: Callable[[str], str]) -> None:
    counters = recorded(f"{NGRAM}/T1_c32_metrics_after.txt")
    result = run(recorded(f"{NGRAM}/server.log"), "--json", "--metrics-after", counters)
    comparison = json.loads(result.stdout)["comparison"]
    assert comparison["same_steps"]
    assert comparison["figures"]["num_draft_tokens"] == {"log": 29946, "counters": 29946}
    assert comparison["figures"]["num_drafts"]["counters"] == 7641
    assert "rounding" in comparison["explanation"]


def test_a_window_shorter_than_the_log_is_named_as_the_difference(recorded: Callable[[str], str]) -> None:
    before, after = (recorded(f"{NGRAM}/T0_c32_metrics_{end}.txt") for end in ("before", "after"))
    result = run(recorded(f"{NGRAM}/server.log"), "--metrics-before", before, "--metrics-after", after)
    assert result.exit_code == 0
    assert "The log holds 6270 more draft tokens" in " ".join(result.stdout.split())


def test_lines_of_a_time_span_alone_are_counted(recorded: Callable[[str], str]) -> None:
    span = ("--since", "11-22 21:33:10", "--until", "11-22 21:33:15")
    body = json.loads(run(recorded(f"{NGRAM}/server.log"), "--json", *span).stdout)
    assert (body["num_intervals"], body["num_draft_tokens"], body["num_drafts"]) == (1, 2788, 710)
    nothing = run(recorded(f"{NGRAM}/server.log"), "--since", "12-01 00:00:00")
    assert isinstance(nothing.exception, UsageError)
    assert "--since" in str(nothing.exception)


def test_several_servers_are_summed_and_stand_apart(recorded: Callable[[str], str], tmp_path: Path) -> None:
    both = tmp_path / "both.log"
    both.write_bytes(
        b"".join(Path(recorded(f"vllm/{name}/server.log")).read_bytes() for name in ("ngram", "draft_model"))
    )
    body = json.loads(run(str(both), "--json").stdout)
    assert body["num_draft_tokens"] == 3800 + 19701
    assert sorted(server["num_draft_tokens"] for server in body["servers"].values()) == [3800, 19701]
    finding = next(f for f in body["findings"] if f["code"] == "log_several_servers")
    assert finding["severity"] == "warning", "their draft lengths differ"


def test_torn_lines_are_counted_and_left_out(recorded: Callable[[str], str], tmp_path: Path) -> None:
    text = Path(recorded("vllm/ngram/server.log")).read_text()
    torn = tmp_path / "torn.log"
    torn.write_text(text.replace("Accepted: 20 tokens, Drafted: 54 tokens", "Accepted: 20 tokens, Dra"))
    body = json.loads(run(str(torn), "--json").stdout)
    assert (body["num_draft_tokens"], len(body["torn_lines"])) == (3800 - 54, 1)
    assert "log_lines_torn" in {finding["code"] for finding in body["findings"]}


@pytest.mark.parametrize(
    ("capture", "cause"),
    [
        ("vllm/dp2_ngram", "api_server_count > 1"),
        ("vllm/ngram_nologstats", "--disable-log-stats"),
        ("vllm/off", "--speculative-config"),
    ],
)
def test_a_log_without_intervals_gives_one_line_with_the_cause(
    recorded: Callable[[str], str], capture: str, cause: str
) -> None:
    error = run(recorded(f"{capture}/server.log")).exception
    assert isinstance(error, UsageError)
    assert cause in str(error)
    assert "\n" not in str(error)


def test_a_missing_file_gives_one_line(tmp_path: Path) -> None:
    error = run(str(tmp_path / "none.log")).exception
    assert isinstance(error, UsageError)
    assert "cannot read" in str(error)


def test_a_person_sees_what_rounding_leaves_open(recorded: Callable[[str], str]) -> None:
    shown = run(recorded(f"{NGRAM}/server.log")).stdout
    assert "verification steps D     7638-7647" in shown
    assert "rounding allows 3.2468-3.2494" in shown
