"""Flags that switch on the best source of acceptance of a server that NeMo-Skills starts.

Which flags a server takes depends on its version, which is known only inside its container; an unknown flag would keep
it from starting. So what depends on the version is decided there, by a few words of shell in the server's command.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import uuid4

from nemo_skills_specdec.engines import vllm
from nemo_skills_specdec.engines.sglang import facts as sglang
from nemo_skills_specdec.engines.versions import version_text

LOG = logging.getLogger("nemo_skills.specdec")

VLLM_SERVERS = frozenset({"vllm", "vllm_multimodal", "vllm_dp_ray"})
"""NeMo-Skills' names for servers that are vLLM."""

_SPECULATES = re.compile(r"(^|\s)(-sc|--speculative)")

# No double quote and no backslash: the command passes through shells that quote it with them.
_PROBE = (
    "import sys; from importlib.metadata import version as v; from packaging.version import Version as V; "
    "n, low, high, *flags = sys.argv[1:]; print(*flags if V(low) <= V(v(n)) < V(high) else [])"
)


Builder = Callable[..., tuple[str, int]]
"""NeMo-Skills' `get_server_command`: settings of a server to its command and number of tasks."""


def telling_builder(build: Builder) -> Builder:
    """NeMo-Skills' builder of server commands, with the flags that make the server tell what it accepts."""

    @wraps(build)
    def build_with_statistics(
        *positional: Any, server_args: str = "", cluster_config: Any = None, **rest: Any
    ) -> tuple[str, int]:
        executor = (cluster_config or {}).get("executor")
        files = tempfile.mkdtemp(prefix="sglang-request-metrics-") if executor == "none" else None
        if executor in ("local", "slurm"):
            # Where the containers of one job see the job's own folder.
            files = f"/nemo_run/sglang-request-metrics-{uuid4().hex[:8]}"
        arguments = with_statistics(rest.get("server_type", ""), server_args, files)
        if arguments != server_args:
            LOG.info("The server gets flags that make it tell what it accepts: --server_args=%r", arguments)
        return build(*positional, server_args=arguments, cluster_config=cluster_config, **rest)

    build_with_statistics.adds_statistics = True  # type: ignore[attr-defined]
    return build_with_statistics


def builder_without_cluster(build: Builder) -> Builder:
    """NeMo-Skills' builder of server commands, which leaves a cluster config that can be stored.

    The default that NeMo-Skills makes up where no cluster is given cannot be written into an experiment that holds a
    `ServerScript`, so that no server could be started without a cluster config.
    """

    @wraps(build)
    def build_and_leave_storable(*positional: Any, cluster_config: Any = None, **rest: Any) -> tuple[str, int]:
        if isinstance(cluster_config, dict) and isinstance(cluster_config.get("containers"), defaultdict):
            names = (rest.get("server_type", ""), "nemo-skills", "sandbox")
            cluster_config["containers"] = dict.fromkeys(names, "")
        return build(*positional, cluster_config=cluster_config, **rest)

    return build_and_leave_storable


def have_server_scripts_tell() -> None:
    """Has the servers that `ns eval` starts tell what they accept, where it does not ask a task for their command.

    Since May 2026 it builds a `ServerScript`, which calls `get_server_command` itself; nothing that a benchmark sets
    reaches the arguments. The name that it calls is therefore replaced, in this process only.
    """
    try:
        from nemo_skills.pipeline.utils.scripts import server
    except ImportError:
        return
    build = getattr(server, "get_server_command", None)
    if build is None:
        LOG.warning(
            "This NeMo-Skills lets nothing add flags to the servers that it starts. Add to --server_args: "
            "for vLLM %s detailed, for SGLang %s.",
            vllm.STATISTICS_OPTION,
            sglang.METRICS_OPTION,
        )
    elif not hasattr(build, "adds_statistics"):
        server.get_server_command = telling_builder(builder_without_cluster(build))


def with_statistics(server_type: str, server_args: str, request_files: str | None) -> str:
    """Server arguments with the flags that make the server tell what it accepts; what the user says himself stays.

    Args:
        request_files: folder for SGLang's request-metric files, as the server sees it; None for none.
    """
    own = server_args or ""
    if not _SPECULATES.search(own):
        return own
    added: list[str] = []
    if server_type in VLLM_SERVERS and vllm.STATISTICS_OPTION not in own:
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
