"""Is a prepared file what its manifest says, and fit to be measured with?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from nemo_skills_specdec.prompts.prepared.manifest import Manifest, read_manifest
from nemo_skills_specdec.prompts.prepared.rows import stored_rows, user_turns
from nemo_skills_specdec.records import Finding, Numbers, PromptRow, Severity, prompt_sha256

PLACEHOLDER_MARK = "FULL BENCHMARK DATA"
"""What SPEED-Bench's placeholders begin with. Other tools have been seen measuring with it as the prompt."""

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
                message=f"{len(rows)} row{'s' if len(rows) > 1 else ''} {what}, e.g. {', '.join(rows[:_EXAMPLES])}",
                numbers={"rows": len(rows)},
            )
            for (code, severity, what), rows in self._faults.items()
        ]


def verify_file(
    path: Path, more: Callable[[PromptRow, RowChecks], None] | None = None
) -> tuple[Verification, Manifest | None]:
    """Checks that a prepared file is whole: ids, texts, no placeholder, and the hashes and counts of its manifest.

    Args:
        path: the file of rows.
        more: further checks of each row.

    Raises:
        DataError: the file cannot be read.
    """
    import hashlib

    manifest = read_manifest(path)
    checks = RowChecks()
    hashes: dict[str, str] = {}
    categories: Counter[str] = Counter()
    turns = multiturn = 0
    fingerprint = hashlib.sha256()
    for row in stored_rows(path):
        digest = prompt_sha256(row.messages)
        fingerprint.update(f"{row.question_id} {digest}\n".encode())
        if row.question_id in hashes:
            checks.fault("duplicate_id", "invalid", "have an id that another row has", row.question_id)
        hashes[row.question_id] = digest
        categories[row.category] += 1
        texts = user_turns(row)
        turns += len(texts)
        multiturn += len(texts) > 1
        _check_texts(row, texts, checks)
        if more is not None:
            more(row, checks)
    findings = checks.findings()
    findings.extend(_against_manifest(manifest, hashes, path.suffix == ".parquet"))
    verification = Verification(
        name=path.stem if path.suffix == ".jsonl" else path.parent.name,
        benchmark=manifest.benchmark if manifest else None,
        num_rows=len(hashes),
        num_turns=turns,
        num_multiturn_rows=multiturn,
        rows_per_category=dict(categories),
        fingerprint=fingerprint.hexdigest(),
        findings=findings,
    )
    return verification, manifest


def finding(code: str, severity: Severity, message: str, numbers: Numbers | None = None) -> Finding:
    """A finding with numbers."""
    return Finding(code=code, severity=severity, message=message, numbers=numbers or {})


def _check_texts(row: PromptRow, texts: Iterable[str], checks: RowChecks) -> None:
    if not row.question_id:
        checks.fault("empty_id", "invalid", "have no id", "the one without")
    if not all(text.strip() for text in texts):
        checks.fault("empty_turn", "invalid", "have a turn without text", row.question_id)
    if any(PLACEHOLDER_MARK in message.content for message in row.messages):
        checks.fault("placeholder", "invalid", "hold a placeholder in place of their text", row.question_id)


def _against_manifest(manifest: Manifest | None, hashes: dict[str, str], foreign: bool) -> list[Finding]:
    if manifest is None:
        message = "there is no manifest: where the rows come from, and whether they are complete, is not known"
        return [finding("no_manifest", "info" if foreign else "warning", message)]
    findings = list(manifest.findings)
    if not hashes:
        findings.append(finding("no_rows", "invalid", "the file holds no row; prepare the data again"))
    expected = manifest.row_sha256
    for code, what, rows in (
        ("rows_missing", "of the manifest are missing", [key for key in expected if key not in hashes]),
        ("rows_added", "are not in the manifest", [key for key in hashes if key not in expected]),
        (
            "rows_changed",
            "differ from their hash in the manifest",
            [key for key, digest in hashes.items() if expected.get(key, digest) != digest],
        ),
    ):
        if rows:
            message = f"{len(rows)} rows {what}, e.g. {', '.join(rows[:_EXAMPLES])}; prepare the data again"
            findings.append(finding(code, "invalid", message, {"rows": len(rows)}))
    if list(hashes) != list(expected) and set(hashes) == set(expected):
        findings.append(finding("rows_reordered", "warning", "the rows are in another order than when prepared"))
    if manifest.limit_per_category is not None:
        message = f"only the first {manifest.limit_per_category} rows of each category were kept"
        findings.append(finding("limited", "info", message, {"limit_per_category": manifest.limit_per_category}))
    return findings
