"""The files of a report: one HTML file, the same as Markdown, a CSV of the figures, and pictures on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nemo_skills_specdec.compare.repeats import runs_in
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.measurement.result import Evaluation
from nemo_skills_specdec.measurement.run import load_result
from nemo_skills_specdec.measurement.run_directory import METRICS
from nemo_skills_specdec.report.html import to_html
from nemo_skills_specdec.report.images import ImageFormat, write_images
from nemo_skills_specdec.report.markdown import to_markdown
from nemo_skills_specdec.report.page import Page
from nemo_skills_specdec.report.run_page import run_page
from nemo_skills_specdec.report.runs_page import runs_page
from nemo_skills_specdec.report.summary_table import summary_csv

HTML, MARKDOWN, CSV = "report.html", "report.md", "summary.csv"
IMAGES = "plots"


def report_on(paths: Sequence[Path], folder: Path | None = None, images: Sequence[ImageFormat] = ()) -> Path:
    """Writes the report on one run, on the runs of a study, or on several of either; gives back the HTML file.

    Args:
        folder: for the files; by default the run or study itself, or the current folder for several.

    Raises:
        DataError: a path is neither a finished run nor holds one, or a file cannot be read.
        UsageError: pictures are asked for, and the package that draws them is not installed.
        WriteError: a file cannot be written.
    """
    here = folder or (paths[0] if len(paths) == 1 else Path())
    if len(paths) == 1 and (paths[0] / METRICS).is_file():
        page, evaluations = run_page(paths[0]), {_name(paths[0]): load_result(paths[0])[1]}
        return write_report(page, evaluations, here, images)
    runs = [run for path in paths for run in runs_in(path)]
    evaluations = {str(run.directory): run.evaluation for run in runs}
    if len(runs) == 1:
        return write_report(run_page(runs[0].directory), evaluations, here, images)
    title = _name(paths[0]) if len(paths) == 1 else f"{len(runs)} runs"
    return write_report(runs_page(runs, title), evaluations, here, images)


def _name(path: Path) -> str:
    return path.resolve().name


def write_report(
    page: Page, evaluations: Mapping[str, Evaluation], folder: Path, images: Sequence[ImageFormat] = ()
) -> Path:
    """Writes a page and the figures of its runs into a folder; gives back the HTML file."""
    path = folder / HTML
    write_atomically(path, to_html(page).encode("utf-8", "replace"))
    write_atomically(folder / MARKDOWN, to_markdown(page).encode("utf-8", "replace"))
    write_atomically(folder / CSV, summary_csv(evaluations).encode("utf-8", "replace"))
    if images:
        write_images(page.plots, folder / IMAGES, images)
    return path
