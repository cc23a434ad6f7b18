"""The files of a report: one HTML file, the same as Markdown, a CSV of the figures, and pictures on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.measurement.result import Evaluation
from nemo_skills_specdec.measurement.run import load_result
from nemo_skills_specdec.report.html import to_html
from nemo_skills_specdec.report.images import ImageFormat, write_images
from nemo_skills_specdec.report.markdown import to_markdown
from nemo_skills_specdec.report.page import Page
from nemo_skills_specdec.report.run_page import run_page
from nemo_skills_specdec.report.summary_table import summary_csv

HTML, MARKDOWN, CSV = "report.html", "report.md", "summary.csv"
IMAGES = "plots"


def report_on_run(run: Path, folder: Path | None = None, images: Sequence[ImageFormat] = ()) -> Path:
    """Writes the report on a run, by default into its own directory; gives back the HTML file.

    Raises:
        DataError: it is no finished run, or a file of it cannot be read.
        UsageError: pictures are asked for, and the package that draws them is not installed.
        WriteError: a file cannot be written.
    """
    return write_report(run_page(run), {run.resolve().name: load_result(run)[1]}, folder or run, images)


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
