"""Is a prepared SPEED-Bench config complete: its counts, categories, ids and numbers of tokens?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from nemo_skills_specdec.prompts.prepared.manifest import PreparedManifest
from nemo_skills_specdec.prompts.prepared.rows import user_turns
from nemo_skills_specdec.prompts.prepared.verify import RowChecks, Verification, finding, verify_file
from nemo_skills_specdec.prompts.speed_bench.schema import (
    QUALITATIVE_CATEGORIES,
    RELEASES,
    ROWS_PER_QUALITATIVE_CATEGORY,
    ROWS_PER_THROUGHPUT_CATEGORY,
    THROUGHPUT_CATEGORIES,
    token_budget,
)
from nemo_skills_specdec.prompts.speed_bench.tokens import Encoder
from nemo_skills_specdec.records import Finding, PromptRow

_ID = re.compile(r"[0-9a-f]{32}")
_NEAR = 0.01
_FAR = 0.10


def verify_config(path: Path, encoder: Encoder | None) -> Verification:
    """Checks a prepared config.

    Token numbers are counted anew from the text, which may differ by a few from what the text was cut to: a cut in the
    middle of a character or word is encoded in another way. Up to 1 % passes, more is a warning, from 10 % on the row
    is not of this config.

    Args:
        path: `<config>.jsonl`.
        encoder: counts tokens; None leaves them uncounted, which is said.

    Raises:
        DataError: the file cannot be read.
    """
    config = path.stem if path.suffix == ".jsonl" else path.parent.name
    budget = token_budget(config)
    counts: list[int] = []

    def check(row: PromptRow, checks: RowChecks) -> None:
        if not _ID.fullmatch(row.question_id):
            checks.fault("odd_id", "invalid", "have an id that is not of 32 hexadecimal characters", row.question_id)
        if any(message.role != "user" for message in row.messages):
            checks.fault("other_roles", "invalid", "hold messages that are not the user's", row.question_id)
        if budget is not None and encoder is not None:
            count = sum(len(encoder.encode(text, disallowed_special=())) for text in user_turns(row))
            counts.append(count)
            off = abs(count - budget) / budget
            if off > _FAR:
                checks.fault("tokens", "invalid", f"are more than 10 % off the {budget} tokens", row.question_id)
            elif off > _NEAR:
                checks.fault("tokens", "warning", f"are more than 1 % off the {budget} tokens", row.question_id)

    verification, manifest = verify_file(path, check)
    findings = [*verification.findings, *_counts(config, verification.rows_per_category, manifest)]
    if budget is not None and encoder is None:
        message = (
            'Tokens were not counted: tiktoken is missing; install it: pip install "nemo-skills-specdec[throughput]".'
        )
        findings.append(finding("tokens_not_counted", "warning", message))
    return msgspec.structs.replace(
        verification,
        benchmark="speed-bench",
        findings=findings,
        tokens=(min(counts), max(counts)) if counts else None,
    )


def _counts(config: str, found: Mapping[str, int], manifest: PreparedManifest | None) -> list[Finding]:
    """Rows per category, against those of the release; or against the data set, where it is of another revision."""
    throughput = token_budget(config) is not None
    categories = THROUGHPUT_CATEGORIES if throughput else QUALITATIVE_CATEGORIES
    unknown = sorted(set(found) - set(categories))
    findings = []
    if unknown:
        message = f"There are unknown categories: {', '.join(unknown)}."
        findings.append(finding("unknown_category", "invalid", message))
    rows = sum(found.values())
    if manifest is not None and manifest.limit_per_category is not None:
        return findings
    skipped = sum(manifest.skipped.values()) if manifest else 0
    released = manifest is None or any(origin.revision in RELEASES for origin in manifest.dataset)
    if not released and manifest is not None and manifest.source_rows is not None:
        expected = manifest.source_rows - skipped
        if rows != expected:
            message = f"There are {rows} rows, but {expected} are expected; prepare the data again."
            findings.append(finding("row_count", "invalid", message, {"rows": rows, "expected": expected}))
        return findings
    each = ROWS_PER_THROUGHPUT_CATEGORY if throughput else ROWS_PER_QUALITATIVE_CATEGORY
    if skipped and rows == each * len(categories) - skipped:
        return findings
    wrong = [f"{name} {found.get(name, 0)}" for name in categories if found.get(name, 0) != each]
    if wrong:
        message = f"Each category has {each} rows, but there are: {', '.join(wrong)}; prepare the data again."
        findings.append(finding("row_count", "invalid", message, {"rows": rows, "expected": each * len(categories)}))
    return findings
