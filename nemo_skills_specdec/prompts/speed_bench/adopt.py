"""Taking over rows that were prepared elsewhere, for machines without a network."""

from __future__ import annotations

from pathlib import Path

from nemo_skills_specdec.errors import DataError, UsageError
from nemo_skills_specdec.files import sha256_of_file
from nemo_skills_specdec.prompts.hub.access import Origin
from nemo_skills_specdec.prompts.prepared.folder import prepared_file
from nemo_skills_specdec.prompts.prepared.manifest import PreparedManifest, Wording, read_manifest, write_prepared
from nemo_skills_specdec.prompts.prepared.rows import stored_rows
from nemo_skills_specdec.prompts.prepared.verify import finding
from nemo_skills_specdec.prompts.rows import first_of_each
from nemo_skills_specdec.prompts.speed_bench.schema import Config
from nemo_skills_specdec.prompts.speed_bench.verify import verify_config


def adopt(source: Path, config: Config, folder: Path, limit_per_category: int | None) -> str:
    """Checks a config prepared by this tool or by an upstream script, and writes it into `folder`.

    Takes NeMo-Skills' JSONL and specdec_bench's Parquet. A manifest of this tool is kept; otherwise the new one says
    that the wording is not known.

    Returns:
        The config.

    Raises:
        UsageError: nothing is there, or it is the target itself.
        DataError: rows are incomplete: wrong counts, placeholders, double or odd ids.
    """
    if source.resolve() == folder.resolve():
        raise UsageError(f"{source} is the target itself; give another folder with --output-dir")
    path = prepared_file(source, config)
    checked = verify_config(path, None)
    if not checked.ok:
        raise DataError(f"{path} cannot be imported: {checked.reasons}")
    manifest = read_manifest(path) or PreparedManifest(
        benchmark="speed-bench",
        config=config,
        comparable=True,
        wording=Wording(standing="prepared", origin=f"rows prepared elsewhere, in {path.name}"),
        dataset=[Origin(path.name, sha256=sha256_of_file(path))],
        source_rows=checked.num_rows,
        findings=[
            finding(
                "prepared_elsewhere",
                "warning",
                "The rows were prepared elsewhere, so their flavor and wording are unknown; compare them with a "
                "known folder: ns-specdec verify PATH --against OTHER.",
            )
        ],
    )
    manifest.findings += [
        remark
        for remark in checked.findings
        if remark.code == "manifest_covers_messages" and remark not in manifest.findings
    ]
    if limit_per_category is not None:
        manifest.limit_per_category = limit_per_category
        manifest.comparable = False
    write_prepared(folder, config, first_of_each(stored_rows(path), limit_per_category), manifest)
    return config
