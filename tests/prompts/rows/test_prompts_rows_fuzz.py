"""Whatever bytes a file holds: rows that can be sent, or an error of the project's own."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.client.body import body_writer, encode_turns, turn_body
from nemo_skills_specdec.client.exchange import RequestOptions
from nemo_skills_specdec.errors import SpecdecError
from nemo_skills_specdec.prompts.rows import SUFFIXES, read_rows
from nemo_skills_specdec.prompts.rows.shapes import CONVERSATION_KEYS, TEXT_KEYS, TOKEN_KEYS

KEYS = [*CONVERSATION_KEYS, *TEXT_KEYS, *TOKEN_KEYS, "system", "id", "category", "body", "custom_id", "role", "from"]
KEYS += ["value", "type", "tool_calls", "responses_create_params", "context"]
WORDS = st.sampled_from(
    ["user", "assistant", "human", "gpt", "tool", "text", "system", "", " ", "x", "\ud83d", "\u2028"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)


def read(name: str, content: bytes) -> None:
    """Reads a file; its prompts must be fit to be sent."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            rows = read_rows(path).rows
        except SpecdecError:
            return
    assert len({row.question_id for row in rows}) == len(rows)
    for row in rows:
        ids = any(message.token_ids for message in row.messages)
        writer = body_writer(RequestOptions(model="m", api="completions" if ids else "chat"))
        json.loads(turn_body(writer, encode_turns(writer, row), ()))


@settings(max_examples=300)
@given(st.lists(RECORDS | VALUES, max_size=3), st.sampled_from(["lines", "array", "gzip", "utf-16"]))
def test_no_record_breaks_the_reader(records: list[Any], form: str) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in records)
    if form == "array":
        read("p.json", json.dumps(records).encode())
    elif form == "gzip":
        read("p.jsonl.gz", gzip.compress(lines.encode()))
    else:
        read("p.jsonl", lines.encode("utf-16" if form == "utf-16" else "utf-8"))


@settings(max_examples=300)
@given(st.binary(max_size=60), st.sampled_from([*SUFFIXES, ".jsonl.gz", ".jsonl.zst", ".csv.gz", ".bin"]))
def test_no_bytes_break_the_reader(content: bytes, suffix: str) -> None:
    read(f"p{suffix}", content)


@settings(max_examples=200)
@given(
    st.text(max_size=60),
    st.sampled_from([".csv", ".tsv", ".txt", ".json", ".jsonl"]),
    st.sampled_from(["", "prompt\n", "id,prompt\n", "[", '{"prompt":']),
)
def test_no_text_breaks_the_reader(text: str, suffix: str, start: str) -> None:
    read(f"p{suffix}", (start + text).encode("utf-8", "surrogatepass"))
