"""What following one chunk costs this client and others, against one server that only replays bytes.

    python performance/client_throughput.py                     this client and a plain aiohttp loop
    python performance/client_throughput.py --peer-python PY    and the `openai` client installed there

Every stream sends one chunk every `--interval` seconds, all streams together, as engines with continuous batching do,
so a client that keeps up ends with the server; what differs is the CPU time it needs. Each client runs in a process of
its own, one after the other, against the same server, `--repeats` times in turn; medians are printed. The server is a
bare asyncio protocol in a process of its own that writes ready-made bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
USAGE = {"prompt_tokens": 20, "total_tokens": 1000, "completion_tokens": 980}


def event(choices: list[object], **more: object) -> bytes:
    """One SSE event as vLLM sends it, as one HTTP chunk."""
    top = {"id": "chatcmpl-b4436f7c6f10c514", "object": "chat.completion.chunk", "created": 1795375144, "model": "m"}
    text = b"data: " + json.dumps({**top, "choices": choices, **more}, separators=(",", ":")).encode() + b"\n\n"
    return f"{len(text):x}\r\n".encode() + text + b"\r\n"


def choice(finish: str | None, **delta: str) -> list[object]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}]


def script(chunks: int) -> list[bytes]:
    done = b"data: [DONE]\n\n"
    last = event(choice("length")) + event([], usage=USAGE) + f"{len(done):x}\r\n".encode() + done + b"\r\n0\r\n\r\n"
    return [
        HEAD + event(choice(None, role="assistant")),
        *([event(choice(None, content=" some words"))] * chunks),
        last,
    ]


class Replay(asyncio.Protocol):
    """Answers every request with the same bytes, one piece an interval."""

    def __init__(self, pieces: list[bytes], interval: float) -> None:
        self.pieces = pieces
        self.interval = interval
        self.received = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, _, body = self.received.partition(b"\r\n\r\n")
        lower = head.lower()
        at = lower.find(b"content-length:")
        if at >= 0 and len(body) >= int(lower[at + 15 :].split(b"\r\n")[0]):
            self.received = b""
            loop = asyncio.get_running_loop()
            self.step(0, loop.time(), loop)

    def step(self, number: int, began: float, loop: asyncio.AbstractEventLoop) -> None:
        assert self.transport is not None
        if self.transport.is_closing():
            return
        self.transport.write(self.pieces[number])
        if number + 1 < len(self.pieces):
            loop.call_at(began + (number + 1) * self.interval, self.step, number + 1, began, loop)


async def serve(chunks: int, interval: float) -> None:
    pieces = script(chunks)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Replay(pieces, interval), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def ours(url: str, streams: int) -> tuple[int, int, float | None]:
    sys.path.insert(0, str(ROOT))
    from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions
    from nemo_skills_specdec.client.send import send_all
    from nemo_skills_specdec.records import Message, PromptRow

    talks = [PromptRow(question_id=f"{i}", category="c", messages=[Message("user", "hi")]) for i in range(streams)]
    load = LoadOptions(concurrency=None)
    sent = send_all(talks, url=url, request=RequestOptions(model="m", max_tokens=9), load=load)
    complete = sum(exchange.error is None for exchange in sent.exchanges)
    return complete, sum(len(exchange.frames) for exchange in sent.exchanges), sent.lateness.p99_seconds


def plain(url: str, streams: int) -> tuple[int, int, float | None]:
    """The loop most benchmark clients have: lines from aiohttp, every chunk decoded as it comes."""
    import aiohttp

    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}

    async def one(session: aiohttp.ClientSession) -> int:
        count = 0
        times = []
        text = ""
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            async for line in response.content:
                line = line.strip()
                if not line.startswith(b"data: ") or line == b"data: [DONE]":
                    continue
                times.append(time.perf_counter())
                chunk = json.loads(line[6:])
                if chunk["choices"]:
                    text += chunk["choices"][0]["delta"].get("content") or ""
                count += 1
        return count

    async def main() -> list[int]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await asyncio.gather(*(one(session) for _ in range(streams)))

    counts = asyncio.run(main())
    return len(counts), sum(counts), None


def openai(url: str, streams: int) -> tuple[int, int, float | None]:
    from openai import AsyncOpenAI  # type: ignore[import-not-found,unused-ignore]

    async def main() -> list[int]:
        client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600)

        async def one() -> int:
            count = 0
            times = []
            text = ""
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi"}], stream=True
            )
            async for chunk in stream:
                times.append(time.perf_counter())
                if chunk.choices:
                    text += chunk.choices[0].delta.content or ""
                count += 1
            return count

        return await asyncio.gather(*(one() for _ in range(streams)))

    counts = asyncio.run(main())
    return len(counts), sum(counts), None


CLIENTS = {"ours": ours, "plain": plain, "openai": openai}


def run_client(name: str, url: str, streams: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, streams + 512), hard), hard))
    CLIENTS[name](url, 1)  # imports and the first connection do not count
    started, cpu = time.perf_counter(), time.process_time()
    complete, chunks, lag = CLIENTS[name](url, streams)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps({"complete": complete, "chunks": chunks, "wall": wall, "cpu": cpu, "lag_p99": lag}))


def compare(arguments: argparse.Namespace) -> None:
    pythons = {"ours": sys.executable, "plain": sys.executable}
    if arguments.peer_python:
        pythons["openai"] = arguments.peer_python
    me = [str(Path(__file__).resolve())]
    shape = ["--chunks", str(arguments.chunks), "--interval", str(arguments.interval)]
    server = subprocess.Popen([sys.executable, *me, "--serve", *shape], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(server.stdout.readline())}"
    results: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    try:
        for _ in range(arguments.repeats):
            for name, python in pythons.items():
                command = [python, *me, "--client", name, "--url", url, "--streams", str(arguments.streams)]
                done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
                if done.returncode:
                    raise SystemExit(f"{name} failed: {done.stderr[-500:]}")
                results[name].append(json.loads(done.stdout))
        server_cpu = cpu_of(server.pid)
    finally:
        server.terminate()
        server.wait()
    report(arguments, results, server_cpu)


def cpu_of(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(arguments: argparse.Namespace, results: dict[str, list[dict[str, float]]], server_cpu: float | None) -> None:
    expected = arguments.streams * (arguments.chunks + 3)
    ideal = (arguments.chunks + 1) * arguments.interval
    print(
        f"{arguments.streams} streams at once, {arguments.chunks} chunks each, one every {arguments.interval:g} s: ",
        end="",
    )
    print(f"{arguments.streams / arguments.interval:,.0f} chunks/s for {ideal:.1f} s; median of {arguments.repeats}")
    if server_cpu is not None:
        wall = sum(result["wall"] for runs in results.values() for result in runs)
        print(f"server: {100 * server_cpu / wall:.0f} % of one core")
    costs = {name: statistics.median(1e6 * r["cpu"] / r["chunks"] for r in runs) for name, runs in results.items()}
    print("client    complete    chunks  wall s  CPU us/chunk  chunks/s/core  ratio")
    for name, runs in results.items():
        right = all(r["complete"] == arguments.streams and r["chunks"] == expected for r in runs)
        wall = statistics.median(r["wall"] for r in runs)
        print(
            f"{name:8} {int(runs[0]['complete']):9,} {int(runs[0]['chunks']):9,} {wall:7.2f} {costs[name]:13.1f} "
            f"{1e6 / costs[name]:14,.0f} {costs[name] / costs['ours']:6.2f}{'' if right else '  WRONG COUNTS'}"
        )
    lags = [1000 * r["lag_p99"] for r in results["ours"]]
    print(f"event-loop lag of ours, p99: {statistics.median(lags):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=200)
    parser.add_argument("--interval", type=float, default=0.025)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-python", help="a Python that has the openai package")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.chunks, arguments.interval))
    elif arguments.client:
        run_client(arguments.client, arguments.url, arguments.streams)
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
