"""Which runs a command line asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.cli._study_options import merged
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.launch.methods import HAS_DRAFTER
from nemo_skills_specdec.studies.config import RunConfig, config_from, read_mapping, resolve
from nemo_skills_specdec.studies.parts import Refused, expand


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for.

    Attributes:
        files: of single runs.
        model: a model that no study names.
        drafters: of every method that has one, in place of the model's own; in the order of their training, if they are
            the checkpoints of one.
        methods: only these; empty for those of the study.
        base: everything else, over what files and studies say.
    """

    files: Sequence[Path] = ()
    names: Sequence[str] = ()
    model: str | None = None
    drafters: Sequence[str] = ()
    engines: Sequence[str] = ()
    methods: Sequence[str] = ()
    skip_baseline: bool = False
    base: dict[str, Any] = {}


def plan(wanted: Wanted) -> tuple[list[RunConfig], list[Refused]]:
    """The runs, baselines first, and those that cannot be, with the reason.

    Raises:
        UsageError: something does not exist, or a file cannot be read.
    """
    if len(set(wanted.drafters)) < len(wanted.drafters):
        raise UsageError("a --draft-model is given twice; drop one")
    runs: list[RunConfig] = []
    refused: list[Refused] = []
    for file in wanted.files:
        content = read_mapping(file)
        config = config_from(content, str(file))
        over = {
            key: value for key, value in wanted.base.items() if not (key == "method" and config.method.name == "none")
        }
        runs.append(resolve(config_from(merged(msgspec.to_builtins(config), over), str(file))))
    runs.sort(key=lambda run: run.method.name != "none")  # files come in any order, and all are compared with baselines
    for engine in wanted.engines:
        for name in wanted.names:
            made, impossible = expand(
                name,
                engine=engine,
                base=_with_drafter(wanted),
                methods=wanted.methods,
                skip_baseline=wanted.skip_baseline,
            )
            runs += made
            refused += impossible
        if wanted.model is not None:
            made, impossible = _own_model(wanted, engine)
            runs += made
            refused += impossible
    if wanted.skip_baseline:
        runs = [run for run in runs if run.method.name != "none"]
    runs = [one for run in runs for one in _by_drafter(run, wanted.drafters)]
    if wanted.drafters and not refused and not any(run.method.draft_model for run in runs):
        raise UsageError("no run takes a drafter; name a method that has one, e.g. --method draft_model")
    # A study whose engine is fixed comes once for each engine asked for.
    return list({msgspec.json.encode(run): run for run in runs}.values()), refused


def running(url: str, base: dict[str, Any], tls: Mapping[str, Any]) -> RunConfig:
    """A run on a server that somebody else started, as it is set up.

    Raises:
        UsageError: options of an engine were given, which only one started here can take.
    """
    if "server" in base or "method" in base:
        raise UsageError("engine options apply only to an engine started here; drop them, or drop --server-url")
    content = {**base, "server": {"engine": "running", "url": url, **tls}, "method": "as_served"}
    return resolve(config_from(content, "the command line"))


def _with_drafter(wanted: Wanted) -> dict[str, Any]:
    """What is asked of the runs of a study, with a drafter in place of those that its model names."""
    if not wanted.drafters:
        return wanted.base
    return merged(wanted.base, {"method": {"draft_model": wanted.drafters[0]}})


def _by_drafter(run: RunConfig, drafters: Sequence[str]) -> list[RunConfig]:
    """The run with each of the drafters; as it is, if its method has none."""
    if not drafters or run.method.name not in HAS_DRAFTER:
        return [run]
    names = _short_names(drafters) if len(drafters) > 1 else [None]
    return [
        msgspec.structs.replace(
            run,
            method=msgspec.structs.replace(
                run.method, draft_model=path, drafter=name, drafter_order=order if name is not None else None
            ),
        )
        for order, (path, name) in enumerate(zip(drafters, names, strict=True))
    ]


def _short_names(paths: Sequence[str]) -> list[str]:
    """As many of the last parts of every path as tell them all apart."""
    parts = [path.rstrip("/").split("/") for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def _own_model(wanted: Wanted, engine: str) -> tuple[list[RunConfig], list[Refused]]:
    runs: list[RunConfig] = []
    refused: list[Refused] = []
    default = ["none", "ngram", *(["draft_model"] if wanted.drafters else [])]
    for name in wanted.methods or default:
        own: dict[str, Any] = {} if name == "none" else dict(wanted.base.get("method", {}))
        if wanted.drafters and name in HAS_DRAFTER:
            own["draft_model"] = wanted.drafters[0]
        content = merged(wanted.base, {"model": {"path": wanted.model}, "server": {"engine": engine}})
        config = config_from({**content, "method": {"name": name, **own}}, "the command line")
        try:
            runs.append(resolve(config))
        except UsageError as error:
            refused.append(Refused(label=config.label, reason=str(error)))
    return runs, refused
