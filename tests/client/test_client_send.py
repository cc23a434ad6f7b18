import asyncio
import json
import socket
import struct
import threading
import time
from collections import Counter

import pytest
from aiohttp import web
from client_server import DONE, GOOD, USAGE, ask, ask_url, chunk, good, prompt, serving, stream

from nemo_skills_specdec.client import pool
from nemo_skills_specdec.client.answer import read_answer
from nemo_skills_specdec.client.timing import to_record
from nemo_skills_specdec.errors import UsageError


def test_a_streamed_answer_comes_back_framed_and_timed():
    [exchange] = ask(good).exchanges
    assert exchange.error is None
    assert (exchange.status, exchange.streamed, len(exchange.frames), len(exchange.chunk_times)) == (200, True, 4, 4)
    times = [exchange.scheduled_at, exchange.sent_at, *exchange.chunk_times, exchange.ended_at]
    assert times == sorted(times)
    assert abs(exchange.ended_at - time.time()) < 60
    answer = read_answer(exchange)
    assert (answer.generation, answer.completion_tokens, answer.first_content, answer.last_content) == (
        "Hello",
        4,
        0,
        2,
    )


def test_the_time_to_the_first_token_is_the_servers_delay():
    [exchange] = ask(lambda r: stream(r, 0.2, *GOOD[:2], 0.3, *GOOD[2:])).exchanges
    record = to_record(exchange, read_answer(exchange))
    assert 0.19 < record.ttft_seconds < 0.45
    assert 0.29 < record.tpot_seconds * 3 < 0.49


def test_a_stream_cut_at_every_byte_is_read_alike():
    pieces = [b"".join(GOOD)[i : i + 1] for i in range(len(b"".join(GOOD)))]
    [exchange] = ask(lambda r: stream(r, *pieces)).exchanges
    assert exchange.error is None
    assert read_answer(exchange).generation == "Hello"


def test_an_answer_that_is_not_streamed_is_its_body():
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]})

    [exchange] = ask(handler, stream=False).exchanges
    assert (exchange.error, exchange.streamed, exchange.chunk_times) == (None, False, [])
    assert read_answer(exchange).generation == "hi"


def test_a_server_that_does_not_stream_though_asked_is_understood():
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}]})

    [exchange] = ask(handler).exchanges
    assert (exchange.error, exchange.streamed) == (None, False)


def test_a_stream_with_a_wrong_content_type_is_understood():
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"".join(GOOD), content_type="text/plain")

    [exchange] = ask(handler).exchanges
    assert (exchange.error, exchange.streamed, len(exchange.frames)) == (None, True, 4)


def test_body_and_headers_arrive_as_given():
    seen = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, dict(request.headers), await request.json()))
        return await good(request)

    ask(handler, headers={"Authorization": "Bearer k"}, max_tokens=5, extra_body={"top_k": 1})
    [(path, headers, body)] = seen
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer k"
    assert headers["Content-Type"] == "application/json"
    assert headers["Accept-Encoding"] == "identity"
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "question 0"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "top_k": 1,
    }


def test_later_turns_hold_the_models_own_answers_without_its_reasoning():
    seen = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((await request.json())["messages"])
        thought = b'data: {"choices":[{"index":0,"delta":{"reasoning":"hm"},"finish_reason":null}]}\n\n'
        return await stream(request, thought, chunk(f"answer {len(seen)}", finish="stop"), DONE)

    sent = ask(handler, turns=3)
    assert [exchange.turn for exchange in sent.exchanges] == [0, 1, 2]
    assert [m["content"] for m in seen[2]] == ["question 0", "answer 1", "question 1", "answer 2", "question 2"]
    assert [m["role"] for m in seen[2]] == ["user", "assistant", "user", "assistant", "user"]


def test_a_failed_turn_takes_the_later_ones_with_it_and_no_other_conversation():
    async def handler(request: web.Request) -> web.StreamResponse:
        messages = (await request.json())["messages"]
        if messages[0]["content"] == "bad" and len(messages) == 3:
            return web.json_response({"error": {"message": "too long"}}, status=400)
        return await good(request)

    what = [prompt(name, *([name] * 4)) for name in ("good", "bad")]
    sent = ask(handler, what=what)
    assert [(e.question_id, e.turn, e.sent, e.error) for e in sent.exchanges] == [
        *(("good", turn, True, None) for turn in range(4)),
        ("bad", 0, True, None),
        ("bad", 1, True, "HTTP 400: too long"),
        ("bad", 2, False, "not sent: turn 1 failed"),
        ("bad", 3, False, "not sent: turn 1 failed"),
    ]


def test_an_answer_that_cannot_be_read_fails_its_turn_before_the_next_is_sent():
    broken = b'data: {"choices":[{"index":0,"delta":{"content":"a}]}\n\n'
    sent = ask(lambda r: stream(r, broken, chunk("b", finish="stop"), DONE), turns=2)
    first, second = sent.exchanges
    assert (first.error or "").startswith("chunk 0 of the stream is not JSON")
    assert (first.outcome, second.outcome) == ("failed", "not_sent")
    assert (second.sent, second.error) == (False, "not sent: turn 0 failed")


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        ((chunk("a"),), "the stream was cut off after 1 chunks (no finish_reason and no [DONE])"),
        ((chunk("a"), DONE), "the stream was cut off after 1 chunks (no finish_reason)"),
        ((chunk("a"), b'data: {"choices": [{"ind'), "chunk 1 of the stream is not JSON"),
        ((DONE,), "the stream ended without an answer"),
        ((), "the stream ended without an answer"),
        ((b"<html>gateway</html>",), "the stream ended without an answer"),
        ((b"data: oops\n\n", DONE), "chunk 0 of the stream is not JSON"),
        (
            (chunk("a"), b'data: {"error": {"message": "engine died", "code": 500}}\n\n', DONE),
            "the server reported an error: engine died",
        ),
    ],
)
def test_a_stream_that_breaks_off_or_reports_an_error_is_a_failed_exchange(pieces, says):
    [exchange] = ask(lambda r: stream(r, *pieces)).exchanges
    assert says in (exchange.error or "")
    assert (exchange.status, exchange.outcome) == (200, "failed")


@pytest.mark.parametrize("ending", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n\r\n", b""])
def test_a_complete_stream_may_end_in_any_way(ending):
    [exchange] = ask(lambda r: stream(r, *GOOD[:-1], ending)).exchanges
    assert (exchange.error, len(exchange.frames)) == (None, 4)


def test_comments_that_keep_a_connection_alive_are_no_chunks():
    [exchange] = ask(lambda r: stream(r, b": ping\n\n", GOOD[0], b":\n\n", *GOOD[1:])).exchanges
    assert (exchange.error, len(exchange.frames)) == (None, 4)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_an_http_error_gives_the_servers_message(status):
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(
            {"error": {"message": "because\nof this"}}, status=status, headers={"Retry-After": "7"}
        )

    [exchange] = ask(handler).exchanges
    assert exchange.error == f"HTTP {status}: because of this"
    assert (exchange.status, exchange.outcome, exchange.frames) == (status, "refused", [])
    assert exchange.retry_after_seconds == 7


def test_a_body_that_is_not_json_is_a_failed_exchange():
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="hello", content_type="application/json")

    [exchange] = ask(handler, stream=False).exchanges
    assert (exchange.error or "").startswith("the answer is not a JSON object")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_login_page_is_a_failed_exchange_that_says_so(streamed):
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="<html><h1>Please log in</h1></html>", content_type="text/html")

    [exchange] = ask(handler, stream=streamed).exchanges
    assert exchange.error == "the answer is an HTML page: Please log in"


def test_no_key_reaches_an_error_or_what_is_kept():
    async def handler(request: web.Request) -> web.StreamResponse:
        key = request.headers["Authorization"]
        if request.path.endswith("/chat/completions") and (await request.json())["stream"]:
            return await stream(request, chunk("a"), b'data: {"error": {"message": "bad ' + key.encode() + b'"}}\n\n')
        return web.json_response({"error": {"message": f"key {key} is wrong"}}, status=401)

    for stream_it in (True, False):
        sent = ask(handler, stream=stream_it, headers={"Authorization": "Bearer top-secret-value"})
        [exchange] = sent.exchanges
        assert exchange.error is not None
        assert "top-secret-value" not in repr(sent)


def test_a_redirect_is_not_followed():
    paths = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/elsewhere"})

    [exchange] = ask(handler, headers={"Authorization": "Bearer k"}).exchanges
    assert (
        exchange.error == "HTTP 307: the server redirects to http://127.0.0.1:1/elsewhere; give that address as the URL"
    )
    assert paths == ["/v1/chat/completions"]


def test_a_request_that_takes_too_long_keeps_what_arrived():
    [exchange] = ask(lambda r: stream(r, GOOD[0], 5.0), timeout_seconds=0.3).exchanges
    assert exchange.error == "no complete answer within 0.3 s after 1 chunks"
    assert exchange.outcome == "timed_out"
    assert 0.3 <= exchange.ended_at - exchange.sent_at < 2.0
    assert read_answer(exchange).generation == "Hel"


def test_a_connection_that_is_reset_is_a_failed_exchange():
    async def handler(request: web.Request) -> web.StreamResponse:
        response = await stream(request, GOOD[0], 0.05)
        assert request.transport is not None
        raw = request.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
        return response

    [exchange] = ask(handler).exchanges
    assert (exchange.error or "").startswith("the connection was lost after 1 chunks")
    assert exchange.outcome == "lost"


def test_a_connection_closed_without_an_answer_is_a_failed_exchange():
    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    [exchange] = ask(handler).exchanges
    assert exchange.error == "the server closed the connection without answering"
    assert exchange.status is None


def test_what_is_no_http_is_a_failed_exchange():
    async def main():
        async def handle(reader, writer):
            await reader.read(10)
            writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            return await ask_url(f"http://127.0.0.1:{port}")

    [exchange] = asyncio.run(main()).exchanges
    assert exchange.error
    assert "\n" not in exchange.error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    "load", [{"concurrency": 4}, {"request_rate": 2.0, "arrival": "constant", "concurrency": None}]
)
def test_a_server_that_refuses_every_connection_ends_the_run_soon(load):
    port = free_port()
    if "request_rate" in load:
        load = {**load, "request_rate": 40.0}
    started = time.monotonic()
    sent = asyncio.run(ask_url(f"http://127.0.0.1:{port}", count=400, **load))
    assert time.monotonic() - started < 4.0
    assert sent.gave_up == f"cannot connect to 127.0.0.1:{port}: Connection refused"
    assert {(exchange.error, exchange.outcome) for exchange in sent.exchanges} == {(sent.gave_up, "unreachable")}
    assert len(sent.exchanges) + len(sent.not_sent) == 400
    assert len(sent.exchanges) <= 16


def test_a_server_that_refuses_after_it_answered_ends_the_run_soon():
    async def main():
        async with serving(good) as url:
            first = await ask_url(url)
            seen = []

            def note(exchange):
                seen.append(exchange)

            running = asyncio.ensure_future(
                ask_url(url, count=100, concurrency=1, request_rate=100.0, arrival="constant", on_exchange=note)
            )
            while len(seen) < 3:
                await asyncio.sleep(0.01)
        return first, await running

    _, sent = asyncio.run(main())
    outcomes = Counter(exchange.outcome for exchange in sent.exchanges)
    assert outcomes["answered"] >= 3
    assert outcomes["unreachable"] >= 8
    assert len(sent.exchanges) + len(sent.not_sent) == 100
    assert len(sent.not_sent) > 50
    assert sent.gave_up is not None
    assert sent.gave_up.endswith("Connection refused")


def test_an_unknown_host_is_named():
    sent = asyncio.run(ask_url("http://no-such-host.invalid:8000"))
    assert sent.exchanges[0].error == "cannot connect: the host no-such-host.invalid is unknown"


def test_never_more_conversations_in_flight_than_the_limit():
    now, most = 0, 0
    full = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 7:
            full.set()
        await asyncio.wait_for(full.wait(), 20)
        response = await stream(request, 0.01, *GOOD)
        now -= 1
        return response

    sent = ask(handler, count=40, turns=2, concurrency=7)
    assert Counter(exchange.error for exchange in sent.exchanges) == {None: 80}
    assert most == 7


def test_exchanges_come_back_in_the_order_given_whatever_ended_first():
    async def handler(request: web.Request) -> web.StreamResponse:
        text = (await request.json())["messages"][0]["content"]
        return await stream(request, 0.2 if text == "q0" else 0.0, *GOOD)

    what = [prompt(f"q{i}", f"q{i}") for i in range(5)]
    seen = []
    sent = ask(handler, what=what, on_exchange=seen.append)
    assert [exchange.question_id for exchange in sent.exchanges] == ["q0", "q1", "q2", "q3", "q4"]
    assert seen[-1].question_id == "q0"
    assert len(seen) == 5


def test_a_constant_rate_starts_conversations_on_time():
    sent = ask(good, count=4, request_rate=5.0, arrival="constant", concurrency=None)
    offsets = [exchange.sent_at - sent.started_at for exchange in sent.exchanges]
    assert offsets == pytest.approx([0.0, 0.2, 0.4, 0.6], abs=0.15)
    assert [exchange.scheduled_at - sent.started_at for exchange in sent.exchanges] == pytest.approx(
        [0.0, 0.2, 0.4, 0.6], abs=1e-6
    )


def test_waiting_for_a_place_is_queue_time():
    sent = ask(lambda r: stream(r, 0.2, *GOOD), count=2, request_rate=1000.0, arrival="constant", concurrency=1)
    records = [to_record(exchange, read_answer(exchange)) for exchange in sent.exchanges]
    assert records[0].queue_seconds < 0.1
    assert 0.15 < records[1].queue_seconds < 0.6


def test_without_a_rate_a_conversation_is_due_when_its_place_is_free():
    sent = ask(lambda r: stream(r, 0.3, *GOOD), count=3, concurrency=1)
    assert all(to_record(e, read_answer(e)).queue_seconds < 0.2 for e in sent.exchanges)


def test_a_later_turn_is_due_when_the_one_before_it_has_ended():
    first, second = ask(lambda r: stream(r, 0.2, *GOOD), turns=2).exchanges
    assert second.scheduled_at == first.ended_at
    assert second.sent_at - second.scheduled_at < 0.15


def test_the_time_limit_starts_nothing_new_and_lets_the_rest_finish():
    sent = ask(lambda r: stream(r, 0.15, *GOOD), count=20, concurrency=2, max_seconds=0.2)
    assert len(sent.exchanges) == 4
    assert all(exchange.error is None for exchange in sent.exchanges)
    assert sent.not_sent == [f"q{i}" for i in range(4, 20)]
    assert sent.interrupted is False


def test_the_time_limit_does_not_wait_for_arrivals_after_it():
    started = time.monotonic()
    sent = ask(good, count=3, request_rate=0.01, arrival="constant", max_seconds=0.2)
    assert time.monotonic() - started < 2.0
    assert sent.not_sent == ["q1", "q2"]


def test_stopping_keeps_what_is_finished_and_records_what_is_in_flight():
    async def handler(request: web.Request) -> web.StreamResponse:
        text = (await request.json())["messages"][-1]["content"]
        return await stream(request, GOOD[0], 0.0 if text == "fast" else 30.0, *GOOD[1:])

    what = [prompt("a", "fast"), prompt("b", "slow", "later"), prompt("c", "slow")]

    async def main():
        stop = threading.Event()
        asyncio.get_running_loop().call_later(0.4, stop.set)
        async with serving(handler) as url:
            return await ask_url(url, what=what, concurrency=1, stop=stop)

    started = time.monotonic()
    sent = asyncio.run(main())
    assert time.monotonic() - started < 5.0
    assert sent.interrupted is True
    assert [(e.question_id, e.turn, e.sent, e.error) for e in sent.exchanges] == [
        ("a", 0, True, None),
        ("b", 0, True, "interrupted"),
        ("b", 1, False, "interrupted"),
    ]
    assert read_answer(sent.exchanges[1]).generation == "Hel"
    assert sent.not_sent == ["c"]


def test_an_answer_that_is_complete_when_all_stops_has_not_failed():
    async def main():
        stop = threading.Event()
        asyncio.get_running_loop().call_later(0.3, stop.set)
        # The connection stays open after [DONE], so the stop comes while its end is awaited.
        async with serving(lambda r: stream(r, *GOOD, 30.0)) as url:
            return await ask_url(url, turns=2, stop=stop)

    first, second = asyncio.run(main()).exchanges
    assert (first.sent, first.error) == (True, None)
    assert (second.sent, second.error) == (False, "interrupted")


def test_an_error_of_the_caller_while_all_stops_is_not_swallowed():
    def full(exchange):
        raise OSError(28, "No space left on device")

    async def main():
        stop = threading.Event()
        asyncio.get_running_loop().call_later(0.2, stop.set)
        async with serving(lambda r: stream(r, 30.0)) as url:
            await ask_url(url, stop=stop, on_exchange=full)

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(main())


def test_stopping_tells_the_server_at_once():
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return await stream(request, GOOD[0], 30.0)
        except asyncio.CancelledError:
            gone.set()
            raise

    async def main():
        stop = threading.Event()
        asyncio.get_running_loop().call_later(0.2, stop.set)
        async with serving(handler) as url:
            await ask_url(url, stop=stop)
            await asyncio.wait_for(gone.wait(), 3.0)

    asyncio.run(main())
    assert gone.is_set()


def test_an_error_of_the_caller_is_not_swallowed():
    def full(exchange):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        ask(good, count=5, on_exchange=full)


def test_nothing_to_send_is_nothing_sent():
    async def main():
        async with serving(good) as url:
            return await ask_url(url, count=0)

    sent = asyncio.run(main())
    assert (sent.exchanges, sent.not_sent, sent.interrupted) == ([], [], False)


def test_wrong_use_is_refused_before_anything_is_sent():
    with pytest.raises(UsageError, match="not an http address"):
        asyncio.run(ask_url("ftp://host"))


def test_frames_larger_than_any_buffer_arrive_whole():
    text = "x" * 3_000_000
    [exchange] = ask(lambda r: stream(r, chunk(text), chunk(finish="stop"), DONE)).exchanges
    assert exchange.error is None
    assert len(read_answer(exchange).generation) == 3_000_000


def test_connections_are_used_again():
    peers = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        # The HTTP stream ends a little after [DONE], as behind a proxy.
        return await stream(request, *GOOD, 0.02)

    ask(handler, count=20, turns=2, concurrency=2)
    assert len(peers) == 2


def test_a_connection_idle_for_long_is_not_used_again(monkeypatch):
    """A server may be closing it at that very moment."""
    monkeypatch.setattr(pool, "_KEEP_IDLE_SECONDS", 0.1)
    peers = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return await good(request)

    ask(handler, count=2, request_rate=2.0, arrival="constant")
    assert len(peers) == 2


def test_the_lag_of_the_client_itself_is_seen():
    late = ask(lambda r: stream(r, *GOOD[:2], 0.2, *GOOD[2:])).lateness
    assert late.samples >= 1
    assert 0 <= late.p50_seconds <= late.p99_seconds <= late.max_seconds
    assert late.opening_max_seconds == late.max_seconds


def test_300_streams_at_once_all_come_back_whole():
    async def handler(request: web.Request) -> web.StreamResponse:
        number = (await request.json())["messages"][0]["content"]
        return await stream(
            request, chunk(number), 0.05, *(chunk("-") for _ in range(20)), chunk(finish="stop"), USAGE, DONE
        )

    what = [prompt(f"q{i}", f"{i}") for i in range(300)]
    sent = ask(handler, what=what, concurrency=None)
    assert Counter(exchange.error for exchange in sent.exchanges) == {None: 300}
    assert [read_answer(e).generation for e in sent.exchanges] == [f"{i}" + "-" * 20 for i in range(300)]
    assert {len(e.frames) for e in sent.exchanges} == {23}


def test_bodies_are_the_same_for_every_run():
    seen = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(await request.read())
        return await good(request)

    ask(handler, count=3, concurrency=1)
    ask(handler, count=3, concurrency=1)
    assert seen[:3] == seen[3:]
    assert json.loads(seen[0])["model"] == "m"
