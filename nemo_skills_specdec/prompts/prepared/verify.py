"""Is a prepared file what its manifest says, and fit to be measured with?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from nemo_skills_specdec.plural import number_of
from nemo_skills_specdec.prompts.prepared.manifest import (
    FORMAT,
    PLACEHOLDER_MARK,
    PreparedManifest,
    RowTotals,
    is_intact,
    read_manifest,
)
from nemo_skills_specdec.prompts.prepared.rows import stored_rows
from nemo_skills_specdec.records import Finding, Numbers, PromptRow, Severity

_EXAMPLES = 3


class Verification(msgspec.Struct, kw_only=True):
    """What was found in one prepared file.

    Attributes:
        fingerprint: sha256 over the ids and message hashes in order; two files with the same prompts in the same order
            have the same.
        tokens: smallest and largest number of tokens of a prompt; None if they were not counted.
        findings: remarks; one that is `invalid` means that the file must not be used.
    """

    name: str
    benchmark: str | None
    num_rows: int
    num_turns: int
    num_multiturn_rows: int
    rows_per_category: dict[str, int]
    fingerprint: str
    tokens: tuple[int, int] | None = None
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing invalid was found."""
        return not any(finding.severity == "invalid" for finding in self.findings)

    @property
    def reasons(self) -> str:
        """Why it is not fit for use, in words that go on behind a colon."""
        return "; ".join(finding.message.rstrip(".") for finding in self.findings if finding.severity == "invalid")


class RowChecks:
    """Collects what is wrong with rows, and tells it in as many findings as there are kinds of faults."""

    def __init__(self) -> None:
        """Knows of no fault yet."""
        self._faults: dict[tuple[str, Severity, str], list[str]] = {}

    def fault(self, code: str, severity: Severity, what: str, row: str) -> None:
        """Notes that something (said in words that fit behind a number of rows) holds of a row."""
        self._faults.setdefault((code, severity, what), []).append(row)

    def findings(self) -> list[Finding]:
        """One finding for each kind of fault, with examples."""
        return [
            Finding(
                code=code,
                severity=severity,
                message=f"{number_of(len(rows), 'row', what)}, e.g. {', '.join(rows[:_EXAMPLES])}.",
                numbers={"rows": len(rows)},
            )
            for (code, severity, what), rows in self._faults.items()
        ]


def verify_file(
    path: Path, more: Callable[[PromptRow, RowChecks], None] | None = None
) -> tuple[Verification, PreparedManifest | None]:
    """Checks that a prepared file is whole: ids, texts, no placeholder, and the hashes and counts of its manifest.

    Args:
        more: further checks of each row.

    Raises:
        DataError: the file cannot be read.
    """
    manifest = read_manifest(path)
    checks = RowChecks()
    totals = RowTotals()
    fingerprint = hashlib.sha256()
    for row in stored_rows(path):
        if row.question_id in totals.hashes:
            checks.fault("duplicate_id", "invalid", "have an id that another row has", row.question_id)
        totals.add(row)
        fingerprint.update(f"{row.question_id} {totals.hashes[row.question_id]}\n".encode())
        _check_texts(row, checks)
        if more is not None:
            more(row, checks)
    findings = checks.findings()
    if manifest is None:
        message = "There is no manifest: where the rows come from, and whether they are complete, is unknown."
        findings.append(finding("no_manifest", "info" if path.suffix == ".parquet" else "warning", message))
    else:
        if not is_intact(path, manifest):
            message = "The manifest was changed after it was written; prepare the data again."
            findings.append(finding("manifest_changed", "invalid", message))
        findings.extend(_against_manifest(manifest, totals))
    verification = Verification(
        name=path.stem if path.suffix == ".jsonl" else path.parent.name,
        benchmark=manifest.benchmark if manifest else None,
        num_rows=len(totals.hashes),
        num_turns=totals.turns,
        num_multiturn_rows=totals.multiturn,
        rows_per_category=dict(totals.categories),
        fingerprint=fingerprint.hexdigest(),
        findings=findings,
    )
    return verification, manifest


def finding(code: str, severity: Severity, message: str, numbers: Numbers | None = None) -> Finding:
    """A finding with numbers."""
    return Finding(code=code, severity=severity, message=message, numbers=numbers or {})


def _check_texts(row: PromptRow, checks: RowChecks) -> None:
    if not row.question_id:
        checks.fault("empty_id", "invalid", "have no id", "the one without")
    if not all(m.content.strip() or m.token_ids for m in row.messages if m.role == "user"):
        checks.fault("empty_turn", "invalid", "have a turn without text", row.question_id)
    if any(PLACEHOLDER_MARK in message.content for message in row.messages):
        checks.fault("placeholder", "invalid", "hold a placeholder instead of text", row.question_id)


def _against_manifest(manifest: PreparedManifest, totals: RowTotals) -> list[Finding]:
    findings = list(manifest.findings)
    hashes, expected = totals.hashes, manifest.row_sha256
    if not hashes:
        findings.append(finding("no_rows", "invalid", "The file holds no row; prepare the data again."))
    for code, what, rows in (
        ("rows_missing", "are missing", [key for key in expected if key not in hashes]),
        ("rows_added", "are not in the manifest", [key for key in hashes if key not in expected]),
        ("rows_changed", "differ from the manifest", _changed(manifest, totals)),
    ):
        if rows:
            message = (
                f"{number_of(len(rows), 'row', what)}, e.g. {', '.join(rows[:_EXAMPLES])}; prepare the data again."
            )
            findings.append(finding(code, "invalid", message, {"rows": len(rows)}))
    if list(hashes) != list(expected) and set(hashes) == set(expected):
        findings.append(
            finding("rows_reordered", "warning", "The rows are not in the order in which they were prepared.")
        )
    findings.extend(_figures(manifest, totals))
    if manifest.format < FORMAT:
        message = (
            f"The manifest (format {manifest.format}) has hashes of messages only: category, source and other fields "
            "cannot be checked; prepare the data again to have them covered."
        )
        findings.append(finding("manifest_covers_messages", "info", message, {"format": manifest.format}))
    if manifest.limit_per_category is not None:
        message = f"Only the first {manifest.limit_per_category} rows of each category were kept."
        findings.append(finding("limited", "info", message, {"limit_per_category": manifest.limit_per_category}))
    return findings


def _changed(manifest: PreparedManifest, totals: RowTotals) -> list[str]:
    """Ids of rows that are not what they were, in their messages or in another field."""
    whole = manifest.row_digests
    return [
        key
        for key, digest in totals.hashes.items()
        if manifest.row_sha256.get(key, digest) != digest or whole.get(key, totals.digests[key]) != totals.digests[key]
    ]


def _figures(manifest: PreparedManifest, totals: RowTotals) -> list[Finding]:
    """Whether the manifest's own counts are those of the rows."""
    names = totals.figures()
    if manifest.format < FORMAT:
        # These counted recorded user messages as turns, and never looked for placeholders.
        names = {name: names[name] for name in ("num_rows", "rows_per_category")}
    wrong = [
        f"{name} {getattr(manifest, name)}, counted {value}"
        for name, value in names.items()
        if getattr(manifest, name) != value
    ]
    if not wrong:
        return []
    message = f"The manifest's figures are not those of the rows: {'; '.join(wrong)}; prepare the data again."
    return [finding("manifest_figures", "invalid", message)]
