"""One run a Hydra job: here, or on Slurm through hydra-submitit-launcher.

Every job is a process of its own that makes the one run its overrides describe, in a study directory that all jobs of
a multirun share. What failed is noted there, as in any study, so one failing job does not stop the others.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.errors import SpecdecError, UsageError
from nemo_skills_specdec.launch.command import shell_line
from nemo_skills_specdec.launch.start import command_of
from nemo_skills_specdec.shown import plain
from nemo_skills_specdec.studies.config import RunConfig, config_from, needs_extra, resolve
from nemo_skills_specdec.studies.execute import Reporter
from nemo_skills_specdec.studies.study import Outcome, run_study

CONFIGS = "pkg://nemo_skills_specdec.studies.configs"
RUN_DEFAULTS = "run_defaults"
OUTCOME = "outcome.json"
_OF_THE_STUDY = ("study_dir", "retry_failed", "dry_run")


def run_hydra(overrides: Sequence[str], study: Path, *, multirun: bool = False, dry_run: bool = False) -> Outcome:
    """Composes the config with Hydra and makes the runs.

    Args:
        overrides: as on Hydra's command line; `hydra/launcher=submitit_slurm` sends every run to Slurm.
        multirun: make a run for each combination of values; several values such as `method=none,ngram` imply it.

    Returns:
        How many runs were made, skipped or failed.

    Raises:
        UsageError: Hydra is not installed, or the overrides cannot be composed.
    """
    if importlib.util.find_spec("hydra") is None:
        raise needs_extra("composing studies from key=value")
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UsageError(f"Hydra cannot read this ({_one_line(error)})") from error
    several = multirun or any(override.is_sweep_override() for override in parsed)
    _check_launcher(overrides)
    # A relative path would be another place in each job.
    arguments = [*overrides, f"study_dir={_quoted(study.resolve())}", f"dry_run={str(dry_run).lower()}"]
    # Every key of a run can be overridden, also those that no part mentions.
    ConfigStore.instance().store(name=RUN_DEFAULTS, node=msgspec.to_builtins(RunConfig()))
    for old in _outcomes(study):
        old.unlink()
    main = hydra.main(version_base="1.3", config_path=CONFIGS, config_name="config")(run_job)
    before = sys.argv
    sys.argv = ["ns-specdec experiment", *(["--multirun"] if several else []), *arguments]
    try:
        # `hydra.main` returns nothing; how the jobs went is read from their folders.
        main()
    except SystemExit as error:
        if error.code not in (0, None):
            raise UsageError("Hydra failed; see its message above") from None
    finally:
        sys.argv = before
    return _sum([msgspec.json.decode(path.read_bytes(), type=Outcome) for path in _outcomes(study)])


def run_job(config: Any) -> None:
    """One job: makes the run that a composed config describes, and notes in the job's folder how it went."""
    from hydra.core.hydra_config import HydraConfig

    outcome = _make(config)
    (Path(HydraConfig.get().runtime.output_dir) / OUTCOME).write_bytes(msgspec.json.encode(outcome))


def _make(config: Any) -> Outcome:
    from omegaconf import OmegaConf

    content = msgspec.convert(OmegaConf.to_container(config, resolve=True), dict[str, Any])
    study, retry_failed, dry_run = (content.pop(key) for key in _OF_THE_STUDY)
    try:
        run = resolve(config_from(content, "the Hydra config"))
        if dry_run:
            if run.server.engine in ("vllm", "sglang"):
                print(shell_line(command_of(run.model.path, run.method, run.server)))
            else:
                print(f"# {run.label}: no command, {run.server.engine} is started or reached from within")
            return Outcome()
        return run_study([run], Path(study), retry_failed=retry_failed, reporter=Reporter(say=_say))
    except SpecdecError as error:
        # Hydra would print a traceback and stop the jobs that come after.
        _say(f"not possible: {error}")
        return Outcome(failed=1)


def _outcomes(study: Path) -> list[Path]:
    return sorted((study / "hydra").glob(f"*/{OUTCOME}"))


def _sum(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(
        done=sum(outcome.done for outcome in outcomes),
        skipped=sum(outcome.skipped for outcome in outcomes),
        held_back=sum(outcome.held_back for outcome in outcomes),
        failed=sum(outcome.failed for outcome in outcomes),
        interrupted=any(outcome.interrupted for outcome in outcomes),
    )


def _say(line: str) -> None:
    print(plain(line), file=sys.stderr, flush=True)


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _check_launcher(overrides: Sequence[str]) -> None:
    wanted = any(item.startswith("hydra/launcher=submitit") for item in overrides)
    if wanted and importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is None:
        raise needs_extra("sending runs to Slurm")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
