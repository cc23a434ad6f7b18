"""A run directory as far as publishing reads it, from literal figures."""

from __future__ import annotations

from pathlib import Path

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.files import pretty, write_atomically
from nemo_skills_specdec.measurement.result import Evaluation, Part
from nemo_skills_specdec.measurement.run_directory import MANIFEST, METRICS, Manifest
from nemo_skills_specdec.measurement.speed import Percentiles, Speed
from nemo_skills_specdec.records import Finding, acceptance_of
from nemo_skills_specdec.statistics import Average, Averages, Interval


def part(drafts: int, accepted: int, findings: tuple[Finding, ...] = ()) -> Part:
    counts = AcceptanceCounts(
        num_drafts=drafts,
        num_draft_tokens=2 * drafts,
        num_accepted_tokens=accepted,
        accepted_per_position=(accepted, 0),
    )
    seconds = Percentiles(mean=0.2, p50=0.1, p90=0.3, p99=0.4)
    speed = Speed(
        wall_seconds=4.0,
        prompt_tokens=10,
        completion_tokens=100,
        output_tokens_per_second=25.0,
        user_tokens_per_second=None,
        ttft_seconds=seconds,
        tpot_seconds=None,
        inter_chunk_seconds=None,
        end_to_end_seconds=None,
        queue_seconds=None,
    )
    acceptance = acceptance_of(counts, "response", findings=findings)
    return Part(num_prompts=2, num_requests=2, num_failed=0, acceptance=acceptance, speed=speed)


def write_run(directory: Path, *findings: Finding) -> Path:
    average = Average(
        over=2, acceptance_length=1.7, acceptance_rate=0.35, acceptance_length_interval=Interval(1.5, 1.9)
    )
    evaluation = Evaluation(
        benchmark="mini",
        overall=part(10, 6, findings),
        averages=Averages(pooled=average, request_mean=average, category_macro=average),
        categories={"coding": part(4, 4), 'say "hi"\\': part(6, 2)},
        sources={},
    )
    manifest = Manifest(
        tool_version="1",
        python_version="3",
        platform="x",
        package_versions={},
        started_at="2026-11-25T13:00:00.000+00:00",
        ended_at="2026-11-25T13:00:04.500+00:00",
        arguments={"request": {"model": "m", "temperature": 0.0, "top_p": None}, "load": {"concurrency": 8}},
        server=ServerInfo(engine="vllm", base_url="http://a", version="1.0", method="ngram", draft_length=2),
        prompts_sha256={},
    )
    write_atomically(directory / METRICS, pretty(evaluation))
    write_atomically(directory / MANIFEST, pretty(manifest))
    return directory
