"""The command line, `ns-specdec`. One file a command, loaded when it is called; each imports what it needs then."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from nemo_skills_specdec import __version__

if TYPE_CHECKING:
    from nemo_skills_specdec.cli._app import app

__all__ = ["app", "main"]


def main() -> None:
    """Runs the command line: one line on stderr and exit code 2 for what the user can mend, 130 after Ctrl-C."""
    from nemo_skills_specdec.cli._streams import forgiving_streams, write_line

    with forgiving_streams():
        if sys.argv[1:] == ["--version"]:
            # Asked by scripts, often; needs none of what a command needs.
            write_line(__version__)
            return
        from nemo_skills_specdec.cli._app import app
        from nemo_skills_specdec.errors import SpecdecError
        from nemo_skills_specdec.redaction import redacted

        try:
            app()
        except SpecdecError as error:
            write_line(f"ns-specdec: {redacted(str(error)).removesuffix('.')}", stderr=True)
            sys.exit(2)
        except KeyboardInterrupt:
            write_line("ns-specdec: interrupted", stderr=True)
            sys.exit(130)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nemo_skills_specdec.cli._app import app

    return app
