"""The command that starts vLLM or SGLang with its metrics on: pure functions of the options and the version."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import msgspec

from nemo_skills_specdec.engines import vllm
from nemo_skills_specdec.engines.sglang import facts as sglang
from nemo_skills_specdec.engines.versions import at_least
from nemo_skills_specdec.launch.methods import Method, to_sglang, to_vllm
from nemo_skills_specdec.launch.options import ServerOptions, check_server

HOST = "127.0.0.1"


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What is run.

    Attributes:
        environment: added to this process's own.
        remarks: what of the description has no counterpart in this engine.
        request_files: the folder of SGLang's request-metric files, if they are switched on.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]
    remarks: tuple[str, ...] = ()
    request_files: Path | None = None


def engine_command(
    model: str,
    method: Method,
    server: ServerOptions,
    *,
    port: int,
    version: str | None = None,
    request_files: Path | None = None,
) -> Command:
    """The command of an engine from its own environment.

    Args:
        model: path or Hub name.
        version: of the engine; None stands for the newest.
        request_files: where SGLang may put its request-metric files. They hold whole prompts, so they are switched on
            only for the versions whose streamed responses say nothing about acceptance (0.5.6 to 0.5.18).

    Raises:
        UsageError: the options contradict each other, or the engine lacks the method.
    """
    check_server(server)
    if server.engine == "vllm":
        return _vllm(model, method, server, port, version)
    return _sglang(model, method, server, port, version, request_files)


def shell_line(command: Command) -> str:
    """The command as one line for a shell."""
    settings = [f"{name}={shlex.quote(value)}" for name, value in command.environment.items() if name != "PATH"]
    return " ".join([*settings, shlex.join(command.arguments)])


def _vllm(model: str, method: Method, server: ServerOptions, port: int, version: str | None) -> Command:
    translated = to_vllm(method, version)
    program = ["vllm"] if server.python is None else [server.python, "-m", "vllm.entrypoints.cli.main"]
    arguments = [*program, "serve", model, "--host", HOST, "--port", str(port)]
    arguments += _options(
        {
            "--served-model-name": server.served_model_name,
            "--tensor-parallel-size": server.tensor_parallel_size,
            "--gpu-memory-utilization": server.gpu_memory_utilization,
            "--max-num-seqs": server.max_num_seqs,
            "--max-model-len": server.max_model_len,
            "--dtype": server.dtype,
        }
    )
    if server.enforce_eager:
        arguments.append("--enforce-eager")
    arguments += translated.arguments
    # vLLM refuses the flag without speculation.
    if translated.arguments and at_least(version, vllm.STATISTICS_SINCE) is not False:
        arguments += [vllm.STATISTICS_OPTION, "detailed"]
    # Development mode, on the loopback address only, tells the speculative settings and lets caches be emptied
    # between runs. An inherited key would lock us out of our own server.
    environment = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_API_KEY": ""}
    return Command(
        arguments=(*arguments, *server.arguments),
        environment=_environment(environment, server),
        remarks=translated.remarks,
    )


def _sglang(
    model: str, method: Method, server: ServerOptions, port: int, version: str | None, request_files: Path | None
) -> Command:
    translated = to_sglang(method, version)
    arguments = [server.python or "python", "-m", "sglang.launch_server", "--model-path", model]
    arguments += ["--host", HOST, "--port", str(port), sglang.METRICS_OPTION]
    arguments += _options(
        {
            "--served-model-name": server.served_model_name,
            "--tp-size": server.tensor_parallel_size,
            "--mem-fraction-static": server.gpu_memory_utilization,
            "--max-running-requests": server.max_num_seqs,
            "--context-length": server.max_model_len,
            "--dtype": server.dtype,
        }
    )
    if server.enforce_eager and at_least(version, (0, 5, 23)) is False:
        arguments.append("--disable-cuda-graph")
    elif server.enforce_eager:
        arguments += ["--cuda-graph-backend-decode", "disabled", "--cuda-graph-backend-prefill", "disabled"]
    arguments += translated.arguments
    files = (
        request_files
        if at_least(version, sglang.FILES_SINCE) and at_least(version, sglang.DETAILS_SINCE) is False
        else None
    )
    if files is not None and translated.arguments:
        arguments += [sglang.FILES_OPTION, sglang.FILES_FOLDER_OPTION, str(files)]
    return Command(
        arguments=(*arguments, *server.arguments),
        environment=_environment({}, server),
        remarks=translated.remarks,
        request_files=files if translated.arguments else None,
    )


def _options(values: Mapping[str, object]) -> list[str]:
    return [text for flag, value in values.items() if value is not None for text in (flag, str(value))]


def _environment(own: Mapping[str, str], server: ServerOptions) -> dict[str, str]:
    environment = {**own, **server.environment}
    if server.python is not None and os.sep in server.python and "PATH" not in environment:
        # Engines compile at run time and look for ninja and their own programs on the PATH.
        folder = str(Path(server.python).parent)
        environment["PATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PATH")]))
    return environment
