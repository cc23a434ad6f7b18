"""The files of a report: one HTML file, the same as Markdown, a CSV of the figures, and pictures on request."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.compare.repeats import runs_in
from nemo_skills_specdec.errors import JSON_ERRORS
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.measurement.run import load_result
from nemo_skills_specdec.measurement.run_directory import MANIFEST, METRICS
from nemo_skills_specdec.report.html import to_html
from nemo_skills_specdec.report.images import ImageFormat, write_images
from nemo_skills_specdec.report.markdown import to_markdown
from nemo_skills_specdec.report.page import Page
from nemo_skills_specdec.report.run_page import CONFIG, run_page
from nemo_skills_specdec.report.runs_page import runs_page
from nemo_skills_specdec.report.summary_table import summary_csv
from nemo_skills_specdec.report.watch_page import watch_csv, watch_page

HTML, MARKDOWN, CSV = "report.html", "report.md", "summary.csv"
IMAGES = "plots"
FAILED = "failed.json"
STUDY_SUMMARY = "summary.json"
"""A study has a `summary.csv` of its own beside it, which says more."""


def report_on(paths: Sequence[Path], folder: Path | None = None, images: Sequence[ImageFormat] = ()) -> Path:
    """Writes the report on one run, on the runs of a study, on several of either, or on one recording of `watch`.

    Args:
        folder: for the files; by default the run or study itself, the current folder for several, and a folder beside
            a recording.

    Returns:
        The HTML file.

    Raises:
        DataError: a path is neither a finished run nor holds one, or a file cannot be read.
        UsageError: pictures are asked for, and the package that draws them is not installed.
        WriteError: a file cannot be written.
    """
    if len(paths) == 1 and paths[0].is_file():
        beside = paths[0].with_name(f"{paths[0].stem}-report")
        return write_report(watch_page(paths[0]), watch_csv(paths[0]), folder or beside, images)
    here = folder or (paths[0] if len(paths) == 1 else Path())
    if len(paths) == 1 and (paths[0] / METRICS).is_file():
        figures = summary_csv({_name(paths[0]): load_result(paths[0])[1]})
        return write_report(run_page(paths[0]), figures, here, images)
    runs = [run for path in paths for run in runs_in(path)]
    figures = summary_csv({str(run.directory): run.evaluation for run in runs})
    if len(runs) == 1:
        return write_report(run_page(runs[0].directory), figures, here, images)
    title = _name(paths[0]) if len(paths) == 1 else f"{len(runs)} runs"
    finished = {str(run.manifest.arguments.get("config_hash")) for run in runs}
    missing = [one for path in paths for one in unfinished(path, finished)]
    return write_report(runs_page(runs, title, missing), figures, here, images)


def unfinished(folder: Path, finished: Collection[str]) -> list[tuple[str, str]]:
    """The runs below a folder that have no result, and why; those that were made again have one.

    Args:
        finished: the config hashes of the runs that have.
    """
    found = []
    for config in sorted(folder.rglob(CONFIG)):
        run = config.parent
        failure = _read(run / FAILED)
        arguments = _read(run / MANIFEST).get("arguments") or {}
        if not (run / METRICS).is_file() and not {failure.get("config_hash"), arguments.get("config_hash")} & {
            *finished
        }:
            lines = str(failure.get("error") or "it ended without a result").splitlines()
            found.append((str(run), lines[0]))
    return found


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, *JSON_ERRORS):
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    return {}


def _name(path: Path) -> str:
    return path.resolve().name


def write_report(page: Page, figures: str, folder: Path, images: Sequence[ImageFormat] = ()) -> Path:
    """Writes a page and its figures, which are CSV, into a folder; gives back the HTML file."""
    path = folder / HTML
    write_atomically(path, to_html(page).encode("utf-8", "replace"))
    write_atomically(folder / MARKDOWN, to_markdown(page).encode("utf-8", "replace"))
    if not (folder / STUDY_SUMMARY).is_file():
        write_atomically(folder / CSV, figures.encode("utf-8", "replace"))
    if images:
        write_images(page.plots, folder / IMAGES, images)
    return path
