"""The files of a report."""

import csv
import hashlib
import json
import re
from importlib.resources import files

import pytest
from report_runs import record, usual_records, write_run

from nemo_skills_specdec.report.files import report_on
from nemo_skills_specdec.report.html import SCRIPTS, script_json

HOSTILE = "<script>alert(1)</script>\"'`|*_\u202eevil\u202c & {{ 7*7 }} " + "x" * 10_000


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", usual_records())


def test_the_report_is_one_file_beside_the_run_with_markdown_and_csv(run):
    assert report_on([run]) == run / "report.html"
    assert {"report.html", "report.md", "summary.csv"} <= {path.name for path in run.iterdir()}
    assert (run / "report.html").stat().st_size < 5_000_000


def test_the_html_names_no_address_to_load_from(run):
    text = report_on([run]).read_text()
    page = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#|data:)", page)
    assert "default-src 'none'" in page


def test_names_from_outside_stay_text_in_html_and_markdown(tmp_path):
    records = [record(i, HOSTILE) for i in range(5)]
    run = write_run(tmp_path / "run", records, benchmark=HOSTILE, model=HOSTILE, method=HOSTILE)
    text = report_on([run]).read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "49" not in re.findall(r"<h1>.*?</h1>", text)[0]
    markdown = (run / "report.md").read_text()
    assert "<script>" not in markdown.replace("\\<script\\>", "")


def test_data_for_the_plots_cannot_end_its_script_element():
    encoded = script_json(["</script><!--", "a"])
    assert "<" not in encoded
    assert json.loads(encoded) == ["</script><!--", "a"]


def test_no_name_turns_the_direction_of_writing(tmp_path):
    run = write_run(tmp_path / "run", [record(i, "qa\u202e\u2066") for i in range(3)], model="m\u200f")
    text = report_on([run]).read_text()
    assert not set(text) & set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert "qa\ufffd\ufffd" in text


def test_the_csv_has_a_line_for_the_run_and_one_for_each_category(run):
    report_on([run])
    with (run / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    stored = json.loads((run / "metrics.json").read_text())
    assert [row["category"] for row in rows] == ["overall", "coding", "math", "writing"]
    assert float(rows[0]["acceptance_length"]) == stored["overall"]["acceptance"]["acceptance_length"]
    assert rows[0]["conditional_acceptance_rates"].split() == [
        str(rate) for rate in stored["overall"]["acceptance"]["conditional_acceptance_rates"]
    ]


def test_a_cell_that_a_spreadsheet_would_calculate_is_text(tmp_path):
    run = write_run(tmp_path / "run", [record(i, "=1+1") for i in range(3)])
    report_on([run])
    assert "'=1+1" in (run / "summary.csv").read_text()


def test_every_plot_becomes_a_picture_on_request(run, tmp_path):
    pytest.importorskip("vl_convert")
    report_on([run], tmp_path / "out", ["svg"])
    pictures = sorted(path.name for path in (tmp_path / "out" / "plots").iterdir())
    assert "acceptance-length-by-category.svg" in pictures
    assert "ttft.svg" in pictures
    assert "coding" in (tmp_path / "out" / "plots" / "acceptance-length-by-category.svg").read_text()


def test_pictures_name_the_extra_that_draws_them(run, monkeypatch):
    from nemo_skills_specdec.errors import UsageError
    from nemo_skills_specdec.report import images

    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"nemo-skills-specdec\[images\]"):
        report_on([run], images=["png"])


def test_the_scripts_are_those_that_npm_has():
    folder = files("nemo_skills_specdec.report") / "assets"
    told = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SCRIPTS[:2]}
    assert told == {
        "vega-6.4.0.min.js": "8f6a3587cf8d4f42c7e08120e3eb05d067e746d554e39d2dcf52acc0bd5ba28f",
        "vega-lite-6.4.3.min.js": "35a9821df838825b05a6a73e9414b58747a1b18321583858ed903c66393a5c7e",
    }


def test_the_scripts_come_with_their_licences():
    folder = files("nemo_skills_specdec.report") / "assets"
    assert "Redistribution" in (folder / "vega-LICENSE").read_text()
    assert "Redistribution" in (folder / "vega-lite-LICENSE").read_text()
