"""What the nightly page says, and above all what it must not say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

import duckdb
import polars as pl
import pytest

from orchestration.contracts import CONTROL
from orchestration.report import svg
from orchestration.report.build import build_report, headlines, mask, render_text, stale_sources
from orchestration.report.headlines import (
    STALE_AFTER,
    Headlines,
    MartError,
    Score,
    Touchpoint,
    count_checks,
    freshness,
    mark_pain_points,
)

NOW = datetime(2026, 5, 1, 2, 10)


@dataclass(frozen=True)
class Decided:
    action: str = "publish"
    reasons: tuple[str, ...] = ()


def check(**values) -> dict:
    return {
        "run_id": "run-7",
        "gate": "marts",
        "target_table": "mart_nps",
        "rule_id": "n_is_positive",
        "dimension": "validity",
        "severity": "error",
        "outcome": "passed",
        "checked_at": NOW,
    } | values


def load(**values) -> dict:
    return {
        "load_id": "load-1",
        "run_id": "run-7",
        "source": "crm",
        "stream": "contacts",
        "status": "committed",
        "started_at": NOW - timedelta(hours=1),
        "extracted_at": NOW - timedelta(hours=1),
    } | values


def frame(table: str, *rows: dict) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=CONTROL[table].schema)


def page(marts, *, checks=(), loads=(), **options) -> str:
    return build_report(
        marts,
        **{
            "decision": Decided(),
            "checks": frame("check_result", *checks),
            "loads": frame("load", *loads),
            "now": NOW,
            "run_id": "run-7",
        }
        | options,
    )


def change(marts, sql: str) -> None:
    with duckdb.connect(str(marts)) as connection:
        connection.execute(sql)


class Outline(HTMLParser):
    """The parts of a page that accessibility and self-containment hang on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def named(self, *names: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag in names]


# --- figures ------------------------------------------------------------------------------------------


def test_headlines_are_the_rows_of_the_marts(make_marts):
    figures = headlines(make_marts())
    assert figures.as_of == date(2026, 4, 30) and figures.run_id == "run-7"
    assert figures.nps.n == 237 and figures.nps.value == pytest.approx(100 * (141 - 48) / 237)
    assert figures.nps_before.n == 221
    assert (figures.csat.survey_id, figures.csat.top_box.n) == ("after_purchase", 411)
    assert [question.metric for question in figures.questions] == ["csat", "csat", "csat", "ces"]
    assert [stage.stage_id for stage in figures.funnel] == ["awareness", "consideration", "purchase", "use", "loyalty"]
    assert figures.funnel[1].conversion.n == 8214 and figures.funnel[1].n_reached == 4630
    assert figures.response_rate.start == date(2026, 4, 1)
    assert dict(figures.metric_versions)["NPS"] == "1.0"


def test_response_rate_is_that_of_the_last_full_month(make_marts):
    marts = make_marts()
    change(marts, "UPDATE mart_nps SET period_end_date = DATE '2026-04-14' WHERE period_kind = 'all'")
    assert headlines(marts).response_rate.start == date(2026, 3, 1)


def test_window_without_votes_is_no_data_and_not_an_older_window(make_marts):
    marts = make_marts()
    change(marts, "UPDATE mart_nps SET period_end_date = DATE '2026-06-30' WHERE period_kind = 'all'")
    figures = headlines(marts)
    assert figures.as_of == date(2026, 6, 30)
    assert not figures.nps.is_shown and figures.nps.instead == "no data"


def test_months_are_the_last_thirteen_and_gaps_stay(make_marts):
    periods = headlines(make_marts()).nps_by_month
    assert [period.start for period in periods][:2] == [date(2025, 4, 1), date(2025, 5, 1)]
    assert len(periods) == 13 and periods[-1].start == date(2026, 4, 1)
    states = {f"{period.start:%Y-%m}": period.score.instead for period in periods if not period.score.is_shown}
    assert states == {"2025-09": "n < 10", "2025-12": "no data"}
    assert {f"{p.start:%Y-%m}": p.end for p in periods}["2025-12"] == date(2025, 12, 31)


def test_month_that_is_not_over_says_so(make_marts):
    marts = make_marts()
    change(marts, "UPDATE mart_nps SET period_end_date = DATE '2026-04-20' WHERE period_kind = 'all'")
    assert "2026-04 to date" in page(marts) and "2026-03 to date" not in page(marts)


def test_text_has_the_headlines(make_marts):
    text = render_text(headlines(make_marts()))
    assert re.search(r"NPS, 28 days to 2026-04-30 +39\.2  n = 237  95 % interval 29\.0 to 49\.5", text)
    assert re.search(r"purchase +1,207  26\.1 %  n = 4,630  95 % interval 24\.8 to 27\.4", text)


def test_text_without_data():
    assert render_text(Headlines()).splitlines() == [
        "NPS, last 28 days" + " " * 21 + "no data",
        "Funnel: no data",
    ]


def test_checks_are_those_of_the_latest_run(make_marts):
    marts = make_marts()
    rows = frame(
        "check_result",
        check(run_id="old", outcome="failed", checked_at=NOW - timedelta(days=1)),
        check(),
        check(rule_id="b", severity="warn", outcome="failed"),
    ).to_arrow()
    with duckdb.connect(str(marts)) as connection:
        connection.register("results", rows)
        connection.execute("CREATE TABLE check_result AS FROM results")
    counts = headlines(marts).checks
    assert (counts.passed, counts.warned, counts.failed) == (1, 1, 0)
    assert "Checks: 0 failed, 1 warned, 1 passed" in render_text(headlines(marts))


@pytest.mark.parametrize("outcome", ["failed", "errored", "skipped", "something else"])
def test_whatever_did_not_pass_is_counted_against(outcome):
    assert count_checks([check(outcome=outcome)]).failed == 1
    assert count_checks([check(outcome=outcome, severity="warn")]).warned == 1


def point(n: int, csat: float, half: float, hidden: str | None = None) -> Touchpoint:
    score = Score(csat, csat - half, csat + half, n) if hidden is None else Score(hidden=hidden)
    return Touchpoint("Use", "App", 1, 1, 1, 1, Score(), score)


def test_pain_point_lies_below_the_whole_beyond_chance():
    journey = mark_pain_points(
        [point(300, 80, 4), point(100, 60, 9), point(100, 68, 9), point(5, 0, 0, "below_minimum")]
    )
    # Together (300 * 80 + 100 * 60 + 100 * 68) / 500 = 73.6.
    assert [touchpoint.is_pain_point for touchpoint in journey] == [False, True, False, False]


def test_missing_column_is_named(make_marts):
    marts = make_marts()
    change(marts, "ALTER TABLE mart_journey_map DROP COLUMN csat_ci_high")
    with pytest.raises(MartError, match="csat_ci_high"):
        headlines(marts)


# --- freshness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "stale"),
    [
        ([load()], False),
        ([load(status="unchanged")], False),
        ([load(extracted_at=NOW - STALE_AFTER)], False),
        ([load(extracted_at=NOW - STALE_AFTER - timedelta(seconds=1))], True),
        ([load(status="failed", extracted_at=None)], True),
        ([load(), load(load_id="l2", status="failed", started_at=NOW, extracted_at=None)], True),
        ([load(load_id="l0", status="failed", started_at=NOW - timedelta(hours=3)), load()], False),
    ],
)
def test_staleness(rows, stale):
    (entry,) = freshness(frame("load", *rows), NOW)
    assert entry.is_stale is stale
    assert stale_sources(frame("load", *rows), NOW) == (["crm"] if stale else [])


def test_failed_attempt_keeps_the_last_good_time():
    rows = [load(), load(load_id="l2", status="failed", started_at=NOW, extracted_at=NOW, error="no such file")]
    (entry,) = freshness(frame("load", *rows), NOW)
    assert entry.last_success == NOW - timedelta(hours=1) and entry.error == "no such file"


def test_stale_source_is_named_on_the_page(make_marts):
    text = page(make_marts(), loads=[load(), load(load_id="l2", source="web", status="failed", error="gone")])
    assert "<strong>Stale: web.</strong>" in text and "gone" in text


def test_a_window_that_a_budget_cut_is_told_until_it_is_read(make_marts):
    partial = load(missing_share=0.375)
    text = page(make_marts(), loads=[partial])
    assert "37.5% of the window still to be read" in text
    assert "not read to the end: crm" in text
    backfill = load(load_id="l1", kind="backfill", started_at=NOW - timedelta(minutes=50))
    failed = load(load_id="l2", status="failed", started_at=NOW - timedelta(minutes=40), extracted_at=None)
    assert freshness(frame("load", partial, backfill, failed), NOW)[0].missing_share == 0.375
    read = load(load_id="l3", started_at=NOW - timedelta(minutes=30))
    assert freshness(frame("load", partial, read), NOW)[0].missing_share is None
    assert "still to be read" not in page(make_marts(), loads=[partial, read])


# --- what must not be said ----------------------------------------------------------------------------


def test_suppressed_numbers_are_nowhere(make_marts):
    text = page(make_marts())
    for number in ("57.1", "20.5", "11.9", "88.4", "16.7", "66.7", "3.87"):
        assert number not in text, number
    assert text.count("n &lt; 10") >= 4
    figures = headlines(make_marts())
    hidden = next(p.score for p in figures.nps_by_month if p.score.hidden)
    assert (hidden.value, hidden.low, hidden.high, hidden.n) == (None, None, None, None)


@pytest.mark.parametrize("flag", ["TRUE", "NULL"])
def test_suppressed_headline_is_hidden_also_where_the_flag_is_unknown(make_marts, flag):
    marts = make_marts()
    change(marts, f"UPDATE mart_nps SET is_suppressed = {flag} WHERE period_kind = 'rolling_28d'")
    text = page(marts)
    assert '<p class="figure none" id="figure-nps">n &lt; 10</p>' in text and "39.2" not in text
    assert "39.2" not in render_text(headlines(marts))


def test_complementary_cell_is_withheld(make_marts):
    marts = make_marts()
    change(
        marts, "UPDATE mart_funnel SET is_suppressed = TRUE, suppression_reason = 'complementary' WHERE stage_order > 3"
    )
    stages = headlines(marts).funnel
    assert stages[4].n_reached is None and stages[4].dropoff_share is None and stages[4].share_of_first is None
    text = page(marts)
    assert "withheld" in text and "866" not in text.split('id="funnel"')[1].split("</section>")[0]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("ann.lee+x@mail.example.cn is twice there", "[e-mail] is twice there"),
        ("call 13800138000, or +86 138 0013 8000", "call [phone], or [phone]"),
        ("+1 (415) 555-0134", "[phone]"),
        ("id 11010519491231002X", "id [id number]"),
        ("4,812 of 2026-05-01 02:10 rows; 1234567 events", "4,812 of 2026-05-01 02:10 rows; 1234567 events"),
    ],
)
def test_personal_values_are_masked(text, masked):
    assert mask(text) == masked


def test_messages_are_masked_and_escaped_on_the_page(make_marts):
    text = page(
        make_marts(),
        checks=[check(outcome="failed", detail="<script>alert(1)</script> zhang.wei@example.com")],
        loads=[load(status="failed", error="row 3: +86 13912345678 <b>")],
        decision=Decided("block", ("clean customer.email failed: li@example.com",)),
    )
    for secret in ("zhang.wei", "13912345678", "li@example.com", "<script", "<b>"):
        assert secret not in text
    assert "&lt;script&gt;" in text and "[e-mail]" in text and "[phone]" in text


def test_checks_of_other_runs_are_not_shown(make_marts):
    text = page(make_marts(), checks=[check(), check(run_id="other", rule_id="stranger", outcome="failed")])
    assert "stranger" not in text and "0 of 1 checks failed" in text


def test_rule_without_result_is_shown_from_the_decision(make_marts):
    reason = "marts mart_csat.has_rows gave no result: it did not report"
    text = page(
        make_marts(), checks=[check(), check(rule_id="x", outcome="failed")], decision=Decided("block", (reason,))
    )
    assert reason in text and "Not published" in text


# --- the page itself ----------------------------------------------------------------------------------


def test_page_needs_nothing_else(make_marts):
    text = page(make_marts(), docs_url="https://docs.example.org/")
    outline = Outline(text)
    assert not outline.named("script", "link", "img", "iframe", "object", "embed", "source", "video", "audio", "base")
    assert not re.search(r"url\(|@import|\bsrc=|xlink:href", text)
    assert next(a["href"] for a in outline.named("a")) == "https://docs.example.org/docs/metrics/nps.md"
    assert "http" not in re.sub(r'<a href="https://docs\.example\.org/[^"]*">', "", text)


def test_without_docs_url_no_address_is_made_up(make_marts):
    text = page(make_marts())
    assert not Outline(text).named("a") and "docs/metrics/nps.md" in text


def test_page_can_be_read_without_eyes(make_marts):
    text = page(make_marts(), checks=[check(outcome="failed")], loads=[load()])
    outline = Outline(text)
    assert outline.named("html") == [{"lang": "en"}]
    assert len(outline.named("h1")) == 1 and len(outline.named("main")) == 1
    assert len(outline.named("table")) == len(outline.named("caption")) == 6
    assert all(heading.get("scope") in ("col", "row") for heading in outline.named("th"))
    assert '<th scope="row"></th>' not in text
    for drawing in outline.named("svg"):
        assert (drawing.get("role") == "img" and drawing.get("aria-labelledby")) or drawing.get("aria-hidden") == "true"
    identifiers = [attributes["id"] for _, attributes in outline.tags if attributes.get("id")]
    assert len(identifiers) == len(set(identifiers))
    labels = [attributes["aria-labelledby"] for _, attributes in outline.tags if attributes.get("aria-labelledby")]
    assert set(labels) <= set(identifiers)


def test_same_input_same_page(make_marts):
    assert page(make_marts()) == page(make_marts())


def test_time_is_shown_in_the_zone_asked_for(make_marts):
    marts = make_marts()
    assert "2026-05-01 02:10 UTC" in page(marts)
    assert "2026-05-01 10:10 Asia/Shanghai" in page(marts, now=NOW.replace(tzinfo=UTC), timezone="Asia/Shanghai")


@pytest.mark.parametrize("state", ["no file", "no table", "no row"])
def test_first_night_says_no_data(make_marts, tmp_path, state):
    marts = make_marts(with_rows=False)
    if state == "no table":
        marts = tmp_path / "none.duckdb"
        duckdb.connect(str(marts)).close()
    elif state == "no file":
        marts = tmp_path / "missing.duckdb"
    text = page(marts)
    assert text.count("No data.") == 7
    assert '<p class="figure none" id="figure-nps">no data</p>' in text
    assert not re.search(r"None|nan|>0\.0<", text)
    assert not (tmp_path / "missing.duckdb").exists()


# --- charts -------------------------------------------------------------------------------------------


def test_chart_draws_no_line_over_a_gap():
    points = [svg.Point("a", 1, 0, 2, 5), svg.Point("b", 2, 1, 3, 5), svg.Point("c", instead="n < 10")]
    points += [svg.Point("d", 3, 2, 4, 5)]
    drawing = svg.line_with_band(points, width=400, height=200, label="x", identifier="x")
    assert drawing.count("<polyline") == 1 and drawing.count("<polygon") == 1
    assert drawing.count('class="whisker"') == 1 and drawing.count("<circle") == 3
    assert "n &lt; 10" in drawing


def test_chart_places_higher_scores_higher():
    points = [svg.Point("a", -20, -30, -10, 5), svg.Point("b", 40, 30, 50, 5)]
    drawing = svg.line_with_band(points, width=400, height=200, label="x", identifier="x")
    low, high = (float(y) for y in re.findall(r'<circle class="dot" cx="[\d.]+" cy="([\d.]+)"', drawing))
    assert high < low
    # The scale holds both intervals and the zero line.
    assert 'class="grid zero"' in drawing
    assert all(
        0 < float(y) < 200 for pair in re.findall(r'points="([^"]+)"', drawing) for y in re.findall(r",([\d.]+)", pair)
    )


@pytest.mark.parametrize(("value", "text"), [(-8.1, "−8.1"), (-0.04, "0.0"), (0, "0.0"), (12.35, "12.3")])
def test_signed(value, text):
    assert svg.signed(value, 1) == text


def test_interval_stays_on_its_scale():
    drawing = svg.interval(99, 97, 104, minimum=-100, maximum=100)
    assert all(4 <= float(x) <= 116 for x in re.findall(r'(?:x1|x2|cx)="([\d.]+)"', drawing))


# --- nights -------------------------------------------------------------------------------------------


def night(run_id: str, day: int, **values) -> dict:
    return {
        "run_id": run_id,
        "step": "published__release",
        "layer": "published",
        "status": "success",
        "started_at": datetime(2026, 4, day, 18),
        "seconds": 20.0,
        "cpu_seconds": 31.0,
        "peak_memory_bytes": 800_000_000,
    } | values


def test_nights_are_charted_with_their_numbers_in_a_table(make_marts):
    steps = frame("step_metric", night("run-6", 29), night("run-7", 30, status="failure", seconds=45.0))
    text = page(make_marts(), steps=steps)
    section = text.split('id="nights"')[1].split("</section>")[0]
    outline = Outline(section)
    charts = [attributes for attributes in outline.named("svg") if attributes["class"] == "columns"]
    assert [chart["role"] for chart in charts] == ["img"] * 4
    assert "Elapsed time of 2 nights, 2026-04-29 18:00 to 2026-04-30 18:00, at most 45 s" in section
    heights = [float(bar["height"]) for bar in outline.named("rect")][:2]
    assert heights[0] / heights[1] == pytest.approx(20 / 45, abs=0.01)
    rows = re.findall(r"<tr><th.*?</tr>", section.split("<tbody>")[1])
    assert [("a step failed" in row, "run-" in row) for row in rows] == [(True, True), (False, True)]


def test_a_night_without_a_measure_leaves_a_gap(make_marts):
    steps = frame("step_metric", night("run-6", 29, peak_memory_bytes=None), night("run-7", 30))
    section = page(make_marts(), steps=steps).split('id="nights"')[1].split("</section>")[0]
    memory = section.split("<h3>Peak memory</h3>")[1].split("</figure>")[0]
    assert len(Outline(memory).named("rect")) == 1
