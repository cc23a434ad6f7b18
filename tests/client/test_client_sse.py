import re

import pytest
from client_server import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_skills_specdec.client.sse import last_events, split_events


def payloads(*pieces: bytes) -> list[bytes]:
    found, rest = [], b""
    for piece in pieces:
        more, rest = split_events(rest + piece)
        found += more
    return found


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r\n", [b"a", b"b"]),
        (b": ping\n\ndata: a\n\n", [b"a"]),
        (b": ping\ndata: a\n\n", [b"a"]),
        (b"event: x\nid: 1\ndata: a\nretry: 5\n\n", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\ndata\ndata: b\n\n", [b"a\n\nb"]),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: \n\ndata:\n\ndata\n\n", []),
        (b"dataset: a\n\n", []),
        (b"data: a", []),
        (b"data: a\n", []),
        (b"", []),
    ],
)
def test_events_become_payloads(stream, expected):
    assert payloads(stream) == expected


def test_what_is_left_when_a_stream_ends_is_still_read():
    assert last_events(b"data: [DONE]") == [b"[DONE]"]
    assert last_events(b"data: [DONE]\r\n") == [b"[DONE]"]
    assert last_events(b"") == []


def by_the_standard(stream: bytes) -> list[bytes]:
    """Line by line, as the HTML standard words it, except that events without data are left out."""
    found, data = [], []
    for line in re.split(rb"\r\n|\n|\r", stream)[:-1]:
        if not line:
            if event := b"\n".join(data):
                found.append(event)
            data = []
        elif line == b"data" or line.startswith(b"data:"):
            value = line[5:]
            data.append(value[1:] if value.startswith(b" ") else value)
    return found


LINES = st.sampled_from(
    [
        b"data: {}",
        b"data: a",
        b"data:b",
        b"data",
        b"data: ",
        b": c",
        b"event: e",
        b"",
        b"",
        b"id: 1",
        b"\xc3\xa4",
        b"data:  x:y",
    ]
)
STREAMS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])), max_size=30).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


@settings(deadline=None)
@given(STREAMS, st.data())
def test_payloads_do_not_depend_on_where_the_stream_is_cut(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    # A final CR is kept back, so the stream is closed with a LF in both readings.
    assert payloads(*pieces, b"\n") == by_the_standard(stream + b"\n")


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_framed_as_the_standard_says(stream):
    stream = stream.replace(b"\xef\xbb\xbf", b"")
    assert payloads(stream + b"\n") == by_the_standard(stream + b"\n")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 4096])
def test_a_recorded_stream_is_framed_alike_in_pieces_of_any_size(size):
    stream = (DATA / "vllm_chat_stream.sse").read_bytes()
    found = payloads(*(stream[i : i + size] for i in range(0, len(stream), size)))
    assert found == [line[6:] for line in stream.split(b"\n") if line]
    assert len(found) == 54
    assert found[-1] == b"[DONE]"
