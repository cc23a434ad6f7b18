"""Flags that switch on the best source of acceptance of a server that NeMo-Skills starts.

Which flags a server takes depends on its version, which is known only inside its container; an unknown flag would keep
it from starting. So what depends on the version is decided there, by a few words of shell in the server's command.
"""

from __future__ import annotations

import re

VLLM_STATISTICS = "--per-request-spec-decode-metrics"
SGLANG_METRICS = "--enable-metrics"
SGLANG_FILES = "--export-metrics-to-file"

_SPECULATES = re.compile(r"(^|\s)(-sc|--speculative)")

# No double quote and no backslash: the command passes through shells that quote it with them.
_PROBE = (
    "import sys; from importlib.metadata import version as v; from packaging.version import Version as V; "
    "n, low, high, *flags = sys.argv[1:]; print(*flags if V(low) <= V(v(n)) < V(high) else [])"
)


def with_statistics(server_type: str, server_args: str, request_files: str | None) -> str:
    """Server arguments with the flags that make the server tell what it accepts; what the user says himself stays.

    Args:
        server_type: NeMo-Skills' name of the server.
        server_args: as the user gave them.
        request_files: folder for SGLang's request-metric files, as the server sees it; None for none.
    """
    own = server_args or ""
    if not _SPECULATES.search(own):
        return own
    added: list[str] = []
    if server_type in ("vllm", "vllm_multimodal") and VLLM_STATISTICS not in own:
        added.append(_if_version("vllm", "0.29", "999", f"{VLLM_STATISTICS} detailed"))
    if server_type == "sglang":
        if SGLANG_METRICS not in own.split():
            added.append(SGLANG_METRICS)
        if SGLANG_FILES not in own.split() and request_files is not None:
            # From 0.5.13 on the same numbers stand in the responses, and no file with all prompts is needed.
            added.append(_if_version("sglang", "0.5.6", "0.5.13", f"{SGLANG_FILES} {SGLANG_FILES}-dir {request_files}"))
    return " ".join([*added, own]).strip()


def _if_version(package: str, low: str, high: str, flags: str) -> str:
    return f"$(python3 -c '{_PROBE}' {package} {low} {high} {flags})"
