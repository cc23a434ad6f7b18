"""`ns-specdec prepare` into a data folder of NeMo-Skills."""

import json

from nemo_skills_specdec.cli import app


def test_a_data_dir_gets_a_dataset_folder_that_nemo_skills_can_import(tmp_path):
    app(["prepare", "mini", "--data-dir", str(tmp_path), "--limit-per-category", "1"], standalone_mode=False)
    settings = (tmp_path / "mini" / "__init__.py").read_text()
    compile(settings, "__init__.py", "exec")
    assert "SpecdecMetrics" in settings
    rows = [json.loads(line) for line in (tmp_path / "mini" / "test.jsonl").read_text().splitlines()]
    assert len(rows) == 11


def test_an_output_dir_gets_the_rows_alone(tmp_path):
    app(["prepare", "mini", "--output-dir", str(tmp_path / "rows")], standalone_mode=False)
    assert not (tmp_path / "rows" / "__init__.py").exists()


def test_the_name_of_a_dataset_folder_is_a_name_of_its_set(tmp_path):
    app(["prepare", "mini-specdec", "--data-dir", str(tmp_path), "--config", "small"], standalone_mode=False)
    assert (tmp_path / "mini-specdec" / "__init__.py").exists()
    rows = (tmp_path / "mini-specdec" / "test.jsonl").read_text().splitlines()
    assert len(rows) == 44
