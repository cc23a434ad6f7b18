import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from client_server import GOOD, ask_url, prompts, serving, stream

from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions, Sent
from nemo_skills_specdec.client.interrupt import first_signal
from nemo_skills_specdec.client.send import send_all

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_handlers_are_put_back(number):
    before = signal.getsignal(number)
    asked = threading.Event()
    with first_signal(asked.set):
        os.kill(os.getpid(), number)
        assert asked.wait(5)
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_the_second_interrupt_acts_as_usual():
    asked = threading.Event()

    def interrupted_twice() -> None:
        with first_signal(asked.set):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert asked.is_set()


def test_without_a_signal_nothing_is_asked_and_the_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT)
    asked = threading.Event()
    with first_signal(asked.set):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    assert not asked.is_set()


def test_it_works_outside_the_main_thread():
    found: list[bool] = []

    def work() -> None:
        with first_signal(lambda: None):
            found.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True]


def interrupted_in_mid_run(**options: object) -> Sent:
    """With a real server in another thread and a real signal, once four requests have been answered."""
    ready = threading.Event()
    over = threading.Event()
    urls: list[str] = []
    count = 0

    async def handler(request):
        nonlocal count
        count += 1
        if count == 6:
            asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), signal.SIGINT)
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
        return send_all(
            prompts(20),
            url=urls[0],
            request=RequestOptions(model="m"),
            load=LoadOptions(concurrency=2),
            **options,
        )
    finally:
        over.set()
        thread.join(10)


def test_an_interrupt_in_mid_run_keeps_what_was_measured():
    sent = interrupted_in_mid_run()
    assert sent.interrupted is True
    assert [exchange.outcome for exchange in sent.exchanges] == ["answered"] * 4 + ["interrupted"] * 2
    assert [exchange.error for exchange in sent.exchanges] == [None] * 4 + ["interrupted"] * 2
    assert len(sent.not_sent) == 14


def test_a_second_interrupt_while_it_stops_still_hands_over_what_was_answered():
    seen = []

    def note(exchange):
        seen.append(exchange.question_id)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    with pytest.raises(KeyboardInterrupt):
        interrupted_in_mid_run(on_exchange=note)
    assert set(seen) >= {"q0", "q1", "q2", "q3"}


def test_it_works_where_an_event_loop_already_runs():
    async def handler(request):
        os.kill(os.getpid(), signal.SIGINT)
        return await stream(request, GOOD[0], 30.0)

    async def notebook() -> Sent:
        urls: list[str] = []
        ready, over = threading.Event(), threading.Event()

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
            return send_all(prompts(1), url=urls[0], request=RequestOptions(model="m"), load=LoadOptions())
        finally:
            over.set()
            thread.join(10)

    assert asyncio.run(notebook()).interrupted is True


def test_stopping_before_anything_is_sent_sends_nothing():
    stop = threading.Event()
    stop.set()
    seen = 0

    async def handler(request):
        nonlocal seen
        seen += 1
        return await stream(request, *GOOD)

    async def main() -> Sent:
        async with serving(handler) as url:
            return await ask_url(url, count=3, stop=stop)

    sent = asyncio.run(main())
    assert (sent.interrupted, len(sent.exchanges) + len(sent.not_sent)) == (True, 3)


def test_a_process_that_ignores_interrupts_goes_on_ignoring_them():
    code = (
        "import os, signal, threading\n"
        "from nemo_skills_specdec.client.interrupt import first_signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "stop = threading.Event()\n"
        "with first_signal(stop.set):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print(stop.wait(0.2))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
