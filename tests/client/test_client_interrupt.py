import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from client_server import GOOD, prompts, serving, stream

from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions, Sent
from nemo_skills_specdec.client.interrupt import run_interruptible
from nemo_skills_specdec.client.send import send_all

ROOT = Path(__file__).parents[2]


async def until_stopped(stop: asyncio.Event) -> str:
    await asyncio.wait_for(stop.wait(), 10)
    return "stopped"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_the_handlers_are_put_back(number):
    before = signal.getsignal(number)
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
    assert run_interruptible(until_stopped) == "stopped"
    assert signal.getsignal(number) is before


def test_the_second_interrupt_acts_as_usual():
    async def stubborn(stop: asyncio.Event) -> None:
        await asyncio.sleep(10)

    for delay in (0.2, 0.4):
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_interruptible(stubborn)
    assert time.monotonic() - started < 5


def test_it_works_where_an_event_loop_already_runs():
    async def notebook() -> str:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        return run_interruptible(until_stopped)

    assert asyncio.run(notebook()) == "stopped"


def test_it_works_outside_the_main_thread():
    async def main(stop: asyncio.Event) -> int:
        return 7

    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(run_interruptible(main)))
    thread.start()
    thread.join()
    assert found == [7]


def test_errors_pass_through():
    async def main(stop: asyncio.Event) -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        run_interruptible(main)


def test_an_interrupt_in_mid_run_keeps_what_was_measured():
    """With a real server in another thread and a real signal."""
    ready = threading.Event()
    over = threading.Event()
    urls: list[str] = []
    count = 0

    async def handler(request):
        nonlocal count
        count += 1
        return await stream(request, *(GOOD if count <= 4 else (GOOD[0], 30.0)))

    async def serve() -> None:
        async with serving(handler) as url:
            urls.append(url)
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    try:
        threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT)).start()
        sent: Sent = send_all(
            prompts(20), url=urls[0], request=RequestOptions(model="m"), load=LoadOptions(concurrency=2)
        )
    finally:
        over.set()
        thread.join(10)
    assert sent.interrupted is True
    assert [exchange.error for exchange in sent.exchanges] == [None] * 4 + ["interrupted"] * 2
    assert len(sent.not_sent) == 14


def test_a_process_that_ignores_interrupts_goes_on_ignoring_them():
    code = (
        "import asyncio, os, signal\n"
        "from nemo_skills_specdec.client.interrupt import run_interruptible\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "async def main(stop):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    await asyncio.sleep(0.2)\n"
        "    return stop.is_set()\n"
        "print(run_interruptible(main))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


def test_an_interrupt_before_the_loop_runs_is_not_lost(monkeypatch):
    run = asyncio.run

    def late(main):
        os.kill(os.getpid(), signal.SIGINT)
        return run(main)

    monkeypatch.setattr(asyncio, "run", late)
    assert run_interruptible(until_stopped) == "stopped"
