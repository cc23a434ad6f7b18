"""Settings for every test; the first must be made before numpy is loaded."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Matrices as small as the embedded engine's are slower on several threads. The libraries read this when first loaded.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# A shell that starts a job in the background without job control lets it, and every child of it, ignore interrupts.
if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a machine that others use.
settings.register_profile("specdec", deadline=None)
settings.load_profile("specdec")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Registers the option that makes the fault matrix."""
    parser.addoption("--fault-matrix", type=Path, help="write the fault matrix into this page, and run nothing")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Writes the fault matrix from the marks of the tests that prove it."""
    page = config.getoption("--fault-matrix")
    if page is not None:
        from reliability.faults import rows_of, table_of, with_table

        page.write_text(with_table(page.read_text(), table_of(rows_of(items))))
        items.clear()
