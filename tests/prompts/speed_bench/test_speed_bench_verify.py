from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from invented import SHA, WordEncoder

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.prompts.hub.access import Origin
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.prepared.manifest import PreparedManifest, read_manifest, write_prepared
from nemo_skills_specdec.prompts.prepared.rows import user_messages
from nemo_skills_specdec.prompts.prepared.verify import Verification
from nemo_skills_specdec.prompts.speed_bench.adopt import adopt
from nemo_skills_specdec.prompts.speed_bench.prepare import Options, prepare
from nemo_skills_specdec.prompts.speed_bench.schema import QUALITATIVE_CATEGORIES, REVISION, THROUGHPUT_CATEGORIES
from nemo_skills_specdec.prompts.speed_bench.verify import verify_config
from nemo_skills_specdec.records import Message, PromptRow


def rows(categories: tuple[str, ...], each: int, text: str = "a text") -> list[PromptRow]:
    return [
        PromptRow(question_id=f"{number:08x}" * 4, category=category, messages=user_messages([text]))
        for number, category in enumerate(category for category in categories for _ in range(each))
    ]


def written(folder: Path, made: list[PromptRow], config: str = "qualitative", **more: Any) -> Path:
    values: dict[str, Any] = {"dataset": [Origin("nvidia/SPEED-Bench", REVISION)], **more}
    write_prepared(
        folder, config, made, PreparedManifest(benchmark="speed-bench", config=config, comparable=True, **values)
    )
    return folder / f"{config}.jsonl"


def codes(result: Verification) -> set[tuple[str, str]]:
    return {(finding.code, finding.severity) for finding in result.findings}


def test_a_complete_qualitative_config_is_fine(tmp_path: Path) -> None:
    result = verify_config(written(tmp_path, rows(QUALITATIVE_CATEGORIES, 80)), None)
    assert result.ok
    assert result.num_rows == 880
    assert result.findings == []


def test_a_complete_throughput_config_is_fine(tmp_path: Path) -> None:
    text = " ".join(["w"] * 500) + " "
    path = written(tmp_path, rows(THROUGHPUT_CATEGORIES, 512, text), "throughput_1k")
    result = verify_config(path, WordEncoder())
    assert (result.ok, result.num_rows, result.tokens, result.findings) == (True, 1536, (1000, 1000), [])


def test_a_category_that_is_short_of_rows_is_named(tmp_path: Path) -> None:
    result = verify_config(written(tmp_path, rows(QUALITATIVE_CATEGORIES, 80)[:-1]), None)
    assert not result.ok
    (finding,) = result.findings
    assert finding.code == "row_count"
    assert "writing 79" in finding.message
    assert finding.numbers == {"rows": 879, "expected": 880}


def test_a_category_that_is_not_one_is_named(tmp_path: Path) -> None:
    made = rows(QUALITATIVE_CATEGORIES, 80)
    made[0].category = "maths"
    assert ("unknown_category", "invalid") in codes(verify_config(written(tmp_path, made), None))


def test_ids_are_32_hexadecimal_characters(tmp_path: Path) -> None:
    made = rows(QUALITATIVE_CATEGORIES, 80)
    made[3].question_id = "XYZ"
    assert ("odd_id", "invalid") in codes(verify_config(written(tmp_path, made), None))


def test_messages_are_the_users_alone(tmp_path: Path) -> None:
    made = rows(QUALITATIVE_CATEGORIES, 80)
    made[3].messages = [Message("system", "x"), Message("user", "y")]
    assert ("other_roles", "invalid") in codes(verify_config(written(tmp_path, made), None))


@pytest.mark.parametrize(("words", "severity"), [(495, None), (480, "warning"), (300, "invalid"), (1000, "invalid")])
def test_rows_far_off_the_budget_are_found(tmp_path: Path, words: int, severity: str | None) -> None:
    made = rows(THROUGHPUT_CATEGORIES, 512, "w " * 500)
    made[7].messages = user_messages(["w " * words])
    found = codes(verify_config(written(tmp_path, made, "throughput_1k"), WordEncoder()))
    assert found == (set() if severity is None else {("tokens", severity)})


def test_tokens_that_were_not_counted_are_said_to_be_so(tmp_path: Path) -> None:
    path = written(tmp_path, rows(THROUGHPUT_CATEGORIES, 512), "throughput_1k")
    assert codes(verify_config(path, None)) == {("tokens_not_counted", "warning")}


def test_rows_left_out_for_a_gate_are_counted(tmp_path: Path) -> None:
    made = rows(QUALITATIVE_CATEGORIES, 80)[208:]
    assert verify_config(written(tmp_path, made, skipped={"cais/hle": 208}), None).ok
    assert not verify_config(written(tmp_path, made, skipped={"cais/hle": 207}), None).ok


def test_a_limited_config_is_fine_and_said_to_be_limited(tmp_path: Path) -> None:
    result = verify_config(written(tmp_path, rows(QUALITATIVE_CATEGORIES, 2), limit_per_category=2), None)
    assert result.ok
    assert codes(result) == {("limited", "info")}


def test_another_revision_is_measured_by_its_own_number_of_rows(tmp_path: Path) -> None:
    other = [Origin("nvidia/SPEED-Bench", "e" * 40)]
    made = rows(QUALITATIVE_CATEGORIES, 1)
    assert verify_config(written(tmp_path, made, dataset=other, source_rows=11), None).ok
    assert not verify_config(written(tmp_path, made, dataset=other, source_rows=12), None).ok


def test_what_was_just_prepared_is_fine(options: Options, fetcher: Fetcher, tmp_path: Path) -> None:
    wanted = msgspec.structs.replace(options, configs=("qualitative", "throughput_2k"))
    prepare(wanted, fetcher, Cache(tmp_path / "cache"), lambda line: None)
    assert verify_config(wanted.folder / "qualitative.jsonl", None).ok
    result = verify_config(wanted.folder / "throughput_2k.jsonl", WordEncoder())
    # The open row of the stand-in is far too short, which real ones are not.
    assert [finding.numbers for finding in result.findings if finding.severity == "invalid"] == [{"rows": 1}]


# Rows prepared elsewhere


def test_rows_prepared_elsewhere_are_taken_over_and_said_to_be(tmp_path: Path) -> None:
    path = written(tmp_path / "theirs", rows(QUALITATIVE_CATEGORIES, 80))
    path.with_name("qualitative.manifest.json").unlink()
    adopt(tmp_path / "theirs", "qualitative", tmp_path / "ours", None)
    result = verify_config(tmp_path / "ours/qualitative.jsonl", None)
    assert result.ok
    assert codes(result) == {("prepared_elsewhere", "warning")}
    manifest = read_manifest(tmp_path / "ours/qualitative.jsonl")
    assert manifest is not None
    assert manifest.wording is not None
    assert manifest.wording.standing == "prepared"


def test_a_manifest_of_ours_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "theirs", rows(QUALITATIVE_CATEGORIES, 80), flavor="specdec_bench")
    adopt(tmp_path / "theirs", "qualitative", tmp_path / "ours", None)
    assert (tmp_path / "ours/qualitative.manifest.json").read_bytes() == path.with_name(
        "qualitative.manifest.json"
    ).read_bytes()


def test_placeholders_are_not_taken_over(tmp_path: Path) -> None:
    made = rows(QUALITATIVE_CATEGORIES, 80)
    made[5].messages = user_messages(["FULL BENCHMARK DATA SHOULD BE elsewhere"])
    written(tmp_path / "theirs", made)
    with pytest.raises(DataError, match="cannot be imported: 1 row holds a placeholder"):
        adopt(tmp_path / "theirs", "qualitative", tmp_path / "ours", None)
    assert not (tmp_path / "ours").exists()


def test_nothing_is_taken_over_onto_itself(tmp_path: Path) -> None:
    written(tmp_path, rows(QUALITATIVE_CATEGORIES, 80))
    with pytest.raises(UsageError, match="is the target itself"):
        adopt(tmp_path, "qualitative", tmp_path, None)


def test_the_pinned_revision_is_a_release() -> None:
    assert REVISION != SHA
    assert len(REVISION) == 40
