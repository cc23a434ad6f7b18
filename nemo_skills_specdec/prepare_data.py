"""What a NeMo-Skills dataset folder calls to prepare its prompts.

Its `prepare.py` is `sys.exit(main("speed-bench", sys.argv[1:], default_folder=Path(__file__).parent))`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import typer

from nemo_skills_specdec.errors import SpecdecError
from nemo_skills_specdec.option_groups import spread
from nemo_skills_specdec.prompts.preparation import PrepareOptions, prepare
from nemo_skills_specdec.prompts.prepare_options import PrepareFlags


def main(
    name: str,
    argv: Sequence[str],
    default_folder: Path | None = None,
    folder_in: Callable[[Path], Path] | None = None,
) -> int:
    """Prepares a prompt set from command-line arguments, for dataset folders of NeMo-Skills.

    Args:
        name: of the prompt set.
        argv: arguments, as upstream's script takes them and more; see `--help`.
        default_folder: where files go unless the arguments say otherwise.
        folder_in: makes the folder for the files in the data folder that the arguments name.

    Returns:
        Exit code: 0 fine, 1 the result is not fit for use, 2 wrong use or cannot run.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @spread
    def command(flags: PrepareFlags) -> None:
        folder = flags.output_dir or (default_folder if flags.data_dir is None else None)
        try:
            if folder is None and flags.data_dir is not None and folder_in is not None:
                folder = folder_in(flags.data_dir)
            wanted = {**msgspec.structs.asdict(flags), "name": name, "output_dir": folder}
            results = prepare(PrepareOptions(**wanted), _say)
        except SpecdecError as error:
            _say(f"{name}: {error}")
            raise typer.Exit(2) from error
        if not all(result.ok for result in results):
            raise typer.Exit(1)

    app.command(help=f"Prepare {name}.")(command)
    try:
        app(args=list(argv), prog_name=f"{name}/prepare.py")
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 0
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)
