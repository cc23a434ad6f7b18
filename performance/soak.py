"""Many requests for a long time, one in a hundred of them broken: is anything lost, and does anything grow?

    python performance/soak.py                                100,000 requests in at least 20 minutes
    python performance/soak.py --requests 3000 --minutes 0.5  a short one

A stand-in of vLLM in a process of its own streams short answers with per-request statistics and keeps a ledger of what
it did. One request in a hundred is answered with a fault, which one is known from its number: an HTTP error, a lost
connection, a stream without end, a broken chunk, an error object. `ns-specdec eval` measures it at `--concurrency`.
Afterwards every request must be there once, failures must be those that were ordered, and the sums of all answers must
be the ledger's. Resident memory and open descriptors of the client are sampled every second; the slope of memory is a
least-squares line through the samples of the second half.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

FAULTS = ("http500", "reset", "cut off", "broken chunk", "error object")
DRAFTS, DRAFT_LENGTH = 6, 3
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def fault_of(number: int) -> str | None:
    """The fault that a request with this number meets."""
    return FAULTS[number // 100 % len(FAULTS)] if number % 100 == 37 else None


def accepted_in(number: int) -> list[int]:
    """Accepted draft tokens of each step of an answer."""
    return [(number * 7 + step * step) % (DRAFT_LENGTH + 1) for step in range(DRAFTS)]


def event(number: int, choices: list[object], **more: object) -> bytes:
    top = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    text = b"data: " + json.dumps({**top, "choices": choices, **more}).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(text), text)


def choice(finish: str | None = None, **delta: str) -> list[object]:
    return [{"index": 0, "delta": delta, "finish_reason": finish}]


class Counts:
    """What the server did: the counters of its metrics, and a line of the ledger for each answer."""

    def __init__(self) -> None:
        self.requests = self.generated = self.steps = self.drafted = self.accepted = 0
        self.positions = [0] * DRAFT_LENGTH
        self.ledger = {"requests": 0, "drafts": 0, "accepted": 0, "tokens": 0}

    def book(self, accepted: list[int], *, answered: bool) -> None:
        self.requests += 1
        self.generated += 1 + sum(accepted) + len(accepted)
        self.steps += len(accepted)
        self.drafted += DRAFT_LENGTH * len(accepted)
        self.accepted += sum(accepted)
        for position in range(DRAFT_LENGTH):
            self.positions[position] += sum(one > position for one in accepted)
        if answered:
            self.ledger["requests"] += 1
            self.ledger["drafts"] += len(accepted)
            self.ledger["accepted"] += sum(accepted)
            self.ledger["tokens"] += 1 + sum(accepted) + len(accepted)

    def metrics(self) -> str:
        one = '{engine="0",model_name="m"}'
        spec = {"num_drafts": self.steps, "num_draft_tokens": self.drafted, "num_accepted_tokens": self.accepted}
        lines = [f"vllm:spec_decode_{name}_total{one} {value}" for name, value in spec.items()]
        name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
        lines += [
            f'{name}{{engine="0",model_name="m",position="{i}"}} {value}' for i, value in enumerate(self.positions)
        ]
        lines += [
            f"vllm:generation_tokens_total{one} {self.generated}",
            f"vllm:prompt_tokens_total{one} {5 * self.requests}",
            f'vllm:request_success_total{{engine="0",finished_reason="stop",model_name="m"}} {self.requests}',
            f"vllm:num_requests_running{one} 0",
            f"vllm:num_requests_waiting{one} 0",
        ]
        return "\n".join(lines) + "\n"


class Standin(asyncio.Protocol):
    """One connection to the server."""

    def __init__(self, counts: Counts, seconds: float, *, good: bool, statistics: bool) -> None:
        self.counts, self.seconds, self.good, self.statistics = counts, seconds, good, statistics
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
        if not end or len(body) < length:
            return
        self.received = b""
        path = head.split(b" ", 2)[1].decode()
        if path == "/v1/chat/completions":
            prompt = json.loads(body)["messages"][0]["content"]
            self.answer(int(prompt.split()[1]) if prompt.startswith("Number") else None)
            return
        plain = {
            "/v1/models": json.dumps({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "vllm"}]}),
            "/version": '{"version": "0.20.0"}',
            "/metrics": self.counts.metrics(),
            "/ledger": json.dumps(self.counts.ledger),
        }
        self.reply(b"200 OK" if path in plain else b"404 Not Found", plain.get(path, "").encode())

    def reply(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)

    def answer(self, number: int | None) -> None:
        loop = asyncio.get_running_loop()
        fault = fault_of(number) if number is not None and not self.good else None
        if fault == "http500":
            loop.call_later(self.seconds, self.reply, b"500 Internal Server Error", b'{"message": "out of luck"}')
            return
        pieces = [
            HEAD + event(number or 0, choice(role="assistant", content="")) + event(number or 0, choice(content="w"))
        ]
        steps = accepted_in(number or 0)
        pieces += [event(number or 0, choice(content="ab " * (1 + taken))) for taken in steps]
        for place, piece in enumerate(pieces):
            loop.call_later(self.seconds * place / len(pieces), self.write, piece)
        loop.call_later(self.seconds, self.end, number, steps, fault)

    def write(self, piece: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(piece)

    def end(self, number: int | None, steps: list[int], fault: str | None) -> None:
        if self.transport.is_closing():
            return
        self.counts.book(steps, answered=number is not None and fault is None)
        name = number or 0
        if fault == "reset":
            self.transport.abort()
        elif fault == "cut off":
            self.transport.write(b"0\r\n\r\n")
        elif fault == "broken chunk":
            self.transport.write(b'c\r\ndata: {"id"\n\r\n' + b"0\r\n\r\n")
        elif fault == "error object":
            self.transport.write(event(name, [], error={"message": "out of memory"}) + b"0\r\n\r\n")
        else:
            statistics = {
                "num_spec_steps": len(steps),
                "num_accepted_draft_tokens": sum(steps),
                "num_draft_tokens": DRAFT_LENGTH * len(steps),
                "num_spec_tokens": DRAFT_LENGTH,
                "acceptance_histogram": [steps.count(taken) for taken in range(DRAFT_LENGTH + 1)],
            }
            tokens = 1 + sum(steps) + len(steps)
            usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}
            told = {"metrics": {"speculative_decoding": statistics}} if self.statistics else {}
            last = event(name, [], usage=usage, **told)
            self.transport.write(event(name, choice("stop")) + last + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


async def serve(seconds: float, *, good: bool, statistics: bool) -> None:
    counts = Counts()
    server = await asyncio.get_running_loop().create_server(
        lambda: Standin(counts, seconds, good=good, statistics=statistics), "127.0.0.1", 0, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


def status_of(pid: int) -> tuple[float, int]:
    """Resident memory in MiB, and open descriptors."""
    text = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))
    return resident / 1024, len(os.listdir(f"/proc/{pid}/fd"))


def watch(run: subprocess.Popen[bytes]) -> list[tuple[float, float, int]]:
    """Seconds, memory in MiB and descriptors, every second until the run ends."""
    samples = []
    began = time.monotonic()
    while run.poll() is None:
        try:
            samples.append((time.monotonic() - began, *status_of(run.pid)))
        except (OSError, StopIteration):
            break
        time.sleep(1)
    run.wait()
    return samples


def slope(samples: list[tuple[float, float, int]]) -> float:
    """Of memory, in MiB an hour."""
    times, sizes = [one[0] for one in samples], [one[1] for one in samples]
    middle, mean = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((time - middle) ** 2 for time in times)
    return 3600 * sum((t - middle) * (size - mean) for t, size in zip(times, sizes, strict=True)) / spread


def check(folder: Path, requests: int, ledger: dict[str, int]) -> dict[str, object]:
    """What the run directory holds, beside what it must hold."""
    seen: dict[str, int] = {}
    failed = wrong = drafts = accepted = tokens = 0
    with (folder / "output.jsonl").open() as lines:
        for line in lines:
            for record in json.loads(line)["requests"]:
                seen[record["question_id"]] = seen.get(record["question_id"], 0) + 1
                bad = record["error"] is not None
                failed += bad
                wrong += bad != (fault_of(int(record["question_id"])) is not None)
                if not bad:
                    drafts += record["counts"]["num_drafts"]
                    accepted += record["counts"]["num_accepted_tokens"]
                    tokens += record["completion_tokens"]
    metrics = json.loads((folder / "metrics.json").read_text())
    acceptance = metrics["overall"]["acceptance"]
    return {
        "every request once": len(seen) == requests and set(seen.values()) == {1},
        "failed": failed,
        "failed though not ordered, or the other way": wrong,
        "sums are the ledger's": {"drafts": drafts, "accepted": accepted, "tokens": tokens}
        == {name: ledger[name] for name in ("drafts", "accepted", "tokens")},
        "result is the ledger's": (acceptance["num_drafts"], acceptance["num_accepted_tokens"])
        == (ledger["drafts"], ledger["accepted"]),
        "acceptance length": acceptance["acceptance_length"],
        "findings": [finding["code"] for finding in acceptance["findings"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=20.5, help="at least so long")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--good", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--no-statistics", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        asyncio.run(serve(given.serve, good=given.good, statistics=not given.no_statistics))
        return
    seconds = given.minutes * 60 * given.concurrency / given.requests
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        prompts = Path(folder) / "prompts.jsonl"
        with prompts.open("w") as file:
            for number in range(given.requests):
                row = {"id": str(number), "category": "abcd"[number % 4], "turns": [f"Number {number}"]}
                file.write(json.dumps(row) + "\n")
        server = subprocess.Popen([sys.executable, __file__, "--serve", str(seconds)], stdout=subprocess.PIPE)
        assert server.stdout is not None
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            began = time.monotonic()
            command = [
                sys.executable,
                "-c",
                "from nemo_skills_specdec.cli import main; main()",
                "eval",
                "--server-url",
                url,
            ]
            command += [
                "--prompts",
                str(prompts),
                "--concurrency",
                str(given.concurrency),
                "--output-dir",
                f"{folder}/run",
                "--warmup",
                "8",
            ]
            run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            samples = watch(run)
            took = time.monotonic() - began
            with urllib.request.urlopen(f"{url}/ledger") as answer:
                ledger = json.load(answer)
            # The first is the interpreter starting; the last are the files being written.
            steady = [one for one in samples if 0.5 * took < one[0] < 0.97 * took]
            told = {
                "exit code": run.returncode,
                "seconds": round(took, 1),
                **check(Path(folder) / "run", given.requests, ledger),
                "memory MiB at 10 %, 50 %, 97 % and the most": [
                    *(round(samples[int(len(samples) * part)][1], 1) for part in (0.1, 0.5, 0.97)),
                    round(max(one[1] for one in samples), 1),
                ],
                "slope MiB/h": round(slope(steady), 2),
                "descriptors at the half and at 97 %": [
                    samples[len(samples) // 2][2],
                    samples[int(len(samples) * 0.97)][2],
                ],
                "left in the run directory": sorted(os.listdir(Path(folder) / "run")),
            }
            print(json.dumps(told, indent=2))
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
