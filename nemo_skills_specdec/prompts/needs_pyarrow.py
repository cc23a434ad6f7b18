"""pyarrow, which reads and writes Parquet files: half of an installation, and needed for little else."""

from __future__ import annotations

from nemo_skills_specdec.errors import UsageError


def check_pyarrow() -> None:
    """Makes sure that Parquet files can be read and written.

    Raises:
        UsageError: pyarrow is not installed; says how to install it.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "Parquet files need pyarrow; install it with: pip install 'nemo-skills-specdec[prepare]'"
        ) from error
