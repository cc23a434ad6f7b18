"""What is held still while code moves: the command line on recorded servers, and how two observations are compared.

Nothing here but `main` is imported from the package, so the same file makes the golden values from any older state.
"""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

from golden_standin import CAPTURES, Recording, from_captures, load, prompts_of, replaying, text_of

DATA = Path(__file__).parent.parent / "data"
GOLDEN = DATA / "golden"

WINDOWS = (
    *(f"vllm/{name}/" for name in ("ngram", "draft_model", "eagle3", "dp2_ngram", "ngram_nologstats", "off")),
    "vllm/draft_model_t08_patched/",
    "vllm-gpu/vllm_ngram/T0_c32_",
    "vllm-gpu/vllm_draft_model/T1_c1_",
    "vllm-gpu/vllm_ngram_gpu/T0_c32_",
    "vllm-gpu/vllm_off/T0_c1_",
    "vllm-gpu-0.33/",
    *(f"sglang-gpu/{name}/T0_c1_" for name in ("sgl_ngram", "sgl_standalone", "sgl_standalone_tree", "sgl_off")),
    "sglang-gpu/sgl_ngram/T1_c32_",
    "sglang-cpu/ngram-k4/",
    "sglang-cpu/tree-k8/",
    "llamacpp/ngram-k3/",
    "llamacpp/self-draft-k3/",
    "llamacpp/none/",
)
LOGS = (
    *(f"vllm/{name}/" for name in ("ngram", "draft_model", "dp2_ngram", "ngram_nologstats", "off")),
    "vllm-gpu/vllm_ngram/",
    "vllm-gpu/vllm_draft_model/",
)


def run(*arguments: str, folder: Path | None = None) -> tuple[int, str, str]:
    """What a user sees of `ns-specdec ARGUMENTS`: exit code, standard output and standard error, 80 columns wide."""
    from nemo_skills_specdec.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    home = Path.cwd()
    with (
        mock.patch.object(sys, "argv", ["ns-specdec", *arguments]),
        mock.patch.dict(os.environ, {"COLUMNS": "80", "NO_COLOR": "1"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            os.chdir(folder or home)
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            os.chdir(home)
    return code, out.getvalue(), err.getvalue()


def observe_diff(case: str, folder: Path) -> dict[str, Any]:
    """`diff` of a recorded window as JSON and as a table, and its exit code under --strict."""
    ends = []
    for end in ("before", "after"):
        path = folder / f"{case.replace('/', '-')}{end}.txt"
        path.write_text(text_of(CAPTURES / f"{case}metrics_{end}.txt"), encoding="utf-8")
        ends.append(str(path))
    code, text, _ = run("diff", *ends, "--json")
    return {
        "exit_code": code,
        "strict_exit_code": run("diff", *ends, "--strict")[0],
        "json": json.loads(text) if text else None,
        "table": numbers_of_lines(run("diff", *ends)[1]),
    }


def observe_log(case: str, folder: Path) -> dict[str, Any]:
    """`parse-log` of a recorded log, and the file it writes."""
    path = folder / "server.log"
    path.write_text(text_of(CAPTURES / f"{case}server.log"), encoding="utf-8")
    code, text, _ = run("parse-log", str(path), "--json", "--output", str(folder / "out"))
    written = folder / "out" / "acceptance_analysis.txt"
    return {
        "exit_code": code,
        "json": json.loads(text) if text else None,
        "table": numbers_of_lines(run("parse-log", str(path))[1]),
        "acceptance_analysis.txt": written.read_text().split("\n") if written.exists() else None,
    }


def eval_cases() -> dict[str, tuple[Recording, list[str]]]:
    """By name, a recorded server and the options of an `eval` against it."""
    models = {"/v1/models": "models.json"}
    vllm = {**models, "/version": "version.json"}
    sglang = {**models, "/server_info": "server_info.json"}
    some = {"/server_info": "server_info_some.json"}
    llamacpp = {**models, "/props": "props.json", "/slots": "slots.json"}
    files = ["--model", "tiny", "--request-metrics-dir", "{files}"]
    by_category = ["--by-category"]
    return {
        "vllm-eagle3": (from_captures("vllm/eagle3/", info=vllm), []),
        "vllm-ngram": (from_captures("vllm/ngram/", info=vllm), ["--bootstrap-seed", "7"]),
        "vllm-dp2": (from_captures("vllm/dp2_ngram/", info=vllm), []),
        "vllm-sampled": (from_captures("vllm/draft_model_t08_patched/", info=vllm), ["--temperature", "0.8"]),
        "vllm-off": (from_captures("vllm/off/", info=vllm), []),
        "vllm-counters": (from_captures("vllm-gpu/vllm_ngram/T0_c32_", info=vllm), ["--no-by-category"]),
        "sglang-gpu": (from_captures("sglang-gpu/sgl_ngram/T0_c1_", info=sglang), []),
        "sglang-gpu-tree": (from_captures("sglang-gpu/sgl_standalone_tree/T0_c1_", info=sglang), []),
        "sglang-gpu-bounds": (
            from_captures("sglang-gpu/sgl_ngram/T0_c32_", info=sglang, strip=True),
            ["--no-by-category"],
        ),
        "sglang-cpu": (from_captures("sglang-cpu/ngram-k4/", info=some), files),
        "sglang-cpu-files": (
            from_captures("sglang-cpu/ngram-k4/", info=some, strip=True),
            [*files, "--no-by-category"],
        ),
        "sglang-cpu-tree": (from_captures("sglang-cpu/tree-k8/", info=some), ["--model", "tiny"]),
        "llamacpp": (from_captures("llamacpp/ngram-k3/", info=llamacpp), ["--no-by-category"]),
        "llamacpp-off": (from_captures("llamacpp/none/", info=llamacpp), ["--no-by-category"]),
        **{
            f"embedded-{name}": (load(GOLDEN / "answers" / f"{name}.json.gz"), options)
            for name, options in {"vllm": [], "vllm-counters": by_category, "sglang": by_category}.items()
        },
    }


def observe_eval(recording: Recording, options: list[str], folder: Path) -> dict[str, Any]:
    """A whole `eval`: exit code, figures of the table, `metrics.json` and the counts of every answer."""
    files = folder / "request-metrics"
    files.mkdir()
    streamed = any(isinstance(answer, list) for answer in recording.answers.values())
    prompts = folder / "prompts.jsonl"
    rows: list[dict[str, Any]] = (
        []
        if streamed
        else [
            {"question_id": f"q{i}", "category": "ab"[i % 2], "prompt": text}
            for i, text in enumerate(prompts_of(recording))
        ]
    )
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [option.format(files=files) for option in options]
    if "--request-metrics-dir" in options:
        recording.file = files / "sglang-request-metrics-20261125_00.log"
    chosen = (
        ["--prompts", str(PROMPTS), "--max-tokens", "24"]
        if streamed
        else ["--prompts", str(prompts), "--no-stream", "--max-tokens", "128"]
    )
    with replaying(recording) as url:
        code, table, error = run(
            "eval", "--server-url", url, *chosen, *given, "--concurrency", "4", "--output-dir", str(folder / "run")
        )
    if not (folder / "run" / "metrics.json").exists():
        return {"exit_code": code, "error_lines": len(error.strip().split("\n")), "metrics": None}
    output = [json.loads(line) for line in (folder / "run" / "output.jsonl").read_text().split("\n") if line]
    return {
        "exit_code": code,
        "metrics": json.loads((folder / "run" / "metrics.json").read_text()),
        "cells": cells_of(table),
        "answers": [
            [
                row["question_id"],
                *([turn["response_id"], turn["counts"], turn["counts_source"]] for turn in row["requests"]),
            ]
            for row in output
        ],
    }


_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?![\w.]*[A-Za-z])")
_REMARK = re.compile(r"(?i)(info|warning|invalid)\b")


def observe_nemo_skills(outputs: list[Path], metrics: Any) -> dict[str, Any]:
    """The lines that NeMo-Skills prints and writes for the seeds of one benchmark.

    Args:
        metrics: the module that `METRICS_TYPE` names, imported where a NeMo-Skills can be.
    """
    made = metrics.SpecdecMetrics()
    made.reset()
    made.setup([str(path) for path in outputs])
    rows = [[json.loads(line) for line in path.read_text().split("\n") if line] for path in outputs]
    for predictions in zip(*rows, strict=True):
        made.update(list(predictions))
    found = made.get_metrics()
    shown = {
        mode: {name: show(name, line[name], line) for name, show in made.metrics_to_print().items() if name in line}
        for mode, line in found.items()
    }
    return {"metrics": found, "shown": shown}


PROMPTS = GOLDEN / "prompts.jsonl"
"""What recorded answers, runs and studies were asked: two prompts of each category, some with several turns."""

SEEDS = {
    **{
        name: [DATA / "nemo_skills" / name / "output.jsonl"]
        for name in ("feb26-vllm", "feb26-sglang", "oct25-vllm", "oct25-sglang")
    },
    "two-seeds": [DATA / "nemo_skills" / name / "output.jsonl" for name in ("feb26-vllm", "oct25-vllm")],
}
"""Recorded outputs of NeMo-Skills' road, by name: one file a seed."""

STUDY = (
    *("embedded", "--prompts", PROMPTS.name, "--num-prompts", "12", "--max-tokens", "16"),
    *("--concurrency", "2", "--repeats", "2"),
)
"""What the recorded study was asked for, so that asking again finds everything done."""


def observe_study(folder: Path) -> dict[str, Any]:
    """The recorded study taken up again: nothing is left to run, and the summary is written from what is there."""
    study = folder / "study"
    with tarfile.open(GOLDEN / "study.tar.gz") as packed:
        packed.extractall(folder, filter="data")
    runs = sorted(path.name for path in (study / "runs").iterdir())
    shutil.copy(PROMPTS, folder)
    code, table, _ = run("experiment", *STUDY, "--output-dir", "study", folder=folder)
    rows = list(csv.DictReader(io.StringIO((study / "summary.csv").read_text())))
    some = ("overall", "coding")
    return {
        "exit_code": code,
        "runs_made": sorted({path.name for path in (study / "runs").iterdir()} - set(runs)),
        "table": numbers_of_lines(table),
        "csv": [row for row in rows if row["category"] in some],
        "json": [row for row in json.loads((study / "summary.json").read_text())["rows"] if row["category"] in some],
        "markdown": [line for line in (study / "summary.md").read_text().split("\n") if line.startswith("|")],
    }


def numbers_of_lines(table: str) -> list[list[str]]:
    """The numbers of each line of a table that has some, up to the findings: wording and layout may change."""
    found = []
    for line in table.split("\n"):
        if _REMARK.match(line.strip()):
            break
        numbers = _NUMBER.findall(line)
        if numbers:
            found.append(numbers)
    return found


def cells_of(table: str) -> dict[str, dict[str, str]]:
    """The acceptance columns of the table that `eval` prints: by row and column. Times are left out."""
    lines = table.split("\n")
    header = next((number for number, line in enumerate(lines) if re.search(r"\bAL\b.*AR%", line)), None)
    if header is None:
        return {}
    columns = list(re.finditer(r"\S+(?: \S+)*", lines[header]))
    cells: dict[str, dict[str, str]] = {}
    for line in lines[header + 1 :]:
        if not line.strip() or ":" in line:
            break
        texts = {}
        for before, column in pairwise(columns):
            if column.group() in ("D", "AL", "95% CI", "AR%") or re.fullmatch(r"[cr]\d+", column.group()):
                texts[column.group()] = line[before.end() : column.end()].strip()
        cells[re.split(r"\s{2,}", line.strip())[0]] = texts
    return cells


_WORDS = re.compile(r"message|error|\w*version|platform|directory|base_url|study|speedup_reason|markdown_text")
_WORDS_AND_TIMES = re.compile(_WORDS.pattern + r"|\w+_seconds|\w+_per_second|\w+_time|\w+_at")
_CLOCKED = {"client_slow"}
"""Findings that rest on how busy the machine is."""


def normalised(value: Any, *, times: bool = False) -> Any:
    """Without wording, versions and paths; without times too, unless the times themselves were recorded."""
    left_out = _WORDS if times else _WORDS_AND_TIMES
    if isinstance(value, dict):
        return {key: normalised(item, times=times) for key, item in value.items() if not left_out.fullmatch(key)}
    if isinstance(value, list):
        kept = [item for item in value if not (isinstance(item, dict) and item.get("code") in _CLOCKED)]
        return [normalised(item, times=times) for item in kept]
    return value


def differences(golden: Any, found: Any, where: str = "") -> Iterator[str]:
    """What of the golden value is not there or is another; fields and remarks that came on top are no difference."""
    if isinstance(golden, dict) and isinstance(found, dict):
        for key, value in golden.items():
            if key in found:
                yield from differences(value, found[key], f"{where}.{key}")
            else:
                yield f"{where}.{key} is gone"
    elif isinstance(golden, list) and isinstance(found, list):
        yield from _list_differences(golden, found, where)
    elif isinstance(golden, float) and isinstance(found, float | int):
        if abs(golden - found) > 1e-9 * max(1.0, abs(golden)):
            yield f"{where}: {golden} became {found}"
    elif golden != found or type(golden) is not type(found):
        yield f"{where}: {golden!r} became {found!r}"


def _list_differences(golden: list[Any], found: list[Any], where: str) -> Iterator[str]:
    if where.endswith(".findings") and all(isinstance(item, str) for item in golden):
        yield from (f"{where}: {item} is gone" for item in golden if item not in found)
    elif where.endswith(".findings"):
        by_code = {item["code"]: item for item in found}
        for item in golden:
            if item["code"] in by_code:
                yield from differences(item, by_code[item["code"]], f"{where}[{item['code']}]")
            else:
                yield f"{where}: {item['code']} is gone"
        invalid = {item["code"] for item in golden if item["severity"] == "invalid"}
        for code, item in by_code.items():
            if item["severity"] == "invalid" and code not in invalid:
                yield f"{where}: {code} came on top and makes the run invalid"
    elif where.endswith(".table"):
        rest = iter(found)
        for line in golden:
            if line not in rest:
                yield f"{where}: no line holds {line} in its place"
                return
    elif len(golden) != len(found):
        yield f"{where}: {len(golden)} entries became {len(found)}"
    else:
        for number, (one, other) in enumerate(zip(golden, found, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")


def file_of(kind: str, case: str) -> Path:
    """Where the golden value of a case is stored."""
    return GOLDEN / kind / f"{case.strip('/').replace('/', '-')}.json"
