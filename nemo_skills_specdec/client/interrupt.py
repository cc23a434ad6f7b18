"""Turns the first interrupt into a request to stop, so that nothing measured is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def first_signal(ask: Callable[[], None]) -> Iterator[None]:
    """Calls `ask` at the first SIGINT, SIGTERM or SIGHUP, and puts the former handlers back, so a second one works.

    Signals that are ignored stay so; outside the main thread, which alone gets them, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

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
