"""Flags that switch on the best source of acceptance of a server that NeMo-Skills starts.

Which flags a server takes depends on its version, which is known only inside its container; an unknown flag would keep
it from starting. So what depends on the version is decided there, by a few words of shell in the server's command.
"""

from __future__ import annotations

import re

from nemo_skills_specdec.engines import vllm
from nemo_skills_specdec.engines.sglang import facts as sglang
from nemo_skills_specdec.engines.versions import version_text

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
    if server_type in ("vllm", "vllm_multimodal") and vllm.STATISTICS_OPTION not in own:
        added.append(_if_version("vllm", vllm.STATISTICS_SINCE, (999,), f"{vllm.STATISTICS_OPTION} detailed"))
    if server_type == "sglang":
        if sglang.METRICS_OPTION not in own.split():
            added.append(sglang.METRICS_OPTION)
        if sglang.FILES_OPTION not in own.split() and request_files is not None:
            # Later the same numbers stand in the responses, and no file with all prompts is needed.
            flags = f"{sglang.FILES_OPTION} {sglang.FILES_FOLDER_OPTION} {request_files}"
            added.append(_if_version("sglang", sglang.FILES_SINCE, sglang.META_INFO_SINCE, flags))
    return " ".join([*added, own]).strip()


def _if_version(package: str, low: tuple[int, ...], high: tuple[int, ...], flags: str) -> str:
    return f"$(python3 -c '{_PROBE}' {package} {version_text(low)} {version_text(high)} {flags})"
