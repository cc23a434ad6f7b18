"""The report in a real browser: everything is drawn, nothing is loaded, hover tells what `metrics.json` holds."""

import json
import os
import shutil

import pytest
from report_runs import record, usual_records, write_run

from nemo_skills_specdec.report.files import report_on
from nemo_skills_specdec.watch.figures import WatchFigures
from nemo_skills_specdec.watch.recording import WatchStart, encoded
from nemo_skills_specdec.watch.replica import WatchEvent, WatchInterval

CHROMIUM = os.environ.get("SPECDEC_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH, and SPECDEC_CHROMIUM is not set"),
]
HOSTILE = "<script>document.title='bad'</script>\"'\u202eevil\u202c " + "x" * 10_000


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser):
    """Opens a file; gives its page and what went wrong or was asked for on the way."""
    contexts = []

    def open_file(path, **options):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        page, told = context.new_page(), []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: told.append(request.url) if request.url[:5] != "data:" else None)
        page.goto(path.resolve().as_uri())
        page.wait_for_selector("html[data-drawn]", timeout=60_000)
        assert told.pop(0) == path.resolve().as_uri()
        return page, told

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return report_on([write_run(tmp_path_factory.mktemp("browser") / "run", usual_records())])


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """The report on a sweep over draft lengths and loads, with a baseline at each load."""
    study = tmp_path_factory.mktemp("browser") / "study"
    names = ["qa" if i % 2 else "math" for i in range(30)]
    for load in (1, 8):
        off = [record(i, name, accepted=None) for i, name in enumerate(names)]
        write_run(study / f"off-{load}", off, speculation="off", concurrency=load)
        for k in (1, 3):
            on = [record(i, name, accepted=[k, 0, i % (k + 1)], drafted=k) for i, name in enumerate(names)]
            write_run(study / f"k{k}-{load}", on, draft_length=k, concurrency=load, method=HOSTILE[:40])
    return report_on([study])


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The report on a recording of two replicas, one of which gives bounds, and restarts."""
    path = tmp_path_factory.mktemp("browser") / "watch.jsonl"
    lines = [WatchStart(at=0.0, version="1", interval_seconds=5.0, urls=["http://a"])]
    for number in range(1, 40):
        for name, spread in ((HOSTILE, 0), ("b", 10)):
            lines.append(interval(5.0 * number, name, number % 20 + 10, spread))
    lines.append(WatchEvent(at=101.0, replica="b", kind="restarted", message=HOSTILE))
    path.write_bytes(b"".join(encoded(line) + b"\n" for line in lines))
    return report_on([path])


def interval(at, replica, accepted, spread):
    figures = WatchFigures(
        source="bounds" if spread else "counters",
        num_drafts=100,
        num_draft_tokens=300,
        accepted_low=accepted,
        accepted_high=accepted + spread,
        accepted_per_position=None if spread else (accepted, 0, 0),
        requests=3,
        prompt_tokens=40,
        generation_tokens=200,
        cached_prompt_tokens=10,
    )
    return WatchInterval(at=at, seconds=5.0, replica=replica, engine="vllm", figures=figures, in_flight=2)


def test_a_point_of_a_recording_tells_its_bounds(opened, watched):
    page, _ = opened(watched)
    labels = page.eval_on_selector_all(
        "[data-plot='acceptance-length-over-time'] path[role=graphics-symbol]",
        "all => all.map(e => e.getAttribute('aria-label'))",
    )
    # 12 to 22 and 12 of 100 steps each, of which one replica is bracketed.
    assert any("replica: b" in label and "acceptance length: 1.170 (1.120 to 1.220)" in label for label in labels)
    assert any("replica: total" in label and "acceptance length: 1.145 (1.120 to 1.170)" in label for label in labels)


@pytest.mark.parametrize(("which", "fewest"), [("report", 12), ("several", 12), ("watched", 4)])
@pytest.mark.parametrize("width", [1200, 390])
def test_every_plot_is_drawn_and_nothing_is_loaded_or_complained_about(opened, request, which, fewest, width):
    page, told = opened(request.getfixturevalue(which), viewport={"width": width, "height": 800})
    drawn = page.eval_on_selector_all(".plot", "all => all.map(e => [e.dataset.drawn, !!e.querySelector('svg path')])")
    assert len(drawn) >= fewest
    assert drawn == [["yes", True]] * len(drawn)
    assert told == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_cells_of_a_heat_map_tell_the_figures_of_their_run(opened, several):
    page, _ = opened(several)
    stored = json.loads((several.parent / "k3-8" / "metrics.json").read_text())["categories"]["qa"]["acceptance"]
    labels = page.eval_on_selector_all(
        "[data-plot='acceptance-length-heat-map'] path[role=graphics-symbol]",
        "all => all.map(e => e.getAttribute('aria-label'))",
    )
    cell = next(label for label in labels if "k=3, c=8" in label and "category: qa" in label)
    low, high = stored["intervals"]["acceptance_length"]
    assert cell.endswith(f"acceptance length: {stored['acceptance_length']:.3f} ({low:.3f} to {high:.3f})")


def test_hover_tells_the_figures_of_the_metrics_file(opened, report):
    page, _ = opened(report)
    stored = json.loads((report.parent / "metrics.json").read_text())["categories"]
    seen = {}
    points = page.query_selector_all(
        "[data-plot='acceptance-length-by-category'] path[role=graphics-symbol][aria-label]"
    )
    for point in points:
        point.scroll_into_view_if_needed()
        point.hover()
        lines = dict(line.split(": ", 1) for line in page.inner_text("#tip").splitlines())
        seen[lines["category"]] = lines["acceptance length"], lines["verification steps"]
    wanted = {}
    for name, part in stored.items():
        acceptance = part["acceptance"]
        low, high = acceptance["intervals"]["acceptance_length"]
        told = f"{acceptance['acceptance_length']:.3f} ({low:.3f} to {high:.3f})"
        wanted[name] = told, str(acceptance["num_drafts"])
    assert seen == wanted


def test_the_percentiles_on_hover_are_those_of_the_metrics_file(opened, report):
    page, _ = opened(report)
    stored = json.loads((report.parent / "metrics.json").read_text())["overall"]["speed"]["end_to_end_seconds"]
    labels = page.eval_on_selector_all(
        "[data-plot='end-to-end'] path[role=graphics-symbol][aria-label^=percentile]",
        "all => all.map(e => e.getAttribute('aria-label'))",
    )
    told = {label.splitlines()[0].split(": ")[1]: label.splitlines()[1].split(": ")[1] for label in labels}
    assert told == {name: f"{1000 * stored[name]:.3g} ms" for name in ("p50", "p90", "p99")}


def test_arrow_keys_read_the_points_and_escape_hides_them(opened, report):
    page, _ = opened(report)
    page.focus("[data-plot='acceptance-length-by-category']")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#tip").startswith("category: coding")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#tip").startswith("category: math")
    page.keyboard.press("Escape")
    assert page.is_hidden("#tip")


def test_a_term_tells_its_meaning_on_hover_and_on_focus(opened, report):
    page, _ = opened(report)
    page.hover(".headline dfn >> nth=0")
    assert "1 + A / D" in page.inner_text("#tip")
    page.mouse.move(0, 0)
    page.focus(".headline dfn >> nth=0")
    assert "1 + A / D" in page.inner_text("#tip")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_colour_scheme_of_the_reader(opened, report, scheme):
    page, _ = opened(report, color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    label = page.evaluate("getComputedStyle(document.querySelector('.plot svg text')).fill")
    assert (paper, label) == {
        "light": ("rgb(255, 255, 255)", "rgb(87, 96, 106)"),
        "dark": ("rgb(20, 23, 28)", "rgb(157, 167, 179)"),
    }[scheme]
    page.click("#scheme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper


def test_a_phone_shows_it_without_scrolling_sideways(opened, report):
    page, _ = opened(report, viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    widths = page.eval_on_selector_all(".plot svg", "all => all.map(e => e.getBoundingClientRect().width)")
    assert max(widths) <= 360


def test_hostile_names_are_text_and_do_no_harm(opened, tmp_path):
    records = [record(i, HOSTILE if i % 2 else "qa") for i in range(12)]
    run = write_run(tmp_path / "run", records, benchmark=HOSTILE, model=HOSTILE, method=HOSTILE)
    page, told = opened(report_on([run]), viewport={"width": 390, "height": 800})
    assert told == []
    assert page.title() != "bad"
    assert page.inner_text("h1").startswith("<script>document.title='bad'</script>")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_it_prints_in_light_colours(opened, report):
    page, _ = opened(report, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf()[:4] == b"%PDF"
