"""Two configurations compared: figures, verdicts, thresholds, and what is said about them."""

import xml.etree.ElementTree as ET

import pytest
from compared_runs import make_run, record, row

from nemo_skills_specdec.compare.comparison import How, compare_groups
from nemo_skills_specdec.compare.gate import Thresholds
from nemo_skills_specdec.compare.junit import junit_xml
from nemo_skills_specdec.compare.markdown import comparison_markdown
from nemo_skills_specdec.compare.repeats import group_runs
from nemo_skills_specdec.engines.sglang.findings import STANDALONE_FIRST_TOKEN
from nemo_skills_specdec.measurement.speed_options import Slo


def rows(*, accepted=None, tpot=0.01, prompts=20, text="x", lose=0, categories=("c",)):
    """Prompts that differ among themselves: prompt n accepts `accepted` + n % 5 draft tokens, less `lose`."""
    return [
        row(
            record(
                f"{category}{n}",
                category=category,
                tpot=tpot * (1 + 0.1 * (n % 3)),
                accepted=None if accepted is None else accepted + n % 5 - lose,
                text=text,
            )
        )
        for category in categories
        for n in range(prompts)
    ]


def compared(baseline, run, **how):
    (before,), (after,) = group_runs(baseline), group_runs(run)
    return compare_groups(before, after, How(**how))


def runs(number, name, **options):
    kept = {key: options.pop(key) for key in ("speculation", "snapshots", "tokens_per_step") if key in options}
    return [make_run(rows(**options), directory=f"{name}{n}", **kept) for n in range(number)]


def test_the_same_run_twice_is_not_distinguishable_in_anything():
    found = compared(runs(1, "a", accepted=12), runs(1, "b", accepted=12))
    assert {change.verdict for change in found.overall} == {"not distinguishable"}
    assert found.figure("acceptance_length").ratio == pytest.approx(1.0)
    assert found.same_text == 1.0


def test_a_drop_that_every_prompt_shares_is_lower():
    found = compared(runs(1, "a", accepted=12), runs(1, "b", accepted=12, lose=2))
    length = found.figure("acceptance_length")
    # Ten steps a prompt; 14 accepted tokens a prompt on average before, 12 after.
    assert (length.baseline, length.run) == (pytest.approx(2.4), pytest.approx(2.2))
    assert length.difference == pytest.approx(-0.2)
    assert length.verdict == "lower"
    assert length.noise == ["prompts"]


def test_the_share_of_requests_within_bounds_is_compared_if_they_are_given():
    # Answers of one prompt in three take 0.3 s from start to end, of the others more, and 0.2 to 0.24 s in the run.
    before, after = runs(3, "a", accepted=12, tpot=0.01), runs(3, "b", accepted=12, tpot=0.005)
    found = compared(before, after, slo=Slo(e2e_seconds=0.305))
    share = found.figure("goodput")
    assert (share.baseline, share.run) == (pytest.approx(7 / 20), pytest.approx(1.0))
    assert share.verdict == "higher"
    assert "goodput" not in {change.figure for change in compared(before, after).overall}


def test_twice_the_speed_without_speculation_in_the_baseline():
    found = compared(runs(1, "a", speculation="off"), runs(1, "b", accepted=12, tpot=0.005))
    speed = found.figure("user_tokens_per_second")
    assert speed.ratio == pytest.approx(2.0)
    assert speed.verdict == "higher"
    assert speed.noise == ["prompts", "assumed"]
    assert found.figure("tpot_seconds").verdict == "lower"
    length = found.figure("acceptance_length")
    assert (length.baseline, length.run, length.reason) == (None, pytest.approx(2.4), "the baseline does not speculate")


def test_without_repeats_a_tenth_faster_is_not_enough_and_that_is_said():
    found = compared(runs(1, "a", accepted=12), runs(1, "b", accepted=12, tpot=0.009))
    assert found.figure("user_tokens_per_second").verdict == "not distinguishable"
    assert [finding.code for finding in found.findings] == ["compared_without_repeats"]
    assert "10%" in found.findings[0].message


def test_equal_repeats_measure_the_noise_and_make_a_tenth_enough():
    found = compared(runs(3, "a", accepted=12), runs(3, "b", accepted=12, tpot=0.009))
    speed = found.figure("user_tokens_per_second")
    assert speed.verdict == "higher"
    assert speed.noise == ["prompts", "runs"]
    assert found.run_noise is None
    assert found.findings == []


def test_studies_that_contradict_each_other_are_not_distinguishable():
    baseline = [*runs(2, "a", accepted=12)]
    run = [*runs(1, "b", accepted=12, tpot=0.01 / 1.20), *runs(1, "c", accepted=12, tpot=0.01 / 0.87)]
    assert compared(baseline, run).figure("user_tokens_per_second").verdict == "not distinguishable"


def test_tokens_per_step_have_an_interval_only_with_repeats():
    once = compared(
        runs(1, "a", accepted=12, tokens_per_step=1.9), runs(1, "b", accepted=12, tokens_per_step=2.0)
    ).figure("tokens_per_step")
    assert once.reason == "only repeats could show its noise"
    assert once.verdict == "not distinguishable"
    twice = compared(
        runs(2, "a", accepted=12, tokens_per_step=1.9), runs(2, "b", accepted=12, tokens_per_step=2.0)
    ).figure("tokens_per_step")
    assert twice.ratio == pytest.approx(2.0 / 1.9)
    assert twice.verdict == "higher"


def test_counters_give_the_length_where_answers_do_not():
    baseline, run = runs(2, "a"), runs(2, "b")
    for one, length in zip([*baseline, *run], (2.0, 2.0, 1.5, 1.5), strict=True):
        one.evaluation.overall.acceptance.source = "counters"
        one.evaluation.overall.acceptance.acceptance_length = length
    found = compared(baseline, run).figure("acceptance_length")
    assert (found.baseline, found.run, found.verdict) == (pytest.approx(2.0), pytest.approx(1.5), "lower")
    assert found.noise == ["runs"]


def test_bounds_are_never_compared_as_if_they_were_values():
    baseline, run = runs(2, "a"), runs(2, "b")
    for one in [*baseline, *run]:
        one.evaluation.overall.acceptance.source = "bounds"
        one.evaluation.overall.acceptance.acceptance_length = 2.0
    found = compared(baseline, run).figure("acceptance_length")
    assert found.baseline is None
    assert "do not report it" in found.reason


def test_under_a_request_rate_there_is_no_system_speed():
    load = {"request_rate": 2.0}
    baseline, run = (
        make_run(rows(accepted=12), load=load, directory="a"),
        make_run(rows(accepted=12), load=load, directory="b"),
    )
    assert "rate sets the throughput" in compared([baseline], [run]).figure("system_tokens_per_second").reason


def test_windows_that_differ_leave_the_system_speed_out():
    drained = [("before", []), ("after-x", []), ("after-y", [])]
    found = compared(runs(1, "a", accepted=12), runs(1, "b", accepted=12, snapshots=drained))
    assert "drained" in found.figure("system_tokens_per_second").reason
    assert found.figure("user_tokens_per_second").ratio == pytest.approx(1.0)


def test_categories_are_corrected_for_one_another():
    categories = ("x", "y", "z")
    found = compared(
        runs(1, "a", accepted=12, categories=categories), runs(1, "b", accepted=12, lose=2, categories=categories)
    )
    assert list(found.categories) == list(categories)
    for members in found.categories.values():
        length = members[0]
        assert length.verdict == "lower"
        assert length.adjusted_p_value >= length.p_value
    assert max(members[0].adjusted_p_value for members in found.categories.values()) > min(
        members[0].p_value for members in found.categories.values()
    )


@pytest.mark.parametrize(
    ("thresholds", "outcome"),
    [
        ({"max_al_drop": 0.05}, "violated"),
        ({"max_al_drop": 0.2}, "met"),
        ({"min_speedup": 1.0}, "undecided"),
        ({"min_speedup": 3.0}, "violated"),
        ({"min_system_speedup": 0.1}, "met"),
    ],
)
def test_a_threshold_is_met_or_violated_only_by_the_whole_interval(thresholds, outcome):
    # AL drops from 2.4 to 2.2, by 8.3 %; the speed stays.
    found = compared(runs(1, "a", accepted=12), runs(1, "b", accepted=12, lose=2), thresholds=Thresholds(**thresholds))
    assert [result.outcome for result in found.thresholds] == [outcome]


def test_markdown_leads_with_the_thresholds_and_folds_the_categories_away():
    found = compared(
        runs(1, "a", accepted=12, categories=("x", "y")),
        runs(1, "b", accepted=12, lose=2, categories=("x", "y")),
        thresholds=Thresholds(max_al_drop=0.05),
    )
    text = comparison_markdown(found)
    assert text.index("--max-al-drop 0.05: violated") < text.index("| AL | 2.400 | 2.200 | 0.917x |")
    assert "<details><summary>AL by category</summary>" in text
    assert "| lower |" in text


def test_junit_has_a_failure_for_a_violated_and_a_skip_for_an_undecided_threshold():
    found = compared(
        runs(1, "a", accepted=12),
        runs(1, "b", accepted=12, lose=2),
        thresholds=Thresholds(max_al_drop=0.05, min_speedup=1.0, min_system_speedup=0.1),
    )
    suite = ET.fromstring(junit_xml([found])).find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert [[child.tag for child in case] for case in suite] == [["failure"], ["skipped"], []]


def test_what_an_engine_does_otherwise_is_said_where_engines_are_compared():
    def one(engine, name):
        run = make_run(
            rows(accepted=12), directory=name, findings=[STANDALONE_FIRST_TOKEN] if engine == "sglang" else []
        )
        run.manifest.server.engine = engine
        return run

    across = compared([one("vllm", "a")], [one("sglang", "b")])
    assert ("standalone_first_token", "warning") in [(f.code, f.severity) for f in across.findings]
    same = compared([one("sglang", "a")], [one("sglang", "b")])
    assert "standalone_first_token" not in [finding.code for finding in same.findings]
