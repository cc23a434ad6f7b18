"""`ns-specdec verify`: is a prepared folder whole, and the same as another?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nemo_skills_specdec.cli._streams import write_line


def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A prepared folder or file.")],
    against: Annotated[
        Path | None, typer.Option(help="Another prepared folder or file, to compare row by row.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Fetch no tokenizer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Check prepared prompts: counts, ids, placeholders, hashes, tokens. Exits 1 if they are not fit for use.

    With --against, also exits 1 if the two differ.
    """
    import msgspec

    from nemo_skills_specdec.plural import number_of, rows_and_turns
    from nemo_skills_specdec.prompts.checking import verify_folder
    from nemo_skills_specdec.prompts.prepared.compare import compare_folders

    results = verify_folder(path, offline=offline)
    comparisons = compare_folders(path, against) if against is not None else []
    if as_json:
        value = {
            "ok": all(result.ok for result in results) and all(one.same for one in comparisons),
            "files": results,
            "comparisons": comparisons,
        }
        write_line(msgspec.json.encode(value).decode())
    else:
        for result in results:
            turns = f"{rows_and_turns(result.num_rows, result.num_turns)}, {result.num_multiturn_rows} multi-turn"
            tokens = f", {result.tokens[0]} to {result.tokens[1]} tokens" if result.tokens else ""
            write_line(f"{result.name}: {'ok' if result.ok else 'NOT OK'}: {turns}{tokens}")
            write_line(f"  fingerprint {result.fingerprint}")
            for remark in result.findings:
                write_line(f"  {remark.severity}: {remark.message}")
        for one in comparisons:
            order = "" if one.same_order else ", in another order"
            write_line(
                f"{one.name}: {'same' if one.same else 'DIFFERENT'}: "
                f"{number_of(len(one.differing), 'row', 'differ')}, "
                f"{len(one.missing)} only there, {len(one.added)} only here{order}"
            )
            for example in one.examples:
                where = f" turn {example.turn} at {example.position}" if example.turn is not None else ""
                write_line(f"  {example.question_id} {example.field}{where}: {example.ours!r} / {example.theirs!r}")
    if not all(result.ok for result in results) or not all(one.same for one in comparisons):
        raise typer.Exit(1)
