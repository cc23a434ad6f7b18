"""What of this package goes into NeMo-Skills' jobs, and what a job needs beside it.

NeMo-Skills takes registered folders along to containers, at `/nemo_run/code`: of a git repository all committed files
and every `*.jsonl` below its root, of any other folder everything. Which of the two a folder is, it finds out by asking
git, so that a package in the `.venv` of a git project would be left out and that project taken along in its place.

Only the standard library is used here: a job has to say what it lacks before it imports anything that may be missing.
"""

from __future__ import annotations

import atexit
import importlib.util
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

PACKAGE = Path(__file__).parents[1]
JOB_FOLDER = Path("/nemo_run/code")
"""Where a job in a container finds the code that NeMo-Skills took along."""

REQUIREMENTS = {
    "msgspec": "msgspec>=0.19",
    "requests": "requests>=2.31",
    "rich": "rich>=13.7",
    "typer": "typer>=0.13",
}
"""What our part of a job imports, module to requirement; NeMo-Skills' images have most of it."""


_DATASETS = "nemo_skills_specdec_datasets"


class Shipment(NamedTuple):
    """What is taken along.

    Attributes:
        form: `checkout`: a git repository that has the package at its root, as it was committed last; `package`: the
            folder of the installed package; `copy`: a copy of that, since it lies inside somebody else's repository.
        folder: what is registered; of a copy, what is copied.
    """

    form: Literal["checkout", "package", "copy"]
    folder: Path


def git_root(folder: Path) -> Path | None:
    """The root of the git repository around a folder, as NeMo-Skills finds it; None without one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def shipment(package: Path = PACKAGE) -> Shipment:
    """What has to be registered so that a job can import the package."""
    root = git_root(package)
    if root is None:
        return Shipment("package", package)
    if root.resolve() == package.parent.resolve() and _is_committed(package):
        return Shipment("checkout", root)
    return Shipment("copy", package)


def has_uncommitted_changes(root: Path) -> bool:
    """Whether tracked files of a repository differ from its last commit."""
    words = ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"]
    return bool(subprocess.run(words, capture_output=True, check=False).stdout.strip())


def register_package(dataset_folder: Path | None = None) -> None:
    """Has NeMo-Skills take this package along to containers; does nothing where there is no NeMo-Skills that could.

    Args:
        dataset_folder: the folder whose settings are being read. If it is committed to a repository, as those are that
            a benchmark map leads to, NeMo-Skills wants that repository to be registered.
    """
    try:
        from nemo_skills.pipeline.utils import packager
    except ImportError:
        return
    known = packager.EXTERNAL_REPOS
    root = git_root(dataset_folder) if dataset_folder is not None and _is_committed(dataset_folder) else None
    if "nemo_skills_specdec" not in known:
        form, folder = shipment()
        if form == "package" and root is not None and _is_committed(root / PACKAGE.name):
            # The code beside the folders is what a job would import first.
            form, folder = "checkout", root
        _register(packager, "nemo_skills_specdec", _copied(folder) if form == "copy" else folder)
    registered = [git_root(item.path) for name, item in known.items() if name != "nemo_skills"]
    if root is not None and root not in registered and _DATASETS not in known:
        _register(packager, _DATASETS, root)


def missing_requirements() -> list[str]:
    """Requirements of a job's part of this package that cannot be imported here."""
    return [wanted for module, wanted in REQUIREMENTS.items() if importlib.util.find_spec(module) is None]


def installation(requirements: Iterable[str]) -> str:
    """The option of `ns` that installs these before a job."""
    return f'--installation_command="{shlex.join(["pip", "install", *requirements])}"'


def complete_job() -> None:
    """Installs what the image of a job lacks, for this process only; does nothing anywhere else.

    Raises:
        SystemExit: it cannot be installed, as on a node without a network; says what to add to the command.
    """
    if JOB_FOLDER not in PACKAGE.parents or not (missing := missing_requirements()):
        return
    folder = tempfile.mkdtemp(prefix="nemo-skills-specdec-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", folder, *missing],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(
            f"nemo_skills_specdec: this image lacks {', '.join(missing)}, and pip cannot install it here; add "
            f"{installation(missing)} to the command, or use an image that has it",
            file=sys.stderr,
        )
        sys.exit(2)
    # Last, so that whatever the image has comes first.
    sys.path.append(folder)
    importlib.invalidate_caches()


def _is_committed(package: Path) -> bool:
    words = ["git", "-C", str(package.parent), "ls-files", "--error-unmatch", f"{package.name}/__init__.py"]
    return package.is_dir() and subprocess.run(words, capture_output=True, check=False).returncode == 0


def _copied(package: Path) -> Path:
    holder = Path(tempfile.mkdtemp(prefix="nemo-skills-specdec-"))
    atexit.register(shutil.rmtree, holder, ignore_errors=True)
    return Path(shutil.copytree(package, holder / package.name, ignore=shutil.ignore_patterns("__pycache__")))


def _register(packager: Any, name: str, folder: Path) -> None:
    packager.register_external_repo(packager.RepoMetadata(name=name, path=folder))
