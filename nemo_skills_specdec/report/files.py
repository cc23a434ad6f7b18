"""The files of a report: one HTML file, the same as Markdown, a CSV of the figures, and pictures on request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nemo_skills_specdec.compare.repeats import runs_in
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.measurement.run import load_result
from nemo_skills_specdec.measurement.run_directory import METRICS
from nemo_skills_specdec.report.html import to_html
from nemo_skills_specdec.report.images import ImageFormat, write_images
from nemo_skills_specdec.report.markdown import to_markdown
from nemo_skills_specdec.report.page import Page
from nemo_skills_specdec.report.run_page import run_page
from nemo_skills_specdec.report.runs_page import runs_page
from nemo_skills_specdec.report.summary_table import summary_csv
from nemo_skills_specdec.report.watch_page import watch_csv, watch_page

HTML, MARKDOWN, CSV = "report.html", "report.md", "summary.csv"
IMAGES = "plots"
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
    return write_report(runs_page(runs, title), figures, here, images)


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
