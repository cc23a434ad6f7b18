"""Writes the golden files anew, from the package that is installed: `python tests/golden/regenerate.py [KIND ...]`.

Kinds: diff, log, eval, nemo_skills, study; all by default.

Read the difference that git shows before keeping it: every changed number needs a reason.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest
from golden_cases import (
    DATA,
    LOGS,
    SEEDS,
    WINDOWS,
    eval_cases,
    file_of,
    normalised,
    observe_diff,
    observe_eval,
    observe_log,
    observe_nemo_skills,
    observe_study,
)

sys.path.insert(0, str(DATA.parent / "evaluator"))


def store(kind: str, case: str, observed: object) -> None:
    path = file_of(kind, case)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(observed, indent=1) + "\n")


def main(wanted: list[str]) -> None:
    for kind, cases, observe in (("diff", WINDOWS, observe_diff), ("log", LOGS, observe_log)):
        if kind in wanted:
            for case in cases:
                with tempfile.TemporaryDirectory() as folder:
                    store(kind, case, normalised(observe(case, Path(folder))))
    if "eval" in wanted:
        for case, (recording, options) in eval_cases().items():
            with tempfile.TemporaryDirectory() as folder:
                store("eval", case, normalised(observe_eval(recording, options, Path(folder))))
    if "nemo_skills" in wanted:
        import standin_nemo_skills

        with pytest.MonkeyPatch.context() as patch:
            standin_nemo_skills.install(patch)
            from nemo_skills_specdec.evaluator import metrics

            for case, outputs in SEEDS.items():
                store("nemo_skills", case, normalised(observe_nemo_skills(outputs, metrics)))
    if "study" in wanted:
        with tempfile.TemporaryDirectory() as folder:
            store("study", "study", normalised(observe_study(Path(folder)), times=True))


if __name__ == "__main__":
    main(sys.argv[1:] or ["diff", "log", "eval", "nemo_skills", "study"])
