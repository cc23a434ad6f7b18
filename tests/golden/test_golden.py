"""What a user gets from recorded servers stays what it was: figures, tables, findings and exit codes.

The golden files were made by the first release's code. Fields and remarks may come on top; what is there may not change
without a reason. `regenerate.py` writes them anew.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from golden_cases import (
    LOGS,
    SEEDS,
    WINDOWS,
    differences,
    eval_cases,
    file_of,
    normalised,
    observe_diff,
    observe_eval,
    observe_log,
    observe_nemo_skills,
    observe_study,
)

sys.path.insert(0, str(Path(__file__).parent.parent / "evaluator"))

import standin_nemo_skills

EVALS = eval_cases()


def changes(kind: str, case: str, observed: Any, *, times: bool = False) -> list[str]:
    """What became different from the golden file; both go through JSON."""
    golden = json.loads(file_of(kind, case).read_text())
    return list(differences(golden, normalised(json.loads(json.dumps(observed)), times=times)))


@pytest.mark.parametrize("case", WINDOWS)
def test_diff_says_what_it_said(case: str, tmp_path: Path) -> None:
    assert changes("diff", case, observe_diff(case, tmp_path)) == []


@pytest.mark.parametrize("case", LOGS)
def test_parse_log_says_what_it_said(case: str, tmp_path: Path) -> None:
    assert changes("log", case, observe_log(case, tmp_path)) == []


@pytest.mark.parametrize("case", EVALS)
def test_an_eval_against_a_recorded_server_gives_what_it_gave(case: str, tmp_path: Path) -> None:
    recording, options = EVALS[case]
    assert changes("eval", case, observe_eval(recording, options, tmp_path)) == []


@pytest.mark.parametrize("case", SEEDS)
def test_nemo_skills_gets_the_lines_it_got(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    standin_nemo_skills.install(monkeypatch)
    from nemo_skills_specdec.evaluator import metrics

    metrics._metrics_class.cache_clear()
    try:
        assert changes("nemo_skills", case, observe_nemo_skills(SEEDS[case], metrics)) == []
    finally:
        metrics._metrics_class.cache_clear()


def test_a_recorded_study_is_taken_up_and_summed_up_as_it_was(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs the extra [experiments]")
    assert changes("study", "study", observe_study(tmp_path), times=True) == []


def test_a_changed_number_a_missing_field_and_a_new_invalid_finding_are_differences() -> None:
    golden = {"a": 1.5, "findings": [{"code": "x", "severity": "info"}]}
    assert list(differences(golden, {"a": 1.5, "b": 2, "findings": [*golden["findings"]]})) == []
    assert list(differences(golden, {"a": 1.5000001, "findings": golden["findings"]})) == [".a: 1.5 became 1.5000001"]
    assert list(differences(golden, {"a": 1.5, "findings": []})) == [".findings: x is gone"]
    assert list(
        differences(golden, {"a": 1.5, "findings": [*golden["findings"], {"code": "y", "severity": "invalid"}]})
    )
    assert list(differences(golden, {"findings": golden["findings"]})) == [".a is gone"]
    assert list(differences({"table": [["1"], ["2"]]}, {"table": [["1"], ["9"], ["2"]]})) == []
    assert list(differences({"table": [["1"], ["2"]]}, {"table": [["2"], ["1"]]}))
