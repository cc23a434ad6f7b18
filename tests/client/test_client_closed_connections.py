"""A server that promises to keep its connections and closes them, as llama.cpp does after every stream."""

import asyncio
import contextlib

from client_server import ask_url, chunk

ANSWER = chunk("hello") + chunk(finish="stop") + b"data: [DONE]\n\n"
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n"
)


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    return await reader.readexactly(length)


def ask_server(serve, **options):
    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await ask_url(f"http://127.0.0.1:{port}", **options)

    return asyncio.run(main())


def test_a_kept_connection_that_the_server_has_closed_costs_no_request():
    received = []

    async def serve(reader, writer):
        received.append(await read_request(reader))
        writer.write(HEAD + f"{len(ANSWER):x}\r\n".encode() + ANSWER + b"\r\n0\r\n\r\n")
        await writer.drain()
        writer.close()

    sent = ask_server(serve, count=3, turns=3)
    assert [exchange.error for exchange in sent.exchanges] == [None] * 9
    assert len(received) == 9


def test_a_request_on_a_new_connection_that_is_cut_is_a_failure_and_is_not_repeated():
    received = []

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            received.append(await read_request(reader))
        writer.close()

    sent = ask_server(serve)
    assert len(received) == 1
    assert sent.exchanges[0].error == "the server closed the connection without answering"


def test_a_request_that_was_worked_on_before_its_kept_connection_broke_is_not_repeated():
    received = []

    async def serve(reader, writer):
        received.append(await read_request(reader))
        writer.write(HEAD + f"{len(ANSWER):x}\r\n".encode() + ANSWER + b"\r\n0\r\n\r\n")
        received.append(await read_request(reader))
        await asyncio.sleep(0.8)
        writer.close()

    first, second = ask_server(serve, turns=2).exchanges
    assert first.error is None
    assert second.error == "the server closed the connection without answering"
    assert len(received) == 2


def test_a_request_that_met_a_connection_about_to_be_closed_is_sent_again_and_counted():
    received = []

    async def serve(reader, writer):
        received.append(await read_request(reader))
        writer.write(HEAD + f"{len(ANSWER):x}\r\n".encode() + ANSWER + b"\r\n0\r\n\r\n")
        # The server has decided to close; the next request is already on its way and is not looked at.
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readexactly(1)
        writer.transport.abort()

    first, second = ask_server(serve, turns=2).exchanges
    assert (first.error, second.error) == (None, None)
    assert (first.num_resends, second.num_resends) == (0, 1)
    assert len(received) == 2
