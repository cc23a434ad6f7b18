"""SGLang's request-metric files (`--export-metrics-to-file`): one JSON line per finished request, with its statistics.

The server writes them after the response, into one file per local hour of completion, and appends after a restart. So a
window remembers how long each file was when it began, and after it waits until the records of all answers are there.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nemo_skills_specdec.acceptance import NO_STEPS, AcceptanceCounts, total
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.engines.sglang.answers import sample_counts
from nemo_skills_specdec.errors import IdentityError, UsageError
from nemo_skills_specdec.plural import number_of
from nemo_skills_specdec.records import Finding

PATTERN = "sglang-request-metrics-*.log"

POLL_SECONDS = 0.05

_SAMPLE_ID = re.compile(r"(.+)_[0-9a-f]{32}")


class FileCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the files say about some answers.

    Attributes:
        counts: by response id, summed over the samples of that response.
        missing: response ids without a record.
        broken_lines: lines in the window that are no record.
    """

    counts: dict[str, AcceptanceCounts]
    missing: tuple[str, ...] = ()
    broken_lines: int = 0
    findings: tuple[Finding, ...] = ()


class RequestFiles:
    """The records that a server adds to a folder from now on.

    Args:
        directory: the folder given to SGLang as `--export-metrics-to-file-dir`.
        info: what the server says about itself; it tells whether the draft length varies.

    Raises:
        UsageError: the folder cannot be read.
    """

    def __init__(self, directory: Path, info: ServerInfo | None = None) -> None:
        if not directory.is_dir():
            raise UsageError(
                f"{directory} is not a folder; give the --export-metrics-to-file-dir as seen from this machine"
            )
        self._directory = directory
        self._info = info
        self._offsets = {path: path.stat().st_size for path in directory.glob(PATTERN)}
        self._records: dict[str, Mapping[str, Any]] = {}
        self._groups: dict[tuple[str, Any], list[Mapping[str, Any]]] = {}
        self._broken = 0

    def wait_for(self, ids: Iterable[str], *, timeout_seconds: float = 10.0, samples: int = 1) -> FileCounts:
        """Reads until the records of all answers are there, or the time is over.

        Args:
            timeout_seconds: how long to wait for late records.
            samples: records to expect per response, the API's `n`.
        """
        wanted = list(dict.fromkeys(ids))
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._read_on()
            missing = [item for item in wanted if len(self._records_of(item)) < samples]
            if not missing or time.monotonic() >= deadline:
                return self._result(wanted, missing)
            time.sleep(POLL_SECONDS)

    def _read_on(self) -> None:
        for path in sorted(self._directory.glob(PATTERN)):
            offset = self._offsets.get(path, 0)
            with path.open("rb") as file:
                file.seek(offset if offset <= path.stat().st_size else 0)
                offset = file.tell()
                data = file.read()
            # A line without its end is still being written.
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = offset + len(whole)
            records, broken = parse_lines(whole)
            self._broken += broken
            for record in records:
                self._records[record["id"]] = record
                self._groups.setdefault(_group(record), []).append(record)

    def _records_of(self, response_id: str) -> list[Mapping[str, Any]]:
        own = self._records.get(response_id)
        if own is None:
            return []
        # The warm-up of a shared prefix (n > 1) has a record too, without tokens.
        return [record for record in self._groups[_group(own)] if record.get("completion_tokens") != 0]

    def _result(self, wanted: list[str], missing: list[str]) -> FileCounts:
        speculates = any("spec_verify_ct" in record for record in self._records.values())
        counts: dict[str, AcceptanceCounts] = {}
        contradictions: list[str] = []
        for response_id in wanted:
            records = self._records_of(response_id)
            if response_id in missing:
                continue
            try:
                found = [self._counts(record, speculates=speculates) for record in records]
            except IdentityError as error:
                contradictions.append(str(error))
                continue
            known = [item for item in found if item is not None]
            if known and len(known) == len(found):
                counts[response_id] = total(known)
        return FileCounts(
            counts=counts,
            missing=tuple(missing),
            broken_lines=self._broken,
            findings=tuple(_findings(len(wanted), len(missing), self._broken, contradictions)),
        )

    def _counts(self, record: Mapping[str, Any], *, speculates: bool) -> AcceptanceCounts | None:
        if record.get("spec_verify_ct") is not None:
            return sample_counts(record, self._info)
        # A speculating server leaves the statistics out where the prefill gave the only token.
        return NO_STEPS if speculates and record.get("completion_tokens") == 1 else None


def parse_lines(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Records of some lines, and how many lines were none: torn or interleaved writes happen before SGLang 0.5.10."""
    records: list[dict[str, Any]] = []
    broken = 0
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            broken += 1
            continue
        if isinstance(record, dict) and isinstance(record.get("id"), str):
            records.append(record)
        else:
            broken += 1
    return records, broken


def _group(record: Mapping[str, Any]) -> tuple[str, Any]:
    """What the records of one request have in common, besides their ids.

    With n > 1 every sample has an id of its own: older releases append a suffix to the request's, newer ones draw it
    anew, and then only the time of the request's arrival is shared.
    """
    identity = str(record["id"])
    try:
        parameters = json.loads(record.get("request_parameters") or "{}")
        several = (parameters.get("sampling_params") or {}).get("n", 1) > 1
    except (ValueError, TypeError, AttributeError, RecursionError):
        several = False
    if not several:
        return identity, None
    suffixed = _SAMPLE_ID.fullmatch(identity)
    if suffixed:
        return suffixed[1], None
    arrived = parameters.get("received_time")
    return ("", arrived) if arrived is not None else (identity, None)


def _findings(wanted: int, missing: int, broken: int, contradictions: list[str]) -> list[Finding]:
    findings = []
    if missing:
        findings.append(
            Finding(
                code="request_records_missing",
                severity="warning",
                message=f"{missing} of {wanted} answers have no record in the request-metric files; check "
                "that the folder is that of this server, on this machine.",
                numbers={"missing": missing, "answers": wanted},
            )
        )
    if broken:
        findings.append(
            Finding(
                code="request_file_broken_lines",
                severity="warning",
                message=f"Left out: {number_of(broken, 'line')} of the request-metric files, which cannot be read.",
                numbers={"broken_lines": broken},
            )
        )
    if contradictions:
        findings.append(
            Finding(
                code="identity_broken",
                severity="invalid",
                message=f"{number_of(len(contradictions), 'record')} of the request-metric files contradict "
                f"themselves, e.g. {contradictions[0]}; no rate is computed from them.",
                numbers={"records": len(contradictions)},
            )
        )
    return findings
