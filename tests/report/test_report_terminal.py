from rich.console import Console

from nemo_skills_specdec.acceptance import counts_from_histogram
from nemo_skills_specdec.measurement.result import Measured, evaluation_of
from nemo_skills_specdec.measurement.speed import Speed, percentiles
from nemo_skills_specdec.records import Finding, RequestRecord
from nemo_skills_specdec.report.terminal import latency_table, print_evaluation


def shown(records, findings=(), reading=None, width=80):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_evaluation(
        evaluation_of("mini", Measured(records=records, reading=reading, wall_seconds=2.0), {}, findings=findings),
        console,
    )
    return console.export_text()


def records(histogram, category="coding", number=3):
    counts = counts_from_histogram(histogram, num_draft_tokens=sum(histogram) * (len(histogram) - 1))
    return [
        RequestRecord(
            question_id=f"{category}{i}", category=category, turn=0, completion_tokens=100, prompt_tokens=5,
            start_time=0.0, end_time=1.0, ttft_seconds=0.05, tpot_seconds=0.0095,
            counts=counts, counts_source="response",
        )
        for i in range(number)
    ]  # fmt: skip


def line(text, start):
    return next(row for row in text.splitlines() if row.startswith(start))


def test_a_category_line_holds_all_its_figures():
    text = shown(records((10, 10, 10, 70)))
    assert line(text, "coding").split() == [
        "coding",
        "300",
        "3.40",
        "1.88-3.78",
        "80.0",
        ".90",
        ".89",
        ".88",
        "105",
        "50ms",
    ]


def test_an_undefined_conditional_rate_is_a_dash():
    text = shown(records((10, 0, 0)))
    assert line(text, "coding").split()[5:7] == [".00", "-"]


def test_seven_positions_and_large_numbers_still_fit_eighty_columns():
    text = shown(records((10_000, 5_000, 4_000, 3_000, 2_000, 1_000, 500, 250), "summarization_of_long_text"))
    assert max(len(row) for row in text.splitlines()) <= 80
    assert len(line(text, "per position, conditional").split("c1..")[1].split()) == 7


def test_the_gravest_finding_comes_first():
    findings = [
        Finding(code="a", severity="info", message="by the way"),
        Finding(code="b", severity="invalid", message="do not use this"),
    ]
    text = shown(records((1, 1)), findings)
    assert text.index("INVALID do not use this") < text.index("info by the way")


def test_without_a_source_no_number_is_shown():
    bare = [RequestRecord(question_id="a", category="qa", turn=0, completion_tokens=5, end_time=1.0)]
    text = shown(bare)
    assert "source: none" in text
    assert line(text, "pooled").split()[1:3] == ["-", "-"]


def test_conditional_rates_over_drafted_steps_take_the_place_of_others_where_drafts_vary():
    answers = records((2, 1, 1))
    for answer in answers:
        answer.reached_per_position = (4, 1)
    text = shown(answers)
    assert "r1" in text.splitlines()[0]
    assert line(text, "coding").split()[5:7] == [".50", "1.00"]
    assert line(text, "per position, conditional").split()[-2:] == [".500", ".500"]
    assert line(text, "per position, where drafted").split()[-2:] == [".500", "1.000"]
    assert "where drafted" not in shown(records((2, 1, 1)))


def test_every_average_says_over_how_many_of_how_many():
    answers = [*records((2, 1, 1)), *records((2, 1, 1), "math")]
    answers[0].counts = counts_from_histogram((0,), num_draft_tokens=0)
    text = shown(answers)
    assert "over 6 of 6 requests (pooled), 5 of 6 (request mean), 2 of 2 (macro)" in text


def test_a_hundred_and_twenty_columns_show_more_and_hold_it():
    text = shown(
        records((10_000, 5_000, 4_000, 3_000, 2_000, 1_000, 500, 250), "summarization_of_long_text"), width=120
    )
    assert max(len(row) for row in text.splitlines()) <= 120
    head = text.splitlines()[0].split()
    assert head[:3] == ["category", "prompts", "failed"]
    assert head[-5:] == ["c6", "tok/s", "TTFT", "TTFT", "p99"]


def test_any_number_of_percentiles_fits_eighty_columns_uncut():
    asked = [5.0, 25.0, 50.0, 75.0, 90.0, 99.9]
    found = percentiles([value / 1000 for value in range(20_000)], others=asked)
    speed = Speed(
        wall_seconds=1.0,
        prompt_tokens=None,
        completion_tokens=None,
        output_tokens_per_second=None,
        **dict.fromkeys(("ttft_seconds", "tpot_seconds", "inter_chunk_pooled_seconds", "end_to_end_seconds"), found),
    )
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(*latency_table(speed))
    text = console.export_text()
    assert "\u2026" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert line(text, "p99.9").split() == ["p99.9", "19979", "19979", "19979", "19979"]
