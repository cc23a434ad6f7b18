"""Which way leads through the NeMo-Skills that is here: the name to use, what reaches a job, the commands to type."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.evaluator.dataset_folders import SHIPPED
from nemo_skills_specdec.evaluator.installation import Installation
from nemo_skills_specdec.evaluator.shipping import (
    REQUIREMENTS,
    Shipment,
    has_uncommitted_changes,
    installation,
    shipment,
)
from nemo_skills_specdec.prompts.catalog import ALIAS
from nemo_skills_specdec.prompts.prompt_set import SPEED_BENCH

NAME = SPEED_BENCH + ALIAS
"""The name that means our benchmark in every NeMo-Skills."""


class ClusterConfig(msgspec.Struct, kw_only=True):
    """What matters here of one of NeMo-Skills' cluster configs.

    Attributes:
        name: as `--cluster` takes it.
        folder: as `--config_dir` takes it.
        mounts: folders of the cluster and where they are seen in a container.
        tunnel: whether it is reached over ssh, so that its files are not here.
        data_dir: the data folder it sets for every job, as a job sees it.
    """

    name: str
    folder: Path
    executor: str
    mounts: list[tuple[str, str]] = []
    tunnel: bool = False
    data_dir: str | None = None


class Road(msgspec.Struct, kw_only=True):
    """What to do.

    Attributes:
        name: of the benchmark, in all commands.
        facts: what was found, by what it is about.
        prepare: the first command to type.
        evaluate: the second.
        problems: what keeps the commands from working.
    """

    name: str
    facts: dict[str, str]
    prepare: str
    evaluate: str
    problems: list[str] = []


def read_cluster(name: str, config_dir: Path | None) -> ClusterConfig:
    """A cluster config, looked for where `ns` looks.

    Raises:
        UsageError: there is none of that name, or it cannot be read.
    """
    import yaml

    given = config_dir or (
        Path(os.environ["NEMO_SKILLS_CONFIG_DIR"]) if "NEMO_SKILLS_CONFIG_DIR" in os.environ else None
    )
    folder = (given or Path("cluster_configs")).absolute()
    path = folder / f"{name}.yaml"
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); name the folder with --config-dir") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(told, Mapping) or not isinstance(told.get("executor"), str):
        raise UsageError(f"{path} is not a cluster config: it names no executor")
    mounts = [tuple(str(mount).split(":")[:2]) for mount in told.get("mounts") or ()]
    return ClusterConfig(
        name=name,
        folder=folder,
        executor=told["executor"],
        mounts=[(mount[0], mount[1]) for mount in mounts if len(mount) == 2],
        tunnel=bool(told.get("ssh_tunnel")),
        data_dir=_variable(told, "NEMO_SKILLS_DATA_DIR"),
    )


def road_through(
    here: Installation, cluster: ClusterConfig | None, server: ServerInfo | None, current_folder: Path
) -> Road:
    """The way through this NeMo-Skills.

    Args:
        cluster: where jobs run; None without one.
        server: that is running already; None for one that is not known yet or that a job starts.
        current_folder: where data and results go without containers.
    """
    taken = sorted(name for name in SHIPPED if name in here.benchmarks)
    sent = shipment()
    data, data_in_job, output = _places(cluster, current_folder)
    facts = {
        "NeMo-Skills": f"{here.folder}" + (f", from {here.origin}" if here.origin else ""),
        "road": "--data_dir, which every NeMo-Skills has" + _other_road(here),
        "name": NAME + _plain_name(taken),
        "server flags": {
            "task": "added to servers that ns eval starts",
            "builder": "added to servers that ns eval starts, and shown in its log",
            "none": "not added: " + _flags_by_hand(),
        }[here.server_flags],
        "package in jobs": _reach(sent, cluster),
    }
    problems = []
    if cluster is not None and cluster.executor != "none":
        lacking = installation([REQUIREMENTS["msgspec"]])
        facts["what a job lacks"] = f"it installs when it starts; on nodes without a network add {lacking}"
        if cluster.tunnel:
            facts["where to prepare"] = f"on the cluster, where {data} is"
        if sent.form == "checkout" and has_uncommitted_changes(sent.folder):
            problems.append(
                f"{sent.folder} has changes that are not committed, and NeMo-Skills sends nothing then; commit them, "
                "or set NEMO_SKILLS_DISABLE_UNCOMMITTED_CHANGES_CHECK=1 to have the last commit sent"
            )
    for place in {data, current_folder / os.environ.get("NEMO_SKILLS_DATA_DIR", "data")}:
        problems += [
            f"{place / name} would not be used: NeMo-Skills takes its own {name} and prints figures of another "
            f"definition; rename the folder to {name}{ALIAS}"
            for name in taken
            if (place / name).is_dir()
        ]
    return Road(
        name=NAME,
        facts=facts,
        prepare=f"ns-specdec prepare {NAME} --data-dir={_quoted(data)}",
        evaluate=_evaluate(cluster, server, data_in_job, output),
        problems=problems,
    )


def _other_road(here: Installation) -> str:
    told = {
        "map": "; from a checkout also NEMO_SKILLS_EXTRA_BENCHMARK_MAP=<checkout>/benchmark_map.json",
        "folder": "; from a checkout also NEMO_SKILLS_EXTRA_DATASETS=<checkout>/dataset",
        "none": "",
    }
    return told[here.external]


def _plain_name(taken: list[str]) -> str:
    if SPEED_BENCH in taken:
        return f" ({SPEED_BENCH} alone is NeMo-Skills' own benchmark here, whose figures have another definition)"
    return f" ({SPEED_BENCH} alone means the same here)"


def _flags_by_hand() -> str:
    from nemo_skills_specdec.engines import vllm
    from nemo_skills_specdec.engines.sglang import facts as sglang

    return f"add to --server_args {vllm.STATISTICS_OPTION} detailed (vLLM) or {sglang.METRICS_OPTION} (SGLang)"


def _reach(sent: Shipment, cluster: ClusterConfig | None) -> str:
    if cluster is None or cluster.executor == "none":
        return "is imported from where it is installed; there are no containers"
    return {
        "checkout": f"yes, as committed in {sent.folder}; commit changes first",
        "package": f"yes, the folder {sent.folder}",
        "copy": f"yes, a copy of {sent.folder}, which lies inside another project's git repository",
    }[sent.form]


def _places(cluster: ClusterConfig | None, current_folder: Path) -> tuple[Path, str, str]:
    """Where to prepare, where a job sees that, and where it writes results."""
    if cluster is None or cluster.executor == "none" or not cluster.mounts:
        return current_folder / "data", str(current_folder / "data"), str(current_folder / "results")

    def mounted(word: str) -> tuple[str, str]:
        return next((mount for mount in cluster.mounts if word in mount[1]), cluster.mounts[0])

    source, target = mounted("data")
    inside = cluster.data_dir or (target if "data" in target else f"{target}/data")
    for outer, inner in cluster.mounts:
        if inside == inner or inside.startswith(f"{inner}/"):
            source = outer + inside.removeprefix(inner)
    return Path(source), inside, f"{mounted('result')[1]}/{SPEED_BENCH}"


def _evaluate(cluster: ClusterConfig | None, server: ServerInfo | None, data_dir: str, output: str) -> str:
    words = ["ns eval"]
    if cluster is not None:
        words.append(f"--cluster={cluster.name} --config_dir={_quoted(cluster.folder)}")
    words.append(f"--data_dir={_quoted(data_dir)} --benchmarks={NAME} --output_dir={_quoted(output)}")
    if server is not None:
        model = shlex.quote(server.models[0]) if server.models else "<served name>"
        kind = server.engine if server.engine in ("vllm", "sglang") else "openai"
        words.append(f"--server_type={kind} --server_address={server.base_url}/v1 --model={model}")
    elif cluster is None or cluster.executor == "none":
        words.append("--server_type=vllm --server_address=http://localhost:8000/v1 --model=<served name>")
    else:
        words.append("--server_type=vllm --server_gpus=8 --model=<folder or hub name of the model>")
        # As options of their own, since JSON loses its quotes on the way through NeMo-Skills of 2025.
        words.append(
            '--server_args="--speculative-config.method eagle3 --speculative-config.model <draft model> '
            '--speculative-config.num_speculative_tokens 3"'
        )
    words.append("++inference.tokens_to_generate=1024 ++max_concurrent_requests=32")
    return " \\\n   ".join(words)


def _variable(config: Mapping[str, Any], name: str) -> str | None:
    for given in config.get("env_vars") or ():
        key, found, value = str(given).partition("=")
        if key == name:
            return value if found else os.environ.get(name)
    return None


def _quoted(path: object) -> str:
    return shlex.quote(str(path))
