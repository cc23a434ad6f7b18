"""What is printed steers no terminal, and what cannot be printed loses nothing."""

import csv
import json
import os
import subprocess
import sys

import pytest
from reliability.faults import answers_of, command, evaluate, fault, prompt_file
from reliability.stand_in import StandIn, plain, serving

from nemo_skills_specdec.cli._streams import forgiving_streams
from nemo_skills_specdec.files import safe_name
from nemo_skills_specdec.shown import csv_cell, markdown
from nemo_skills_specdec.shown import plain as harmless

COMMAND = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()"]
STEERING = ["\x1b]0;title\x07", "\x1b[2J", "\x9b31m", "\u202eabc", "\u2066x", "\r", "\x00", "\x7f"]
TEXTS = {
    "markup of rich": "[/red]",
    "an opening tag of rich": "[bold red]",
    "a link of rich": "[link=http://x]y",
    "an escape sequence that names the window": "\x1b]0;title\x07",
    "an escape sequence that clears the screen": "\x1b[2J",
    "a C1 control character": "\x9b31m",
    "characters that turn the writing direction": "\u202eabc\u2066",
    "a line break": "two\nlines",
    "an emoji code": ":smile:",
    "300 characters": "x" * 300,
    "a path": "../../etc/passwd",
}


def places(kind, text):
    """A server and prompts that bring a text to where it is shown."""
    state, prompts = StandIn(), {}
    if kind == "category":
        prompts["category"] = text
    elif kind == "model":
        names = {"data": [{"id": text, "owned_by": "vllm"}]}
        state.gets["/v1/models"] = json.dumps(names).encode()
    elif kind == "version":
        state.gets["/version"] = json.dumps({"version": text}).encode()
    else:
        message = json.dumps({"message": text}).encode()
        state.answer = lambda handler, body, number: (
            handler.reply(400, message) if number == 1 else plain(handler, body, number)
        )
    return state, prompts


def cases():
    for kind in ("category", "model", "version", "error message"):
        for what, text in TEXTS.items():
            kept = "5 of 6 answers" if kind == "error message" else "6 of 6 answers"
            row = fault(7, f"{what} in a {kind}", "the text, without its effect", 0, kept)
            yield pytest.param(kind, text, marks=row, id=f"{what} in a {kind}")


@pytest.mark.parametrize(("kind", "text"), list(cases()))
def test_a_hostile_text_is_shown_harmlessly(tmp_path, kind, text):
    state, more = places(kind, text)
    prompt_file(tmp_path, **more)
    with serving(state) as url:
        done = evaluate(tmp_path, url, "--by-category")
    assert done.code == 0, done.said
    assert "Traceback" not in done.said
    assert [one for one in STEERING if one in done.said] == []
    assert answers_of(tmp_path / "run") == (5 if kind == "error message" else 6)
    outside = [path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "run")]
    assert outside == [tmp_path / "prompts.jsonl"]
    assert max(len(path.name) for path in tmp_path.rglob("*")) < 120


@pytest.mark.parametrize(
    ("shell", "streams"),
    [
        pytest.param(
            "{} | head -n 1",
            {},
            marks=fault(7, "`| head -n 1`", "the first line", 0, "6 of 6 answers"),
            id="head",
        ),
        pytest.param("{} | true", {}, marks=fault(7, "`| true`", "nothing", 0, "6 of 6 answers"), id="true"),
        pytest.param("{} > /dev/full", {}, marks=fault(7, "`> /dev/full`", "nothing", 0, "6 of 6 answers"), id="full"),
        pytest.param(
            "{} 2> /dev/full",
            {},
            marks=fault(7, "`2> /dev/full`", "the result alone", 0, "6 of 6 answers"),
            id="full stderr",
        ),
        pytest.param("{} >&-", {}, marks=fault(7, "`>&-`", "nothing", 0, "6 of 6 answers"), id="closed"),
        pytest.param("{} 2>&-", {}, marks=fault(7, "`2>&-`", "the result alone", 0, "6 of 6 answers"), id="closed 2"),
        pytest.param(
            "{}",
            {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
            marks=fault(7, "a terminal that knows ASCII only", "escapes for other characters", 0, "6 of 6 answers"),
            id="ascii",
        ),
        pytest.param(
            "{} --json | head -c 10",
            {},
            marks=fault(7, "`--json | head -c 10`", "ten characters", 0, "6 of 6 answers"),
            id="json head",
        ),
    ],
)
def test_a_run_is_kept_and_its_exit_code_is_right_whatever_becomes_of_its_output(tmp_path, shell, streams):
    prompt_file(tmp_path, category="Gr\u00fc\u00dfe \u4f60\u597d")
    line = f"{sys.executable} -c 'from nemo_skills_specdec.cli import main; main()' eval --server-url URL"
    line += " --prompts prompts.jsonl --concurrency 3 --warmup 1 --output-dir run"
    with serving(StandIn()) as url:
        done = subprocess.run(
            ["bash", "-c", f"{shell.format(line.replace('URL', url))}; exit ${{PIPESTATUS[0]}}"],
            cwd=tmp_path,
            env={**os.environ, **streams},
            capture_output=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"Exception ignored" not in done.stderr
    assert answers_of(tmp_path / "run") == 6


@fault(7, "`compare` into a full disk", "nothing", 0, "comparison.json and comparison.md")
def test_a_comparison_is_written_before_it_is_printed(tmp_path):
    prompt_file(tmp_path)
    with serving(StandIn()) as url:
        for name in ("a", "b"):
            assert evaluate(tmp_path, url).code == 0
            (tmp_path / "run").rename(tmp_path / name)
    out = tmp_path / "out"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "compare", tmp_path / "a", tmp_path / "b", "--output-dir", out],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((out / "comparison.json").read_text())
    assert "Baseline: vllm" in (out / "comparison.md").read_text()


@fault(7, "formulas, pipes and HTML in names of a study", "escaped cells", 0, "the summary")
def test_cells_of_a_summary_are_neither_formulas_nor_markup(tmp_path):
    prompt_file(tmp_path, category="=cmd|' /C calc'!A0<script>")
    with serving(StandIn()) as url:
        options = ("--prompts", tmp_path / "prompts.jsonl", "--concurrency", "2", "--output-dir", tmp_path / "study")
        done = command("sweep", "--server-url", url, *options)
    assert done.code == 0, done.said
    with (tmp_path / "study" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["category"] for row in rows} == {"overall", "'=cmd|' /C calc'!A0<script>"}
    assert "<script>" not in (tmp_path / "study" / "summary.md").read_text()


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@a", "'@a"),
        ("a=1", "a=1"),
        (-1, -1),
        (None, None),
        ("a\x1bb", "a\ufffdb"),
    ],
)
def test_no_spreadsheet_takes_a_cell_for_a_formula(text, cell):
    assert csv_cell(text) == cell


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a|b", "a\\|b"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("a\nb", "a b"),
        ("[x](javascript:1)", "\\[x\\](javascript:1)"),
        ("draft_model", "draft_model"),
        ("_emphasis_", "\\_emphasis\\_"),
        ("a & b", "a &amp; b"),
    ],
)
def test_a_text_is_no_markup_in_markdown(text, told):
    assert markdown(text) == told


def test_line_feeds_and_tabs_stay_and_everything_that_steers_goes():
    assert harmless("a\tb\nc") == "a\tb\nc"
    assert harmless("\x1b[1m\x9b\u202e\u200f\u2028") == "\ufffd[1m\ufffd\ufffd\ufffd\ufffd"


@pytest.mark.parametrize(
    ("text", "name"),
    [("../../x", "-..-x"), ("a/b", "a-b"), ("x" * 300, "x" * 80), ("", "-"), ("..", "-"), ("\x00\u202e", "--")],
)
def test_a_name_is_safe_as_a_part_of_a_files_name(text, name):
    assert safe_name(text) == name


def test_a_stream_that_breaks_is_given_up_without_a_word(tmp_path):
    read, write = os.pipe()
    os.close(read)
    stream = open(write, "w")  # noqa: SIM115
    former, sys.stdout = sys.stdout, stream
    try:
        with forgiving_streams():
            print("x" * 100_000)
            print("y", flush=True)
    finally:
        sys.stdout = former
    stream.close()
