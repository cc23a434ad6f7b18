"""SGLang's request-metric files: one JSON line a finished request, appended some time after its response."""

import asyncio
import time
from pathlib import Path

import msgspec

from nemo_skills_specdec.embedded.dialect import Body

WRITE_DELAY_SECONDS = 0.02
"""A reader must not expect the line right after the response; SGLang's lag was up to 0.12 s."""


class RequestFileWriter:
    """Writes `sglang-request-metrics-YYYYMMDD_HH.log`, named by the local hour of completion."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lines: list[tuple[str, bytes]] = []
        self._writing: asyncio.TimerHandle | None = None

    def add(self, record: Body) -> None:
        """Queues one record."""
        name = time.strftime("sglang-request-metrics-%Y%m%d_%H.log")
        self._lines.append((name, msgspec.json.encode(record) + b"\n"))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(WRITE_DELAY_SECONDS, self.flush)

    def flush(self) -> None:
        """Writes what is queued."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        for name in dict.fromkeys(name for name, _ in self._lines):
            with open(self._folder / name, "ab") as file:
                file.write(b"".join(line for other, line in self._lines if other == name))
        self._lines.clear()
