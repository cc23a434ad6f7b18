"""Dataset folders for NeMo-Skills: settings that point to this package, and a `prepare.py` that calls it.

The folders under `dataset/` of the repository are what is written here, so that an installed package, which has no
such folder, can put the same into NeMo-Skills' data folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.evaluator.installation import own_benchmarks
from nemo_skills_specdec.files import write_atomically
from nemo_skills_specdec.prepare_data import main as prepare_set
from nemo_skills_specdec.prepare_data import say
from nemo_skills_specdec.prompts.catalog import ALIAS, base_name
from nemo_skills_specdec.prompts.prompt_set import SPEED_BENCH
from nemo_skills_specdec.prompts.sets.mini import load_mini

SHIPPED = (
    "speed-bench",
    "speed-bench-specdec",
    "spec-bench",
    "mini",
    "mt-bench-specdec",
    "gsm8k-specdec",
    "humaneval-specdec",
    "math-500-specdec",
    "mbpp-specdec",
    "speculator_benchmarks",
)
"""Folders of the repository, one for each prompt set that needs no more than its name.

A name with `-specdec` is the prompt set of the name before it: NeMo-Skills has, or had, a benchmark of that name which
measures something else.
"""

_SETTINGS = '''"""{name} for NeMo-Skills, measured by nemo_skills_specdec: settings only."""

from pathlib import Path

from nemo_skills_specdec.evaluator.folder_settings import evaluates_in_own_process, generation_args
from nemo_skills_specdec.evaluator.shipping import register_package

METRICS_TYPE = "nemo_skills_specdec.evaluator.metrics::SpecdecMetrics"
GENERATION_MODULE = "nemo_skills_specdec.evaluator.generation"
GENERATION_ARGS = generation_args(Path(__file__).parent)
EVAL_SPLIT = "{split}"
if evaluates_in_own_process():
    # NeMo-Skills before 2025-10-23 insists on these; later ones refuse them.
    EVAL_ARGS = "++eval_type=no-op ++remove_thinking=False"

register_package(Path(__file__).parent)
'''

_PREPARE = '''"""Prepares {name}; `--help` tells the options."""

import sys
from pathlib import Path

from nemo_skills_specdec.evaluator.dataset_folders import prepare_folder

if __name__ == "__main__":
    sys.exit(prepare_folder(Path(__file__).resolve().parent, sys.argv[1:]))
'''


def folder_files(name: str) -> dict[str, bytes]:
    """The files of a dataset folder, by name.

    Args:
        name: of the prompt set, or `<name>-specdec`, which is the same set under a name of its own.
    """
    split = "qualitative" if base_name(name) == "speed-bench" else "test"
    files = {
        "__init__.py": _SETTINGS.format(name=name, split=split).encode(),
        "prepare.py": _PREPARE.format(name=name).encode(),
    }
    if base_name(name) == "mini":
        files["test.jsonl"] = b"".join(msgspec.json.encode(row) + b"\n" for row in load_mini())
    return files


def free_name(name: str, tell: Callable[[str], None]) -> str:
    """The name of a dataset folder that NeMo-Skills does not take for a benchmark of its own.

    It would read our prompts from there, and print figures of another definition under the same headings.

    Args:
        tell: gets a line if the name is not the one asked for.
    """
    own = own_benchmarks()
    if name == SPEED_BENCH and not own:
        tell(
            f"{name}: NeMo-Skills has had a benchmark of this name since the end of February 2026, which measures "
            f"otherwise and would take these rows; prepare {name}{ALIAS} for ns eval"
        )
    if name not in own or base_name(f"{name}{ALIAS}") != name:
        return name
    tell(
        f"{name}: NeMo-Skills has a benchmark of this name, which measures otherwise; the rows go to the folder "
        f"{name}{ALIAS}, and ns eval --benchmarks={name}{ALIAS} measures with them"
    )
    return f"{name}{ALIAS}"


def write_dataset_folder(name: str, data_dir: Path) -> Path:
    """Writes `<data_dir>/<name>`, ready for `ns eval --data_dir=<data_dir> --benchmarks=<name>`.

    Files that are there already with the same content stay untouched. The rows are not written, except for `mini`,
    which comes with the package; `prompts.preparation.prepare` writes them into the same folder.

    Returns:
        The folder.

    Raises:
        UsageError: the name is no folder name, or the folder cannot be written.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise UsageError(f"{name!r} cannot be the name of a dataset folder; use letters, digits and hyphens")
    folder = data_dir / name
    for file, content in folder_files(name).items():
        path = folder / file
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
    return folder


def prepare_folder(folder: Path, argv: Sequence[str]) -> int:
    """What the `prepare.py` of a dataset folder does: the rows go into it, or into `<--data-dir>/<its name>`.

    Args:
        folder: the dataset folder; its name says which prompt set.
        argv: arguments; `--data-dir`, `--data_dir` and `--output_dir` all work, as upstream's documentation has them.

    Returns:
        Exit code: 0 fine, 1 the result is not fit for use, 2 wrong use or cannot run.
    """
    return prepare_set(
        base_name(folder.name),
        argv,
        default_folder=folder,
        folder_in=lambda data_dir: write_dataset_folder(free_name(folder.name, say), data_dir),
    )
