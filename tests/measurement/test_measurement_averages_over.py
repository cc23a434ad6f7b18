"""Averages say over how many of how many they are."""

from nemo_skills_specdec.acceptance import AcceptanceCounts
from nemo_skills_specdec.client.exchange import RequestOptions
from nemo_skills_specdec.engines.base import ServerInfo
from nemo_skills_specdec.measurement.conclude import conclude
from nemo_skills_specdec.measurement.evidence import Conditions, Evidence
from nemo_skills_specdec.records import RequestRecord


def test_a_category_that_was_never_sent_is_missing_from_the_macro_average():
    answer = RequestRecord(
        question_id="1",
        category="math",
        turn=0,
        completion_tokens=5,
        counts=AcceptanceCounts(num_drafts=2, num_draft_tokens=4, num_accepted_tokens=2),
        counts_source="response",
    )
    conditions = Conditions(
        benchmark="set", prompts_planned=44, categories_planned=11, request=RequestOptions(model="m"), interrupted=True
    )
    server = ServerInfo(engine="vllm", base_url="http://h")
    found = conclude(Evidence(conditions=conditions, server=server, records=[answer], window=None))
    assert (found.averages.category_macro.over, found.averages.category_macro.of) == (1, 11)
    assert (found.averages.request_mean.over, found.averages.request_mean.of) == (1, 1)
    assert "macro_over_a_part" in [finding.code for finding in found.overall.acceptance.findings]
