"""The report on several runs: side by side, against their baselines, and over draft lengths and loads."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nemo_skills_specdec import __version__
from nemo_skills_specdec.compare.change import FigureChange
from nemo_skills_specdec.compare.comparison import Comparison, compare_groups
from nemo_skills_specdec.compare.ranking import Ranking, rankings_of
from nemo_skills_specdec.compare.repeats import RunGroup, group_runs
from nemo_skills_specdec.compare.selection import matched
from nemo_skills_specdec.compare.wording import (
    change_text,
    interval_text,
    noise_text,
    reasons_of,
)
from nemo_skills_specdec.compare.wording import (
    value_text as changed_text,
)
from nemo_skills_specdec.errors import UsageError
from nemo_skills_specdec.measurement.run import Run
from nemo_skills_specdec.records import Finding
from nemo_skills_specdec.report.configurations import Configuration, configurations, figures_of
from nemo_skills_specdec.report.drafter_plots import checkpoint_categories_plot, checkpoint_plot
from nemo_skills_specdec.report.page import Page, PageTable, Section
from nemo_skills_specdec.report.plot import UNKNOWN, Column, cell_text, value_text
from nemo_skills_specdec.report.runs_plots import LENGTH, TOTAL, USER, Compared, runs_plots, sweep_plots

_GRAVEST = ("invalid", "warning", "info")


def runs_page(runs: Sequence[Run], title: str, missing: Sequence[tuple[str, str]] = ()) -> Page:
    """Compares whatever runs there are; those without speculation are the baselines, or else the first one is.

    Args:
        runs: at least two, in the order to show.
        missing: directories of runs without a result, and why they have none.
    """
    found = configurations(group_runs(runs))
    compared, refused = _comparisons(found)
    sections = [
        Section(title="Side by side", plots=runs_plots(found, compared), tables=[_table(found)]),
        Section(title="Over draft lengths and loads", plots=sweep_plots(found)),
        _drafters([one.group for one in found]),
        Section(
            title="Differences from the baseline",
            text=" ".join(refused),
            tables=[_changes_table(compared), *(_difference_table(one, comparison) for one, comparison in compared)]
            if compared
            else [],
        ),
        Section(title="Runs", tables=[_runs_table(found), *_missing_table(missing)]),
    ]
    return Page(
        title=title,
        subtitle=f"{len(found)} configurations in {len(runs)} runs."
        + (f" {len(missing)} more were not finished, see the end." if missing else ""),
        verdict=_verdict(compared),
        findings=_findings(found, compared),
        sections=[section for section in sections if section.plots or section.tables or section.text],
        made_by=f"ns-specdec {__version__}",
    )


def _drafters(groups: Sequence[RunGroup]) -> Section:
    """Several drafters of one target, ranked; empty where there is one."""
    found = rankings_of(groups)
    if found is None:
        return Section(title="Drafters")
    plots = [plot for one in found.rankings for plot in (checkpoint_plot(one), checkpoint_categories_plot(one)) if plot]
    return Section(
        title="Drafters",
        text=" ".join(f"{problem}." for problem in found.problems),
        plots=plots,
        tables=[_ranking_table(one) for one in found.rankings],
    )


def _ranking_table(ranking: Ranking) -> PageTable:
    rows = []
    for one in ranking.overall:
        length = value_text(one.acceptance_length, "number")
        ends = one.to_best_interval
        told = UNKNOWN if one.to_best is None else f"{one.to_best:.3f}"
        told += f" ({ends.low:.3f} to {ends.high:.3f})" if ends is not None else ""
        rows.append([one.drafter, str(one.rank), length, told, value_text(one.user_tokens_per_second, "speed")])
    return PageTable(
        title=f"Ranking by acceptance length: {ranking.label}",
        head=["drafter", "rank", "acceptance length", "of the best", "tok/s per user"],
        rows=rows,
        note="A rank is one more than the number of drafters that are surely better, compared prompt by prompt and "
        "corrected for many comparisons; drafters that cannot be told apart share it.",
    )


def _comparisons(found: Sequence[Configuration]) -> tuple[Compared, list[str]]:
    """Every configuration against the baseline that fits it, and why some have none."""
    without = [one.group for one in found if not one.group.speculates]
    baselines = without or [found[0].group]
    compared, refused = [], []
    for one in found:
        if one.group in baselines:
            continue
        try:
            chosen = matched(baselines, one.group)
        except UsageError as error:
            refused.append(f"{one.name} is not compared: {error}.")
            continue
        compared.append((one, compare_groups(chosen.baseline, chosen.run)))
    return compared, refused


def _verdict(compared: Compared) -> str:
    """The surest thing to say: which configuration is the fastest for one user, and whether that is more than noise."""
    speeds = [(one, change) for one, c in compared if (change := c.figure("user_tokens_per_second")).ratio is not None]
    if not speeds:
        return "No speedup can be told: see below why."
    one, change = max(speeds, key=lambda pair: pair[1].ratio or 0.0)
    sure = {
        "higher": "faster than the baseline",
        "lower": "slower than the baseline, as all others are",
        "not distinguishable": "not distinguishable from the baseline",
    }[change.verdict]
    ends = change.ratio_interval
    within = f" (95 % interval {ends.low:.2f} to {ends.high:.2f})" if ends is not None else ""
    return f"Highest speedup of one user: {one.name} with {change.ratio or 0:.2f}{within}, {sure}."


def _table(found: Sequence[Configuration]) -> PageTable:
    columns = [
        Column(key="runs", title="runs", kind="count"),
        Column(key="prompts", title="prompts", kind="count"),
        Column(key="failed", title="failed", kind="count"),
        LENGTH,
        Column(key="acceptance_rate", title="acceptance rate", kind="share"),
        Column(key="tokens_per_step", title="tokens per step"),
        USER,
        TOTAL,
        Column(key="ttft_seconds", title="TTFT (p50)", kind="seconds"),
    ]
    rows = [[one.name, *(cell_text(figures_of(one), column) for column in columns)] for one in found]
    return PageTable(
        title="Figures",
        head=["configuration", *(column.title for column in columns)],
        rows=rows,
        note="In brackets: the 95 % interval over prompts, or the range of a configuration's repeats.",
    )


def _changes_table(compared: Compared) -> PageTable:
    """What changed in the figures that matter most, a line a configuration."""
    named = {"acceptance_length": "AL", "user_tokens_per_second": "tok/s per user", "system_tokens_per_second": "tok/s"}
    known = [name for name in named if any(c.figure(name).difference is not None for _, c in compared)]
    rows = [
        [one.name, *(text for name in known for text in _change_cells(comparison.figure(name)))]
        for one, comparison in compared
    ]
    head = ["configuration", *(text for name in known for text in (named[name], "interval", "verdict"))]
    return PageTable(title="All together", head=head, rows=rows, note="Verdicts are corrected for many comparisons.")


def _change_cells(change: FigureChange) -> list[str]:
    verdict = change.verdict if change.p_value is not None else UNKNOWN
    return [change_text(change), interval_text(change), verdict]


def _difference_table(one: Configuration, comparison: Comparison) -> PageTable:
    rows = [
        [
            change.title,
            changed_text(change, change.baseline),
            changed_text(change, change.run),
            change_text(change),
            interval_text(change),
            change.verdict if change.p_value is not None else UNKNOWN,
        ]
        for change in comparison.overall
        if change.run is not None
    ]
    missing = [f"{', '.join(titles)}: {reason}." for reason, titles in reasons_of(comparison.overall).items()]
    noise = next((noise_text(change) for change in comparison.overall if change.noise and change.ratio), "")
    held = f"Intervals hold {noise}." if noise else ""
    prompts = f"{comparison.prompts:,} prompts that both answered; baseline: {comparison.baseline.label}."
    return PageTable(
        title=one.name,
        head=["figure", "baseline", "run", "change", f"{100 * (1 - comparison.significance):g} % interval", "verdict"],
        rows=rows,
        note=" ".join([prompts, held, *missing]),
        folded=True,
    )


def _runs_table(found: Sequence[Configuration]) -> PageTable:
    rows = [
        [
            one.name,
            str(run.directory),
            run.manifest.started_at[:19].replace("T", " "),
            run.evaluation.status,
            f"{run.evaluation.overall.num_prompts:,}",
            value_text(run.evaluation.overall.acceptance.acceptance_length, "number"),
            run.evaluation.overall.acceptance.source or "none",
        ]
        for one in found
        for run in one.group.runs
    ]
    head = ["configuration", "directory", "started (UTC)", "status", "prompts", "acceptance length", "source"]
    return PageTable(title="Where they are", head=head, rows=rows, note="`ns-specdec report` shows each by itself.")


def _missing_table(missing: Sequence[tuple[str, str]]) -> list[PageTable]:
    if not missing:
        return []
    return [PageTable(title="Not finished", head=["directory", "why"], rows=[list(one) for one in missing])]


def _findings(found: Sequence[Configuration], compared: Compared) -> list[Finding]:
    """What runs and comparisons remark, a line for each kind of remark with the configurations that it is on."""
    runs = [(one.name, run.evaluation) for one in found for run in one.group.runs]
    remarks = [(name, remark) for name, result in runs for remark in result.overall.acceptance.findings]
    remarks += [(one.name, remark) for one, comparison in compared for remark in comparison.findings]
    kinds: dict[tuple[str, str], list[tuple[str, Finding]]] = {}
    for name, remark in remarks:
        kinds.setdefault((remark.severity, remark.code), []).append((name, remark))
    findings = []
    for members in kinds.values():
        first = members[0][1]
        messages = list(dict.fromkeys(remark.message for _, remark in members))
        names = list(dict.fromkeys(name for name, _ in members))
        where = "All" if len(names) == len(found) else _short(names)
        more = "" if len(messages) == 1 else f" (Of {names[0]}; the others likewise, with their own figures.)"
        findings.append(msgspec.structs.replace(first, message=f"{where}: {messages[0]}{more}"))
    return sorted(findings, key=lambda finding: _GRAVEST.index(finding.severity))


def _short(names: Sequence[str]) -> str:
    return "; ".join(names) if len(names) <= 3 else f"{'; '.join(names[:2])} and {len(names) - 2} others"
