import pytest

from nemo_skills_specdec.client.faults import (
    body_fault,
    decode_object,
    one_line,
    server_message,
    status_fault,
    stream_fault,
)
from nemo_skills_specdec.redaction import secrets_of
from nemo_skills_specdec.retry_after import retry_after

TEXT = b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}'
END = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
USAGE = b'{"choices":[],"usage":{"completion_tokens":1}}'


def test_a_complete_stream_has_no_fault():
    assert stream_fault([TEXT, END, USAGE], True) is None


def test_a_finish_reason_makes_a_stream_complete_even_without_done():
    assert stream_fault([TEXT, END], False) is None


def test_a_finish_reason_in_the_only_chunk_counts():
    assert stream_fault([b'{"choices":[{"index":0,"text":"a","finish_reason":"length"}]}'], True) is None


@pytest.mark.parametrize(
    ("frames", "done", "says"),
    [
        ([], True, "the stream ended without an answer"),
        ([TEXT, TEXT], True, "the stream was cut off after 2 chunks (no finish_reason)"),
        ([TEXT], False, "the stream was cut off after 1 chunks (no finish_reason and no [DONE])"),
        ([TEXT, b"oops", END], True, "chunk 1 of the stream is not JSON"),
        ([TEXT, b'{"choices":}'], True, "a chunk of the stream is not JSON"),
        (
            [TEXT, b'{"error":{"message":"out of memory","code":500}}'],
            True,
            "the server reported an error: out of memory",
        ),
        ([b'{"object":"error","message":"too long"}'], True, "the server reported an error: too long"),
        ([b'{"choices":[{"index":0,"finish_reason":"abort"}]}'], True, "the server aborted the request"),
    ],
)
def test_a_stream_that_is_no_answer_says_why(frames, done, says):
    assert says in (stream_fault(frames, done) or "")


def test_generated_text_that_speaks_of_errors_is_no_error():
    said = b'{"choices":[{"index":0,"delta":{"content":"\\"error\\": 1"},"finish_reason":"stop"}],"error":null}'
    assert stream_fault([said], True) is None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>hello</html>", "the answer is not a JSON object"),
        (b"", "the answer is not a JSON object"),
        (b"[1]", "the answer is not a JSON object (it is a list)"),
        (b'{"error":"busy"}', "the server reported an error: busy"),
        (b'{"choices":[]}', "the answer has no choices"),
    ],
)
def test_a_body_that_is_no_answer_says_why(body, says):
    assert says in (body_fault(body) or "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"no such model","type":"NotFound"}}', "no such model"),
        (b'{"object":"error","message":"too long","code":400}', "too long"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "field required"),
        (b'{"error":"busy"}', "busy"),
        (b'{"code":7}', '{"code": 7}'),
        (b"<html><head><style>p{}</style></head><h1>502 Bad\nGateway</h1></html>", "502 Bad Gateway"),
        (b"plain text", "plain text"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"", "no message"),
        (b"{}", "no message"),
    ],
)
def test_a_servers_message_is_found_in_any_of_the_usual_shapes(body, message):
    assert server_message(body) == message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3), (" 2.5 ", 2.5), ("soon", None), ("Wed, 21 Oct", None), ("-1", None), (None, None)],
)
def test_a_wait_that_a_server_asks_for_is_read_in_seconds(value, seconds):
    assert retry_after(value) == seconds


def test_a_redirect_is_not_followed_but_named():
    assert status_fault(307, b"", "http://other/v1") == (
        "HTTP 307: the server redirects to http://other/v1; give that address as the URL"
    )


def test_a_message_is_one_line_of_at_most_300_characters():
    assert one_line("a\r\n\tb\u2028c\x00d") == "a b c d"
    assert one_line("x" * 301) == "x" * 297 + "..."
    assert one_line("x" * 300) == "x" * 300


@pytest.mark.parametrize(
    "said",
    [
        "Incorrect API key: my-secret-key-1",
        "Bearer my-secret-key-1 is wrong",
        "got 'other-secret'",
        "user:pass-word@h",
        "sk-abcdefgh12345678",
        "Authorization: Bearer unknown-token",
        "x" * 290 + "my-secret-key-1",
    ],
)
def test_no_key_survives_in_a_message(said):
    headers = {"Authorization": "Bearer my-secret-key-1", "X-Key": "other-secret", "Content-Type": "application/json"}
    line = one_line(said, secrets_of(["http://user:pass-word@h/"], headers))
    for secret in ("my-secret", "other-secret", "pass-word", "abcdefgh", "unknown-token"):
        assert secret not in line


def test_harmless_headers_are_not_taken_for_secrets():
    assert secrets_of(["http://h"], {"Content-Type": "application/json", "User-Agent": "me/1.0"}) == ()


def test_numbers_that_strict_json_forbids_are_read():
    assert str(decode_object(b'{"a": NaN}')["a"]) == "nan"
