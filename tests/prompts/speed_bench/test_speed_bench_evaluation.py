"""From a hub to acceptance by category: SPEED-Bench prepared on stand-ins, then measured on the embedded engine."""

from __future__ import annotations

from pathlib import Path

from nemo_skills_specdec.client.exchange import LoadOptions, RequestOptions
from nemo_skills_specdec.embedded.launch import start
from nemo_skills_specdec.embedded.options import EmbeddedOptions
from nemo_skills_specdec.engines.detect import detect
from nemo_skills_specdec.measurement.measure import Plan, Workload
from nemo_skills_specdec.measurement.measure import measure as measure_task
from nemo_skills_specdec.prompts.hub.cache import Cache
from nemo_skills_specdec.prompts.hub.http import Fetcher
from nemo_skills_specdec.prompts.load import load_with_findings
from nemo_skills_specdec.prompts.speed_bench.prepare import Options, prepare
from nemo_skills_specdec.prompts.speed_bench.schema import QUALITATIVE_CATEGORIES


def test_a_prepared_speed_bench_is_measured_in_all_its_categories_and_turns(
    options: Options, fetcher: Fetcher, tmp_path: Path
) -> None:
    prepare(options, fetcher, Cache(tmp_path / "cache"), lambda line: None)
    loaded = load_with_findings("speed-bench", config="qualitative", data_dir=options.folder)
    with start(EmbeddedOptions()) as server:
        info = detect(server.base_url)
        plan = Plan(
            base_url=server.base_url,
            metrics_urls=(server.base_url,),
            request=RequestOptions(model=info.models[0], max_tokens=8, temperature=0.0),
            load=LoadOptions(concurrency=8),
        )
        evaluation = measure_task(
            Workload(name=loaded.name, rows=loaded.rows, remarks=loaded.findings), plan, info, headers={}
        ).evaluation
    assert evaluation.benchmark == "speed-bench/qualitative"
    # The stand-in holds 18 rows of 27 turns in all 11 categories; the real data 880 rows of 1,138 turns.
    assert (evaluation.overall.num_prompts, evaluation.overall.num_requests) == (18, 27)
    assert set(evaluation.categories) == set(QUALITATIVE_CATEGORIES)
    assert evaluation.overall.num_failed == 0
    assert evaluation.overall.acceptance.num_drafts == evaluation.sources["counters"].num_drafts
