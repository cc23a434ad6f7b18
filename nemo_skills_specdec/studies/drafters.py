"""Which of several drafters is the best: the runs of a study put side by side, and the ranking as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nemo_skills_specdec.compare.ranking import Drafters, Ranking, rankings_of
from nemo_skills_specdec.compare.repeats import group_runs
from nemo_skills_specdec.files import pretty, write_atomically
from nemo_skills_specdec.measurement.run import load_run
from nemo_skills_specdec.statistics import Interval
from nemo_skills_specdec.studies.study import FoundRun, find_runs, latest

JSON, MARKDOWN = "drafters.json", "drafters.md"


def write_drafters(study: Path) -> Drafters | None:
    """Ranks the drafters of a study and writes both files; None for a study that does not compare drafters."""
    found = rank_study(find_runs(study))
    if found is not None:
        write_atomically(study / JSON, pretty(found))
        write_atomically(study / MARKDOWN, drafters_markdown(found).encode())
    return found


def rank_study(runs: Sequence[FoundRun]) -> Drafters | None:
    """Ranks the drafters among finished runs; None if no run names one."""
    finished = [run for run in latest(runs).values() if run.state == "finished" and run.config.method.drafter]
    return rankings_of(group_runs([load_run(run.directory, texts=False) for run in finished]))


def drafters_markdown(found: Drafters) -> str:
    """Tables for people: the total, then every category."""
    lines = ["# Drafters", ""]
    for ranking in found.rankings:
        lines += [f"## {ranking.label}", "", _verdict(ranking), ""]
        lines += ["| rank | drafter | AL | of the best | tok/s per user |", "|---|---|---|---|---|"]
        lines += [
            f"| {one.rank} | {one.drafter} | {_with_interval(one.acceptance_length, one.interval)} "
            f"| {_with_interval(one.to_best, one.to_best_interval)} "
            f"| {'-' if one.user_tokens_per_second is None else f'{one.user_tokens_per_second:.1f}'} |"
            for one in ranking.overall
        ]
        if ranking.categories:
            names = [one.drafter for one in ranking.overall]
            lines += ["", "| AL, rank in brackets | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
            for category, ranks in ranking.categories.items():
                by_name = {one.drafter: one for one in ranks}
                cells = [f"{by_name[name].acceptance_length:.3f} ({by_name[name].rank})" for name in names]
                lines.append(f"| {category} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += [f"{problem}." for problem in found.problems]
    return "\n".join([*lines, _MEANING])


_MEANING = """\
A rank is one more than the number of drafters that are surely better: drafters that cannot be told apart share it.
Every two are compared prompt by prompt, and all p-values of a table are corrected together (Holm). With fewer than five
prompts nothing can be told apart. Intervals are 95 %, over prompts; those of two drafters may overlap though their
difference is certain.
"""


def _verdict(ranking: Ranking) -> str:
    left_out = f", {ranking.left_out} left out" if ranking.left_out else ""
    basis = f"{ranking.prompts} prompts{left_out}"
    if len(ranking.best) == 1:
        return f"{ranking.best[0]} is the best ({basis})."
    return f"{', '.join(ranking.best)} cannot be told apart; no drafter is surely better ({basis})."


def _with_interval(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval.low:.3f} to {interval.high:.3f})"
