"""Killed at any moment and started again, the preparation gives the same files."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from invented import SHA, Invented

_RUN = """
import sys
sys.path[:0] = {tests!r}
import os
os.environ["HF_HUB_CACHE"] = {cache!r} + "/hf"
from pathlib import Path
from invented import WordEncoder
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.speed_bench.prepare import Options, prepare
fetcher = Fetcher(endpoint={hub!r}, token="good", hosts=[{plain!r}])
options = Options(configs=("qualitative", "throughput_1k"), folder=Path({folder!r}), revision={sha!r},
                  texts_from=Path({wording!r}), allow_unknown_texts=True, encoder=WordEncoder())
print("begun", flush=True)
prepare(options, fetcher, Cache(Path({cache!r})), lambda line: None)
"""

REPOSITORY = Path(__file__).parents[3]


def command(invented: Invented, wording: Path, folder: Path, cache: Path) -> list[str]:
    code = _RUN.format(
        # The invented data needs its stand-in server's module too.
        tests=[str(Path(__file__).parent), str(Path(__file__).parents[1] / "hub")],
        hub=invented.hub.url,
        plain=invented.plain.host,
        folder=str(folder),
        sha=SHA,
        wording=str(wording),
        cache=str(cache),
    )
    return [sys.executable, "-c", code]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.endswith(".tmp")}


@pytest.mark.timeout(170)
def test_killed_at_any_moment_and_started_again_it_gives_the_same_files(
    invented: Invented, wording: Path, tmp_path: Path
) -> None:
    calm = tmp_path / "calm"
    subprocess.run(command(invented, wording, calm, tmp_path / "calm-cache"), check=True, cwd=REPOSITORY)
    expected = contents(calm)
    assert set(expected) == {
        ".gitignore",
        "qualitative.jsonl",
        "qualitative.manifest.json",
        "throughput_1k.jsonl",
        "throughput_1k.manifest.json",
    }
    invented.hub.latency = invented.plain.latency = 0.02
    folder, cache = tmp_path / "killed", tmp_path / "killed-cache"
    kills = 0
    for attempt in range(30):
        process = subprocess.Popen(command(invented, wording, folder, cache), stdout=subprocess.PIPE, cwd=REPOSITORY)
        assert process.stdout is not None
        process.stdout.readline()
        # Each run gets a little further than the one before it.
        time.sleep(0.2 * attempt)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        code = process.wait()
        process.stdout.close()
        if folder.exists():
            # What is there is whole, whenever the kill came.
            for name, data in contents(folder).items():
                assert data == expected[name]
        if code == 0:
            break
    assert code == 0
    assert kills >= 3
    assert contents(folder) == expected
