"""The door: options, folders, exit codes, what NeMo-Skills' dataset folders call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from invented import SHA, Invented, WordEncoder

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.prepare_data import main
from nemo_skills_specdec.prompts import checking, preparation
from nemo_skills_specdec.prompts.checking import verify_folder
from nemo_skills_specdec.prompts.load import load_with_findings
from nemo_skills_specdec.prompts.preparation import PrepareOptions, prepare
from nemo_skills_specdec.records import prompt_sha256

WORDING = ["--allow-unknown-texts"]


@pytest.fixture
def place(invented: Invented, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine whose hub is the stand-in."""
    monkeypatch.setenv("HF_ENDPOINT", invented.hub.url)
    monkeypatch.setenv("HF_TOKEN", "good")
    monkeypatch.setenv("SPECDEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEMO_SKILLS_DATA_DIR", raising=False)
    for module in (preparation, checking):
        monkeypatch.setattr(module, "load_encoder", lambda offline=False: WordEncoder())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(invented: Invented, wording: Path, *more: str) -> list[str]:
    return ["--revision", SHA, "--texts-from", str(wording), *WORDING, "--allow-host", invented.plain.host, *more]


def test_without_a_folder_files_go_to_the_dataset_folder(place: Path, invented: Invented, wording: Path) -> None:
    assert main("speed-bench", arguments(invented, wording), default_folder=place / "folder") == 0
    assert (place / "folder/qualitative.jsonl").exists()


@pytest.mark.parametrize("option", ["--data-dir", "--data_dir"])
def test_the_data_folder_gets_a_folder_per_benchmark(
    place: Path, invented: Invented, wording: Path, option: str
) -> None:
    argv = arguments(invented, wording, f"{option}={place / 'data'}")
    assert main("speed-bench", argv, default_folder=place / "folder") == 0
    assert (place / "data/speed-bench/qualitative.jsonl").exists()
    assert not (place / "folder").exists()


@pytest.mark.parametrize("option", ["--output-dir", "--output_dir"])
def test_the_output_folder_is_taken_as_it_is(place: Path, invented: Invented, wording: Path, option: str) -> None:
    assert main("speed-bench", arguments(invented, wording, option, str(place / "out"))) == 0
    assert (place / "out/qualitative.jsonl").exists()


def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    place: Path, invented: Invented, wording: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "stranger")
    assert main("speed-bench", arguments(invented, wording)) == 2
    error = capsys.readouterr().err
    assert error.split("\n")[-2].startswith("speed-bench: cais/hle is gated and your account has no access yet")
    assert "Traceback" not in error


def test_a_result_that_is_not_fit_for_use_is_exit_code_1(place: Path, invented: Invented, wording: Path) -> None:
    # The stand-in's open throughput row is far too short.
    assert main("speed-bench", arguments(invented, wording, "--config", "throughput_1k")) == 1


def test_an_unknown_option_is_not_swallowed(
    place: Path, invented: Invented, wording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("speed-bench", arguments(invented, wording, "--no-such-option")) == 2
    assert "--no-such-option" in capsys.readouterr().err


def test_all_configs_are_those_there_are(place: Path, invented: Invented, wording: Path) -> None:
    with pytest.raises(UsageError, match="has no files for throughput_8k"):
        prepare(
            PrepareOptions(name="speed-bench", config="all", revision=SHA, texts_from=wording, allow_unknown_texts=True)
        )


def test_what_was_prepared_is_loaded_with_its_findings(place: Path, invented: Invented, wording: Path) -> None:
    main("speed-bench", arguments(invented, wording, "--data-dir", str(place / "data")))
    loaded = load_with_findings("speed-bench", data_dir=place / "data")
    assert loaded.name == "speed-bench/qualitative"
    assert len(loaded.rows) == 18
    assert sum(len(row.messages) for row in loaded.rows) == 27
    assert {finding.code for finding in loaded.findings} == {"wording_not_comparable"}
    assert loaded.manifest is not None
    hashes = {row.question_id: prompt_sha256(row.messages) for row in loaded.rows}
    assert loaded.manifest.row_sha256 == hashes


def test_the_set_folder_itself_serves_as_well(place: Path, invented: Invented, wording: Path) -> None:
    main("speed-bench", arguments(invented, wording, "--data-dir", str(place / "data")))
    assert len(load_with_findings("speed-bench", data_dir=place / "data/speed-bench").rows) == 18
    assert len(load_with_findings("speed-bench").rows) == 18


def test_what_is_not_prepared_says_how_to(place: Path) -> None:
    with pytest.raises(UsageError, match="run: ns-specdec prepare speed-bench --config throughput_2k --data-dir d"):
        load_with_findings("speed-bench", config="throughput_2k", data_dir=Path("d"))


def test_damaged_rows_are_not_loaded(place: Path, invented: Invented, wording: Path) -> None:
    main("speed-bench", arguments(invented, wording))
    path = place / "data/speed-bench/qualitative.jsonl"
    path.write_text(path.read_text().replace("A storm", "A calm"))
    with pytest.raises(UsageError, match="must not be used: 1 row differs from"):
        load_with_findings("speed-bench")


def test_the_built_in_set_needs_no_preparation(place: Path) -> None:
    loaded = load_with_findings("mini")
    assert (loaded.name, len(loaded.rows), loaded.findings) == ("mini", 110, [])


def test_a_file_of_prompts_needs_no_preparation(place: Path) -> None:
    (place / "p.jsonl").write_text('{"prompt": "x"}\n')
    loaded = load_with_findings(str(place / "p.jsonl"))
    assert (loaded.name, [row.messages[0].content for row in loaded.rows]) == ("p", ["x"])


def test_an_unknown_set_lists_those_there_are(place: Path) -> None:
    with pytest.raises(UsageError, match="choose one of: speed-bench, mini, spec-bench, mt-bench, gsm8k"):
        load_with_findings("speedbench")


def test_from_prepared_needs_no_network(place: Path, invented: Invented, wording: Path) -> None:
    main("speed-bench", arguments(invented, wording, "--output-dir", "theirs"))
    before = len(invented.hub.log)
    options = PrepareOptions(name="speed-bench", from_prepared=Path("theirs"), output_dir=Path("ours"))
    (result,) = prepare(options)
    assert result.ok
    assert Path("ours/qualitative.jsonl").read_bytes() == Path("theirs/qualitative.jsonl").read_bytes()
    assert len(invented.hub.log) == before


def test_a_folder_that_was_tampered_with_is_not_taken_over(place: Path, invented: Invented, wording: Path) -> None:
    main("speed-bench", arguments(invented, wording, "--output-dir", "theirs"))
    path = Path("theirs/qualitative.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["source"] = "elsewhere"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = PrepareOptions(name="speed-bench", from_prepared=Path("theirs"), output_dir=Path("ours"))
    with pytest.raises(UsageError, match="cannot be imported: 1 row differs from the manifest"):
        prepare(options)
    assert not Path("ours").exists()


def test_a_folder_of_several_files_is_verified_whole(place: Path, invented: Invented, wording: Path) -> None:
    main("speed-bench", arguments(invented, wording, "--output-dir", "out"))
    prepare(PrepareOptions(name="mini", output_dir=Path("out")))
    assert [(one.name, one.ok) for one in verify_folder(Path("out"))] == [("qualitative", True), ("test", True)]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match="give a number from 1 on"):
        prepare(PrepareOptions(name="mini", limit_per_category=limit))


def test_own_wording_and_a_file_of_texts_exclude_each_other(wording: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        prepare(PrepareOptions(name="speed-bench", texts="own", texts_from=wording))


# The commands


def cli(*argv: str) -> tuple[int, str, str]:
    import typer
    from typer.testing import CliRunner

    from nemo_skills_specdec.cli.export import export
    from nemo_skills_specdec.cli.prepare import prepare
    from nemo_skills_specdec.cli.verify import verify

    app = typer.Typer()
    for command in (prepare, verify, export):
        app.command()(command)
    result = CliRunner().invoke(app, list(argv))
    return result.exit_code, result.stdout, result.stderr


def test_the_commands_prepare_verify_and_export(place: Path, invented: Invented, wording: Path) -> None:
    code, out, err = cli("prepare", "speed-bench", *arguments(invented, wording, "--data-dir", "d"))
    assert (code, out) == (0, "")
    assert "qualitative: 18 rows, 27 turns in d/speed-bench/qualitative.jsonl" in err
    code, out, _ = cli("verify", "d/speed-bench", "--json")
    value = json.loads(out)
    assert (code, value["ok"], value["files"][0]["num_turns"]) == (0, True, 27)
    code, out, _ = cli("export", "d/speed-bench", "--to", "sglang")
    assert (code, out) == (0, "d/speed-bench-sglang/qualitative.jsonl\n")
    code, out, _ = cli("verify", "d/speed-bench", "--against", "d/speed-bench-sglang")
    assert code == 0
    assert "qualitative: same: 0 rows differ" in out


def test_verify_exits_1_where_folders_differ(place: Path, invented: Invented, wording: Path) -> None:
    cli("prepare", "speed-bench", *arguments(invented, wording, "--output-dir", "a"))
    cli("prepare", "speed-bench", *arguments(invented, wording, "--output-dir", "b", "--coser-order", "union"))
    code, out, _ = cli("verify", "a", "--against", "b")
    assert code == 1
    assert "qualitative: DIFFERENT: 1 row differs" in out
