"""The ready-made parts of studies: models, methods, servers, benchmarks, samplings, loads, and the groups of them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec

from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch.methods import HAS_DRAFTER
from nemo_skills_specdec.studies.config import OWN_MODEL, RunConfig, config_from, needs_extra, resolve

KINDS = ("model", "method", "server", "benchmark", "sampling", "load")
ALL = "all"


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A study by name.

    Attributes:
        server: None for the engine that is asked for.
        methods: None for the baseline, n-grams, and what the model names drafters for.
    """

    models: list[str]
    server: str | None = None
    methods: list[str] | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a group that cannot be, and why."""

    label: str
    reason: str


def part_names(kind: str) -> list[str]:
    """The ready-made parts of a kind."""
    folder = files("nemo_skills_specdec.studies") / "configs" / kind
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def part(kind: str, name: str) -> dict[str, Any]:
    """A ready-made part.

    Raises:
        UsageError: there is no such part, or PyYAML is missing.
    """
    if name not in part_names(kind):
        raise UsageError(f"there is no {kind} {name!r}; there are {', '.join(part_names(kind))}")
    value = _read(f"{kind}/{name}.yaml")
    assert isinstance(value, dict)
    return value


def groups() -> dict[str, Group]:
    """All studies that have a name: those of `groups.yaml`, one for each model, and `all`."""
    named = msgspec.convert(_read("groups.yaml"), dict[str, Group])
    models = [name for name in part_names("model") if name not in ("own",)]
    hub = [name for name in models if "/" in part("model", name)["path"]]
    return {**named, **{name: Group(models=[name]) for name in models}, ALL: Group(models=hub)}


def expand(
    name: str,
    *,
    engine: str,
    base: dict[str, Any],
    methods: Sequence[str] = (),
    skip_baseline: bool = False,
) -> tuple[list[RunConfig], list[Refused]]:
    """The runs of a group.

    Args:
        name: of the group, or of a model.
        engine: server part for groups that leave it open.
        base: everything else of a run, in the words of `config_from`; its `server` and `method` go over the parts'.
        methods: only these; empty for the group's own.
        skip_baseline: leave out the runs without speculation.

    Returns:
        The runs, model by model with the baseline first, and those that the engine or the model rules out.

    Raises:
        UsageError: there is no such group or method.
    """
    known = groups()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {close[0]}" if close else f"there are {', '.join(known)}"
        raise UsageError(f"there is no study {name!r} ({advice}); give one of these, a file, or key=value")
    group = known[name]
    runs: list[RunConfig] = []
    refused: list[Refused] = []
    for model_name in group.models:
        model = part("model", model_name)
        wanted = list(methods) or group.methods or _methods_of(model)
        for method_name in wanted:
            if skip_baseline and method_name == "none":
                continue
            method = _over(part("method", method_name), base.get("method"), method_name)
            server = {**part("server", group.server or engine), **base.get("server", {})}
            config = config_from({**base, "model": model, "method": method, "server": server}, name)
            try:
                runs.append(resolve(config))
            except UsageError as error:
                refused.append(Refused(label=config.label, reason=str(error)))
    return runs, refused


def _methods_of(model: dict[str, Any]) -> list[str]:
    """Baseline, n-grams, and what there is a drafter for."""
    return ["none", "ngram", *(model.get("drafters") or {})] if model["path"] != OWN_MODEL else ["none", "ngram"]


def _over(method: dict[str, Any], changes: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """What is asked of every method goes to those that draft, a drafter to those that have one."""
    if name == "none":
        return method
    asked = {key: value for key, value in (changes or {}).items() if key != "draft_model" or name in HAS_DRAFTER}
    return {**method, **asked}


def _read(path: str) -> Any:
    content = (files("nemo_skills_specdec.studies") / "configs" / path).read_bytes()
    try:
        return msgspec.yaml.decode(content)
    except ImportError as error:
        raise needs_extra("reading the ready-made studies (YAML)") from error
