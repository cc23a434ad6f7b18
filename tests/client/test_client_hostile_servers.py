"""Servers that break off, never end, lie about what they send, or sit behind something; tests decide every byte."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import threading
import time
import zlib
from itertools import pairwise

import pytest
from client_server import DATA, DONE, GOOD, ask_url, chunk
from reliability.faults import fault

from nemo_skills_specdec.client import http_response, limits, loop, sse
from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.tls import tls_context

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CERTIFICATE, KEY = DATA / "tls" / "certificate.pem", DATA / "tls" / "key.pem"


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


WHOLE = HEAD + b"".join(map(http_chunk, GOOD)) + b"0\r\n\r\n"


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    return head, await reader.readexactly(length)


def ask_raw(*pieces, host="127.0.0.1", tls=None, requests=None, scheme=None, close=True, **options):
    """Asks a server that answers every request of a connection with these pieces; numbers are seconds of waiting."""

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await read_request(reader)
                if requests is not None:
                    requests.append(request)
                for piece in pieces:
                    if isinstance(piece, bytes):
                        writer.write(piece)
                        await writer.drain()
                    else:
                        await asyncio.sleep(piece)
                if close:
                    break
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            writer.close()

    async def main():
        server = await asyncio.start_server(serve, host, 0, ssl=tls)
        async with server:
            port = server.sockets[0].getsockname()[1]
            shown = f"[{host}]" if ":" in host else "localhost" if tls else host
            return await ask_url(f"{scheme or ('https' if tls else 'http')}://{shown}:{port}", **options)

    return asyncio.run(main())


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


def test_ipv6_is_spoken():
    requests = []
    [exchange] = ask_raw(WHOLE, host="::1", requests=requests).exchanges
    assert exchange.error is None
    assert b"Host: [::1]:" in requests[0][0]


def test_a_name_with_several_addresses_is_tried_until_one_answers():
    async def main():
        async def serve(reader, writer):
            await read_request(reader)
            writer.write(WHOLE)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await ask_url(f"http://localhost:{server.sockets[0].getsockname()[1]}")

    assert asyncio.run(main()).exchanges[0].error is None


def test_tls_is_checked_against_the_certificates_given_and_answers_come_whole():
    sent = ask_raw(WHOLE, tls=server_context(), ca_file=CERTIFICATE, close=False, count=20, turns=2, concurrency=3)
    assert [exchange.error for exchange in sent.exchanges] == [None] * 40
    assert {read_answer(exchange).generation for exchange in sent.exchanges} == {"Hello"}


def test_a_tls_answer_cut_at_every_byte_is_read_alike():
    pieces = [WHOLE[i : i + 1] for i in range(len(WHOLE))]
    [exchange] = ask_raw(*pieces, tls=server_context(), ca_file=CERTIFICATE).exchanges
    assert (exchange.error, read_answer(exchange).generation) == (None, "Hello")


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_that_is_asked_for():
    [exchange] = ask_raw(WHOLE, tls=server_context()).exchanges
    assert exchange.outcome == "unreachable"
    assert (exchange.error or "").startswith("cannot connect: the server's certificate is not trusted (")
    [exchange] = ask_raw(WHOLE, tls=server_context(), insecure=True).exchanges
    assert exchange.error is None


def test_the_certificates_of_the_environment_are_trusted(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    assert ask_raw(WHOLE, tls=server_context()).exchanges[0].error is None


def test_files_of_certificates_that_cannot_be_read_are_named(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.pem"):
        tls_context(tmp_path / "nothing.pem")
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(UsageError, match=r"text\.pem"):
        tls_context(tmp_path / "text.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    with pytest.raises(UsageError, match="SSL_CERT_FILE"):
        tls_context()


def test_a_server_without_tls_is_named_as_such():
    [exchange] = ask_raw(WHOLE, scheme="https", timeout_seconds=0.3).exchanges
    assert (exchange.error or "").startswith("cannot connect: ")
    assert exchange.outcome == "unreachable"


@fault(10, "a proxy in the environment that nobody asked for", "it is not used", None, "-")
def test_a_proxy_is_used_only_where_it_is_asked_for(monkeypatch):
    requests = []
    monkeypatch.setenv("no_proxy", "")

    async def main(**options):
        async def serve(reader, writer):
            requests.append(await read_request(reader))
            writer.write(WHOLE)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setenv("http_proxy", f"http://me:word@127.0.0.1:{port}")
            return await ask_url("http://server.invalid:8000", **options)

    assert asyncio.run(main(proxy_from_env=True)).exchanges[0].error is None
    [(head, _)] = requests
    assert head.startswith(b"POST http://server.invalid:8000/v1/chat/completions HTTP/1.1\r\n")
    assert b"Host: server.invalid:8000\r\n" in head
    assert b"Proxy-Authorization: Basic bWU6d29yZA==\r\n" in head
    assert "unknown" in (asyncio.run(main()).exchanges[0].error or "")


@fault(10, "TLS through a proxy", "the key goes through the tunnel only", None, "-")
def test_tls_goes_through_a_tunnel_of_the_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    asked = []

    async def main():
        async def serve(reader, writer):
            await read_request(reader)
            writer.write(WHOLE)
            await writer.drain()
            writer.close()

        async def tunnel(reader, writer):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def pump(source, target):
                with contextlib.suppress(ConnectionError):
                    while data := await source.read(4096):
                        target.write(data)
                    target.close()

            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
        async with server, proxy:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            return await ask_url("https://localhost:9", proxy_from_env=True, ca_file=CERTIFICATE)

    assert asyncio.run(main()).exchanges[0].error is None
    assert asked == [b"CONNECT localhost:9 HTTP/1.1\r\nHost: localhost:9\r\n\r\n"]


def test_an_answer_with_a_line_of_five_megabytes_comes_whole():
    text = "x" * 5_000_000
    body = chunk(text, finish="stop")
    [exchange] = ask_raw(HEAD, http_chunk(body), http_chunk(DONE), b"0\r\n\r\n").exchanges
    assert (exchange.error, read_answer(exchange).generation) == (None, text)


@pytest.mark.parametrize("piece", [b"x" * 65_536, http_chunk(b"data: x\n" * 4000), http_chunk(b"y" * 999)])
def test_an_endless_answer_is_cut_off(monkeypatch, piece):
    monkeypatch.setattr(limits, "_LONGEST_ANSWER", 1 << 20)
    monkeypatch.setattr(loop, "_TICK_SECONDS", 0.01)

    async def main():
        async def serve(reader, writer):
            await read_request(reader)
            with contextlib.suppress(ConnectionError):
                writer.write(HEAD if piece[:1] != b"x" else HEAD + b"ffffffff\r\n")
                while True:
                    writer.write(piece)
                    await writer.drain()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await ask_url(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    [exchange] = asyncio.run(main()).exchanges
    assert (exchange.error, exchange.outcome) == ("the answer is longer than 1048576 bytes", "failed")


def test_an_event_without_end_is_not_kept_joining(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT", 1 << 20)
    started = time.monotonic()
    pieces = [b"data: x\n"] * 200_000
    assert sse.read_events(pieces, [0.0] * len(pieces)).overlong
    assert time.monotonic() - started < 5


def test_an_answer_that_is_done_does_not_wait_for_the_end_of_http(monkeypatch):
    monkeypatch.setattr(loop, "_DRAIN_SECONDS", 0.2)
    started = time.monotonic()
    sent = ask_raw(HEAD, *map(http_chunk, GOOD), 30.0, count=2, concurrency=1)
    assert time.monotonic() - started < 10
    assert [exchange.error for exchange in sent.exchanges] == [None, None]
    assert all(exchange.ended_at - exchange.sent_at < 1 for exchange in sent.exchanges)


def test_generated_text_that_says_done_does_not_end_an_answer(monkeypatch):
    monkeypatch.setattr(loop, "_DRAIN_SECONDS", 0.1)
    late = [http_chunk(piece) for piece in (chunk("b", finish="stop"), DONE)]
    [exchange] = ask_raw(HEAD, http_chunk(chunk("[DONE]")), 2.5, *late, b"0\r\n\r\n").exchanges
    assert (exchange.error, read_answer(exchange).generation) == (None, "[DONE]b")


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_an_answer_compressed_all_the_same_is_read(encoding):
    body = b"".join(GOOD)
    packed = gzip.compress(body) if encoding == b"gzip" else zlib.compress(body)
    head = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: " + encoding + b"\r\n\r\n")
    [exchange] = ask_raw(head, http_chunk(packed[:20]), http_chunk(packed[20:]), b"0\r\n\r\n").exchanges
    assert (exchange.error, read_answer(exchange).generation) == (None, "Hello")


@fault(8, "a compressed body that is damaged", "one failed request", None, "the others")
def test_a_broken_compression_fails_its_request_only():
    head = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    [exchange] = ask_raw(head, http_chunk(b"no gzip"), b"0\r\n\r\n").exchanges
    assert exchange.outcome == "failed"


@pytest.mark.parametrize(
    ("pieces", "outcome", "says"),
    [
        ((HEAD + http_chunk(GOOD[0]),), "lost", "the connection was lost after 1 chunks: closed by the server"),
        ((HEAD,), "lost", "the connection was lost before the answer: closed by the server"),
        ((HEAD[:30],), "lost", "the connection was lost before the answer: closed by the server"),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",), "lost", "the connection was lost before the answer"),
        ((b"SSH-2.0-OpenSSH\r\n\r\n",), "failed", "what the server sent is not HTTP"),
        ((HEAD + b"zz\r\n",), "failed", "what the server sent is not HTTP (no size of a chunk)"),
        ((b"HTTP/1.1 101 Switching Protocols\r\n\r\n",), "refused", "HTTP 101"),
        ((b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 99\r\n\r\nupstream is down",), "refused", "HTTP 502: upstream"),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), "refused", "HTTP 204: no message"),
    ],
)
def test_what_breaks_off_or_is_no_answer_says_so(pieces, outcome, says):
    [exchange] = ask_raw(*pieces).exchanges
    assert exchange.outcome == outcome
    assert says in (exchange.error or "")


@fault(8, "an answer before the request was read", "the answer", None, "the answer")
def test_an_answer_that_comes_before_the_request_was_read_is_taken():
    early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\nConnection: close\r\n\r\ntoo large"

    async def main():
        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(early)
            await writer.drain()
            await asyncio.sleep(0.3)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await ask_url(url, extra_body={"padding": "x" * 20_000_000})

    [exchange] = asyncio.run(main()).exchanges
    assert (exchange.status, exchange.error) == (413, "HTTP 413: too large")


def test_a_request_of_many_megabytes_arrives_whole_at_a_server_that_reads_slowly():
    requests = []
    [exchange] = ask_raw(WHOLE, requests=requests, extra_body={"padding": "x" * 20_000_000}).exchanges
    assert exchange.error is None
    assert len(requests[0][1]) > 20_000_000


def test_fewer_open_files_than_conversations_lower_the_concurrency(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (70, 70))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)  # the real one would hold for all tests that follow
    most = now = 0

    async def main():
        async def serve(reader, writer):
            nonlocal most, now
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    await read_request(reader)
                    now += 1
                    most = max(most, now)
                    await asyncio.sleep(0.01)
                    now -= 1
                    writer.write(WHOLE)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await ask_url(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", count=40, concurrency=30)

    sent = asyncio.run(main())
    assert [exchange.error for exchange in sent.exchanges] == [None] * 40
    assert (sent.lowered_concurrency, most) == (6, 6)


@fault(9, "no descriptor is free for a while", "requests wait", None, "all answers")
def test_running_out_of_descriptors_waits_for_a_free_one(monkeypatch):
    real = socket.socket
    open_now = 0

    class Few(real):
        def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
            nonlocal open_now
            if fileno is None and threading.current_thread().name.startswith("asyncio_"):
                if open_now >= 3:
                    raise OSError(24, "Too many open files")
                open_now += 1
            super().__init__(family, type, proto, fileno)

    monkeypatch.setattr("nemo_skills_specdec.client.connection.socket.socket", Few)
    sent = ask_raw(WHOLE, close=False, count=12, concurrency=8)
    assert [exchange.error for exchange in sent.exchanges] == [None] * 12
    assert sent.lowered_concurrency is not None


def test_answers_are_handed_over_as_soon_as_they_end_and_need_not_be_kept():
    seen = []
    started = time.monotonic()
    sent = ask_raw(
        WHOLE,
        close=False,
        count=4,
        request_rate=1.5,
        arrival="constant",
        keep=False,
        on_exchange=lambda exchange: seen.append(time.monotonic() - started),
    )
    assert sent.exchanges == []
    assert len(seen) == 4
    assert min(b - a for a, b in pairwise(seen)) > 0.4


def test_the_size_that_is_read_at_once_hides_nothing(monkeypatch):
    monkeypatch.setattr(loop, "READ_BYTES", 7)
    assert http_response.READ_BYTES > 7
    [exchange] = ask_raw(WHOLE).exchanges
    assert (exchange.error, read_answer(exchange).generation) == (None, "Hello")
