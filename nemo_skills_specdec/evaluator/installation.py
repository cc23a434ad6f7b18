"""Which NeMo-Skills is installed here: what its code can do, read from its files without running them.

Its version says nothing (0.7.0 from October 2025 to July 2026), and importing it takes half a minute.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """A NeMo-Skills.

    Attributes:
        folder: of the package `nemo_skills`.
        origin: where it was installed from, as far as that is on record.
        benchmarks: names of its own benchmarks.
        external: how benchmarks of others are named to it, besides `--data_dir`: by a map of names to folders, or by a
            folder of such folders.
        server_flags: how flags get to a server that `ns eval` starts: asked of the task, given to the builder of its
            servers, or not at all.
        prepare_installs: whether `ns prepare_data` knows `--installation_command`.
        evaluates_in_own_process: whether outputs are evaluated in a process of their own.
    """

    folder: Path
    origin: str | None
    benchmarks: frozenset[str]
    external: Literal["map", "folder", "none"]
    server_flags: Literal["task", "builder", "none"]
    prepare_installs: bool
    evaluates_in_own_process: bool


def find_installation() -> Installation | None:
    """The NeMo-Skills that is installed where this runs; None without one."""
    try:
        found = find_spec("nemo_skills")
    except (ImportError, ValueError):
        return None
    if found is None or not found.submodule_search_locations:
        return None
    return read_installation(Path(next(iter(found.submodule_search_locations))), origin=_origin())


def read_installation(folder: Path, origin: str | None = None) -> Installation:
    """What the files in this folder can do."""
    evaluation = _names(folder / "pipeline" / "eval.py")
    commands = _names(folder / "pipeline" / "utils" / "eval.py")
    builder = _names(folder / "pipeline" / "utils" / "scripts" / "server.py")
    asks_task = "job_server_command" in evaluation and "get_server_command_fn" in commands
    if "ServerScript" in evaluation:
        server_flags: Literal["task", "builder", "none"] = "builder" if "get_server_command" in builder else "none"
    else:
        server_flags = "task" if asks_task else "none"
    resolution = _names(folder / "dataset" / "utils.py")
    datasets = folder / "dataset"
    return Installation(
        folder=folder,
        origin=origin,
        benchmarks=frozenset(path.parent.name for path in datasets.glob("*/__init__.py")),
        external=(
            "map" if "get_extra_benchmark_map" in resolution else "folder" if "extra_datasets" in resolution else "none"
        ),
        server_flags=server_flags,
        prepare_installs="installation_command" in _names(folder / "pipeline" / "prepare_data.py"),
        evaluates_in_own_process=(folder / "evaluation" / "evaluate_results.py").exists(),
    )


@cache
def own_benchmarks() -> frozenset[str]:
    """Names of the benchmarks of the NeMo-Skills that is installed here."""
    found = find_installation()
    return frozenset() if found is None else found.benchmarks


def _names(path: Path) -> frozenset[str]:
    """Every name that a file defines, imports, uses or takes as a parameter; none if it is not there."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    return frozenset(name for node in ast.walk(tree) for name in _names_of(node))


def _names_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias):
        yield node.asname or node.name


def _origin() -> str | None:
    try:
        record = distribution("nemo_skills").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    if not record:
        return None
    try:
        told = json.loads(record)
        commit = (told.get("vcs_info") or {}).get("commit_id")
        return f"{told['url']} {commit}" if commit else str(told["url"])
    except (ValueError, KeyError, AttributeError):
        return None
