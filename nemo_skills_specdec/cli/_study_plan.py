"""Which runs a command line asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.cli._study_options import merged
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.studies.config import RunConfig, config_from, read_mapping, resolve
from nemo_skills_specdec.studies.parts import Refused, expand


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for.

    Attributes:
        files: of single runs.
        model: a model that no study names.
        draft_model: its drafter, for every method that has one.
        methods: only these; empty for those of the study.
        base: everything else, over what files and studies say.
    """

    files: Sequence[Path] = ()
    names: Sequence[str] = ()
    model: str | None = None
    draft_model: str | None = None
    engines: Sequence[str] = ()
    methods: Sequence[str] = ()
    skip_baseline: bool = False
    base: dict[str, Any] = {}


def plan(wanted: Wanted) -> tuple[list[RunConfig], list[Refused]]:
    """The runs, baselines first, and those that cannot be, with the reason.

    Raises:
        UsageError: something does not exist, or a file cannot be read.
    """
    if wanted.draft_model is not None and wanted.model is None:
        raise UsageError("--draft-model goes with --model; a study names its drafters itself")
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
                name, engine=engine, base=wanted.base, methods=wanted.methods, skip_baseline=wanted.skip_baseline
            )
            runs += made
            refused += impossible
        if wanted.model is not None:
            made, impossible = _own_model(wanted, engine)
            runs += made
            refused += impossible
    if wanted.skip_baseline:
        runs = [run for run in runs if run.method.name != "none"]
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


def _own_model(wanted: Wanted, engine: str) -> tuple[list[RunConfig], list[Refused]]:
    runs: list[RunConfig] = []
    refused: list[Refused] = []
    default = ["none", "ngram", *(["draft_model"] if wanted.draft_model is not None else [])]
    for name in wanted.methods or default:
        own: dict[str, Any] = {} if name == "none" else dict(wanted.base.get("method", {}))
        if wanted.draft_model is not None and name in ("draft_model", "eagle", "eagle3", "dflash", "mtp"):
            own["draft_model"] = wanted.draft_model
        content = merged(wanted.base, {"model": {"path": wanted.model}, "server": {"engine": engine}})
        config = config_from({**content, "method": {"name": name, **own}}, "the command line")
        try:
            runs.append(resolve(config))
        except UsageError as error:
            refused.append(Refused(label=config.label, reason=str(error)))
    return runs, refused
