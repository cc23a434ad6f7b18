"""Runs the client from plain code so that an interrupt stops the sending and loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


def run_interruptible(main: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Runs `main(stop)` to its end; the first SIGINT or SIGTERM sets `stop`, the second acts as it did before.

    Where an event loop already runs in this thread, as in a notebook, `main` runs in a thread of its own.
    """
    asked = threading.Event()
    wake: list[Callable[[], object]] = []

    async def with_stop() -> T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        wake.append(lambda: loop.call_soon_threadsafe(stop.set))
        if asked.is_set():
            stop.set()
        return await main(stop)

    def ask() -> None:
        asked.set()
        for call in wake:
            call()

    with _first_signal(ask):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(with_stop())
        with ThreadPoolExecutor(1, thread_name_prefix="specdec-client") as pool:
            return pool.submit(asyncio.run, with_stop()).result()


@contextlib.contextmanager
def _first_signal(ask: Callable[[], None]) -> Iterator[None]:
    """Calls `ask` at the first SIGINT or SIGTERM, and puts the former handlers back at once, so a second one works."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in former.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        restore()
        ask()

    for number, handler in former.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
