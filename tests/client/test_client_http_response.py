import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_skills_specdec.client.http_response import FramingError, HttpResponse

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def read(*pieces: bytes, limit: int = 1 << 20) -> tuple[bool, HttpResponse]:
    """Feeds the pieces, a second apart; whether the last one, and no other, completed the response."""
    response = HttpResponse(limit)
    whole = [response.feed(piece, float(at)) for at, piece in enumerate(pieces)]
    assert not any(whole[:-1])
    return whole[-1], response


def chunked(*bodies: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    framed = (b"%x%b\r\n%b\r\n" % (len(body), extension, body) for body in bodies)
    return b"".join(framed) + b"0\r\n" + trailer + b"\r\n"


@pytest.mark.parametrize(
    "stream",
    [
        HEAD + chunked(b"abc", b"de"),
        HEAD + chunked(b"abc", b"de", extension=b"; name=value"),
        HEAD + chunked(b"abc", b"de", trailer=b"X-Checksum: 1\r\nX-More: 2\r\n"),
        HEAD + chunked(b"abc", b"de").replace(b"3\r\n", b"0003\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + chunked(b"abc", b"de"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\ncontent-length:5\n\nabcde",
    ],
)
def test_a_response_is_complete_with_its_last_byte_wherever_it_was_cut(stream):
    for cut in range(1, len(stream)):
        whole, response = read(stream[:cut], stream[cut:])
        assert whole, cut
        assert (response.status, b"".join(response.pieces)) == (200, b"abcde")
    whole, _ = read(*(stream[i : i + 1] for i in range(len(stream))))
    assert whole


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.sampled_from([b"", b"A: 0\r\n"]),
)
def test_chunks_may_hold_anything_and_be_cut_anywhere(bodies, cuts, trailer):
    stream = HEAD + chunked(*bodies, trailer=trailer)
    ends = sorted({cut % len(stream) for cut in cuts} - {0})
    pieces = [stream[a:b] for a, b in zip([0, *ends], [*ends, len(stream)], strict=True)]
    whole, response = read(*pieces)
    assert whole
    assert b"".join(response.pieces) == b"".join(bodies)
    assert response.times == sorted(response.times)


def test_what_looks_like_the_end_inside_a_chunk_is_not_the_end():
    body = b"a\r\n0\r\n\r\n"
    whole, response = read(HEAD, b"%x\r\n%b\r\n" % (len(body), body))
    assert (whole, response.pieces) == (False, [body])


def test_every_piece_has_the_time_at_which_it_arrived():
    _, response = read(HEAD + b"6\r\nab", b"cd", b"ef\r\n1\r\ng\r\n")
    assert (response.pieces, response.times) == ([b"ab", b"cd", b"ef", b"g"], [0.0, 1.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: Close\r\n", True),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n", True),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\nConnection: keep-alive\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n", False),
    ],
)
def test_a_head_says_whether_the_connection_goes_on(head, closes):
    whole, response = read(head + b"\r\n")
    assert (whole, response.closes) == (True, closes)


def test_without_a_length_the_body_ends_with_the_connection():
    whole, response = read(b"HTTP/1.1 200 OK\r\n\r\nab", b"c")
    assert (whole, response.closes) == (False, True)
    assert response.end()
    assert b"".join(response.pieces) == b"abc"


def test_a_connection_that_ends_inside_a_body_leaves_it_incomplete():
    assert not read(HEAD + b"3\r\nab")[1].end()
    assert not read(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")[1].end()


def test_bytes_after_a_response_make_its_connection_useless():
    _, response = read(HEAD + chunked(b"a") + b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert response.closes


@pytest.mark.parametrize(
    "stream",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        HEAD + b"xyz\r\n",
        HEAD + b"-3\r\nabc\r\n",
        HEAD + b"0x3\r\nabcd\r\n",
        HEAD + b"3\r\nabcdef\r\n",
        HEAD + b"f" * 20 + b"\r\n",
        HEAD + b"1" * 70_000,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    ],
)
def test_what_is_not_http_is_refused(stream):
    with pytest.raises(FramingError):
        read(stream)


def test_a_body_longer_than_allowed_is_refused():
    with pytest.raises(FramingError, match="longer than 100 bytes"):
        read(HEAD[:50], HEAD[50:] + b"ff\r\n" + b"x" * 255, b"\r\n1\r\n", limit=100)


def test_pieces_that_were_read_elsewhere_count():
    _, response = read(HEAD, limit=150)
    assert response.at_chunk
    response.pieces += [b"x" * 60, b"y" * 60]
    response.times += [1.0, 2.0]
    with pytest.raises(FramingError):
        response.count()


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(noise):
    for begin in (b"", HEAD, b"HTTP/1.1 200 OK\r\n"):
        response = HttpResponse(1 << 16)
        try:
            response.feed(begin + noise, 0.0)
        except FramingError:
            continue
        response.end()


@pytest.mark.parametrize("size", [b" 5", b"5;x=y", b"5 ", b"05"])
def test_sizes_among_several_chunks_read_at_once_may_have_all_that_http_allows(size):
    whole, response = read(HEAD + b"5\r\nfirst\r\n" + size + b"\r\nabcde\r\n0\r\n\r\n")
    assert whole
    assert response.pieces == [b"first", b"abcde"]
    assert response.times == [0.0, 0.0]


@pytest.mark.parametrize("size", [b"0x5", b"+5", b"5_0", b"", b"-5"])
def test_sizes_among_several_chunks_read_at_once_are_read_strictly(size):
    with pytest.raises(FramingError, match="no size of a chunk"):
        read(HEAD + b"5\r\nfirst\r\n" + size + b"\r\nabcde\r\n0\r\n\r\n")
