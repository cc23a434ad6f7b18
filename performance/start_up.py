"""What a command costs before it does anything: CPU time in units of an empty interpreter.

    python performance/start_up.py

Of each command the least of several runs is taken: everything else is other work on the machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LIMITS = {"--version": 6, "--help": 6, "eval --help": 6, "diff": 10}
"""Times an empty interpreter that each may cost."""

EMPTY = [sys.executable, "-c", "pass"]
MAIN = [sys.executable, "-c", "from nemo_skills_specdec.cli import main; main()"]

SERIES = """vllm:spec_decode_num_drafts_total{{engine="0"}} {0}
vllm:spec_decode_num_draft_tokens_total{{engine="0"}} {1}
vllm:spec_decode_num_accepted_tokens_total{{engine="0"}} {0}
vllm:generation_tokens_total{{engine="0"}} {1}
vllm:prompt_tokens_total{{engine="0"}} {1}
vllm:request_success_total{{engine="0",finished_reason="stop"}} {0}
"""


def cpu_seconds(command: list[str], runs: int) -> float:
    """The least user and system time of some runs."""
    least = float("inf")
    for _ in range(runs):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} exits with {process.returncode}")
        least = min(least, usage.ru_utime + usage.ru_stime)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        texts = [Path(folder, name) for name in ("before.txt", "after.txt")]
        for number, text in enumerate(texts, 1):
            text.write_text(SERIES.format(10 * number, 30 * number))
        arguments = {name: name.split() for name in LIMITS} | {"diff": ["diff", *map(str, texts)]}
        unit = cpu_seconds(EMPTY, runs)
        print(f"empty interpreter: {1000 * unit:.1f} ms")
        missed = False
        for name, limit in LIMITS.items():
            seconds = cpu_seconds([*MAIN, *arguments[name]], runs)
            missed |= seconds > limit * unit
            print(f"{name:12} {1000 * seconds:6.1f} ms  {seconds / unit:5.1f} of at most {limit}")
    raise SystemExit(int(missed))


if __name__ == "__main__":
    main()
