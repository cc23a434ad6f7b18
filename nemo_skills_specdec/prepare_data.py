"""What a NeMo-Skills dataset folder calls to prepare its prompts.

Its `prepare.py` is `sys.exit(main("speed-bench", sys.argv[1:], default_folder=Path(__file__).parent))`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import typer

from nemo_skills_specdec.errors import SpecdecError
from nemo_skills_specdec.option_groups import spread
from nemo_skills_specdec.prompts.preparation import PrepareOptions, prepare
from nemo_skills_specdec.prompts.prepare_options import PrepareFlags
from nemo_skills_specdec.shown import plain


def main(
    name: str,
    argv: Sequence[str],
    default_folder: Path | None = None,
    folder_in: Callable[[Path], Path] | None = None,
) -> int:
    """Prepares a prompt set from command-line arguments, for dataset folders of NeMo-Skills.

    Args:
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
            results = prepare(PrepareOptions(**wanted), say)
        except SpecdecError as error:
            say(f"{name}: {error}")
            raise typer.Exit(2) from error
        if not all(result.ok for result in results):
            raise typer.Exit(1)

    app.command(help=f"Prepare {name}.")(command)
    mark = _mark_of_failure(name, argv)
    if mark is not None and mark.exists():
        say(f"{name}: not tried again, since the same preparation has just failed; see its message above")
        return 2
    try:
        app(args=list(argv), prog_name=f"{name}/prepare.py")
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 0
        if code and mark is not None:
            with contextlib.suppress(OSError):
                mark.touch()
        return code
    return 0


def _mark_of_failure(name: str, argv: Sequence[str]) -> Path | None:
    """A file that is there once this preparation has failed under the same caller; None if nobody calls again.

    `ns prepare_data` calls a script that fails up to three times more, with the same arguments and environment, so
    that the one message that matters drowns in repetitions. Its process is told by number and start time.
    """
    process = os.getppid()
    for _ in range(3):
        folder = Path("/proc") / str(process)
        try:
            command = (folder / "cmdline").read_bytes()
            # After the name in parentheses, which may hold spaces: state, parent, ..., start time in ticks.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        if b"nemo_skills.dataset.prepare" in command:
            told = f"{process} {fields[19]} {os.getuid()} {name} {list(argv)}"
            digest = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:24]
            return Path(tempfile.gettempdir()) / f"specdec-prepare-{digest}.failed"
        process = int(fields[1])
    return None


def say(line: str) -> None:
    """Tells the user something, beside what is asked for."""
    print(plain(line), file=sys.stderr)
