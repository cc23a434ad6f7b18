"""Prepared prompts in the shapes that other tools read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.files import atomic_file
from nemo_skills_specdec.prompts.needs_pyarrow import check_pyarrow
from nemo_skills_specdec.prompts.prepared.folder import prepared_file, prepared_names
from nemo_skills_specdec.prompts.prepared.kinds import EXPORT_KINDS, FIXED_NAMES, WITH_ROLES, ExportKind
from nemo_skills_specdec.prompts.prepared.manifest import PLACEHOLDER_MARK, protect
from nemo_skills_specdec.prompts.prepared.rows import json_line, row_shape, stored_rows, user_turns
from nemo_skills_specdec.prompts.prompt_set import text_id
from nemo_skills_specdec.prompts.speed_bench.schema import CONFIGS
from nemo_skills_specdec.records import PromptRow, turn_ends

_BATCH = 64


def export(source: Path, kind: str, out: Path, names: list[str] | None = None) -> list[Path]:
    """Writes prepared files in another tool's shape.

    * `vllm`, `aiperf`: `<config>.jsonl` with `messages`, as prepared; sets other than SPEED-Bench as
      `qualitative.jsonl`, since those tools know its names only.
    * `sglang`: `<config>.jsonl` with a list `turns`.
    * `specdec_bench`: `speed/<config>/test.parquet` with a list `turns`.
    * `speculators`: `<config>_<category>.jsonl`, for throughput configs `<config>_<category>__<sub_category>.jsonl`,
      with the first turn as the text `turns`; that tool sends no second turn.
    * `gym`: `speed_bench_<config>_benchmark.jsonl`.
    * `prompts`: `<config>.jsonl` with `id`, `category`, `prompt`, and `turns` where there are several, or `messages`
      where others than the user speak.

    Args:
        kind: one of `EXPORT_KINDS`.
        names: of the prepared files to take; None takes all.

    Returns:
        The files written.

    Raises:
        UsageError: no such kind, nothing prepared, two files would get one name, or the output would overwrite the
            source.
        DataError: a row still holds a placeholder, or messages that the format cannot hold.
    """
    if kind not in EXPORT_KINDS:
        raise UsageError(f"cannot export to {kind!r}; choose one of: {', '.join(EXPORT_KINDS)}")
    if out.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise UsageError(f"{out} holds the prepared data itself; give another folder with --output-dir")
    chosen = names or prepared_names(source)
    if not chosen:
        raise UsageError(f"{source} holds no prepared file; prepare one with: ns-specdec prepare")
    known: ExportKind = kind
    named = {exported_name(name, known): name for name in chosen}
    if len(named) < len(chosen):
        raise UsageError(f"{kind} knows SPEED-Bench's file names only, so one other file fits; name it with --config")
    protect(out)
    return [path for new, name in named.items() for path in _export_file(prepared_file(source, name), new, known, out)]


def exported_name(name: str, kind: ExportKind) -> str:
    """The name that a prepared file gets, without its suffix."""
    return "qualitative" if kind in FIXED_NAMES and name not in CONFIGS else name


def _export_file(path: Path, name: str, kind: ExportKind, out: Path) -> list[Path]:
    rows = _complete_rows(path, kind)
    if kind == "specdec_bench":
        return [_as_parquet(rows, out / "speed" / name / "test.parquet")]
    if kind == "speculators":
        return _by_category(rows, name, out)
    file_name, shape = _LINES[kind]
    target = out / file_name.format(name=name)
    with atomic_file(target) as file:
        for row in rows:
            file.write(json_line(shape(row, name), f"row {row.question_id}"))
    return [target]


def _complete_rows(path: Path, kind: ExportKind) -> Iterator[PromptRow]:
    for row in stored_rows(path):
        if any(PLACEHOLDER_MARK in message.content for message in row.messages):
            raise DataError(f"{path}: row {row.question_id} holds a placeholder; prepare the data again")
        if others := [message.role for message in row.messages if message.role != "user"]:
            if kind not in WITH_ROLES:
                raise DataError(
                    f"{path}: row {row.question_id} has a message of the {others[0]}, which {kind}'s format cannot "
                    f"hold; choose one of: {', '.join(sorted(WITH_ROLES))}"
                )
        elif kind != "prompts" and any(message.token_ids for message in row.messages):
            raise DataError(f"{path}: row {row.question_id} holds token ids; only the format prompts can")
        yield row


def _as_prepared(row: PromptRow, name: str) -> dict[str, object]:
    return row_shape(row)


def _for_aiperf(row: PromptRow, name: str) -> dict[str, object]:
    # aiperf insists on ids as long as SPEED-Bench's.
    identity = row.question_id if len(row.question_id) == 32 else text_id(row.question_id)
    return {**row_shape(row), "question_id": identity}


def _with_turns(row: PromptRow, name: str = "") -> dict[str, object]:
    shape = row_shape(row)
    del shape["messages"]
    return {**shape, "turns": user_turns(row)}


def _for_gym(row: PromptRow, name: str) -> dict[str, object]:
    return {
        "responses_create_params": {"input": msgspec.to_builtins(row.messages)},
        "verifier_metadata": {
            "src_id": row.src_id,
            "source": row.source,
            "speed_config": name,
            "num_turns": len(turn_ends(row.messages)),
            "sub_category": row.sub_category,
        },
    }


def _as_prompts(row: PromptRow, name: str) -> dict[str, object]:
    shape: dict[str, object] = {"id": row.question_id, "category": row.category}
    if any(message.role != "user" for message in row.messages):
        return {**shape, "messages": msgspec.to_builtins(row.messages)}
    turns: list[Any] = [list(m.token_ids) or m.content for m in row.messages]
    shape["prompt"] = turns[0]
    return {**shape, "turns": turns} if len(turns) > 1 else shape


_LINES: dict[str, tuple[str, Callable[[PromptRow, str], dict[str, object]]]] = {
    "vllm": ("{name}.jsonl", _as_prepared),
    "aiperf": ("{name}.jsonl", _for_aiperf),
    "sglang": ("{name}.jsonl", _with_turns),
    "gym": ("speed_bench_{name}_benchmark.jsonl", _for_gym),
    "prompts": ("{name}.jsonl", _as_prompts),
}


def _as_parquet(rows: Iterator[PromptRow], target: Path) -> Path:
    check_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    schema = pa.schema(
        {
            "question_id": text,
            "category": text,
            "sub_category": text,
            "turns": pa.list_(text),
            "source": text,
            "src_id": text,
            "difficulty": text,
            "multiturn": pa.bool_(),
        }
    )
    with atomic_file(target) as file, pq.ParquetWriter(file, schema) as writer:
        while batch := [_with_turns(row) for row in islice(rows, _BATCH)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    return target


def _by_category(rows: Iterator[PromptRow], name: str, out: Path) -> list[Path]:
    """One file for each category, in throughput configs for each category and sub-category."""
    parts: dict[str, list[str]] = {}
    for row in rows:
        key = _slug(row.category)
        if name.startswith("throughput_"):
            key += f"__{_slug(row.sub_category or 'unknown')}"
        parts.setdefault(key, []).append(user_turns(row)[0])
    written = []
    for key, texts in sorted(parts.items()):
        target = out / f"{name}_{key}.jsonl"
        with atomic_file(target) as file:
            for text in texts:
                file.write(json_line({"turns": text}, target.name))
        written.append(target)
    return written


def _slug(text: str) -> str:
    return text.replace(" ", "_").replace("/", "_")
