"""San Francisco airport's passenger survey: columns renamed every year, codes that are not scores, weights."""

from __future__ import annotations

import polars as pl
import pytest

pytestmark = pytest.mark.real_data

ZONE = "America/Los_Angeles"
OVERALL = {2013: "Q7O_WHOLE", 2014: "Q7ALL", 2015: "Q7ALL", 2016: "Q7ALL", 2017: "Q7ALL"}


@pytest.fixture(scope="module")
def night(run_night):
    return run_night("sfo", ZONE)


@pytest.fixture(scope="module")
def raw(data):
    folder = data / "sfo_airport_survey" / "raw"
    return {year: pl.read_csv(folder / f"{year}_SFO_Customer_Survey.csv", infer_schema_length=0) for year in OVERALL}


def test_every_row_arrives(night):
    rows = night.rows("select year(answered_date), count(*) from fct_response group by all order by all")
    assert rows == [(2013, 3535), (2014, 2818), (2015, 2958), (2016, 3087), (2017, 2831)]
    assert night.one("select count(distinct survey_id) from fct_response") == 1
    assert night.quarantined().is_empty()


def test_nps_2017(night):
    cell = night.one(
        "select n, promoters, passives, detractors, nps, nps_weighted, is_suppressed from mart_nps"
        " where nps_kind = 'relational' and period_kind = 'year' and period_start_date = '2017-01-01'"
        " and breakdown = 'total'"
    )
    assert cell[:4] == (2746, 1436, 968, 342)
    assert cell[4] == pytest.approx(100 * (1436 - 342) / 2746)
    assert round(cell[4], 2) == 39.84
    assert round(cell[5], 2) == 40.40
    assert cell[6] is False


def test_code_11_is_a_blank_and_no_promoter(night, raw):
    answers = dict(
        night.rows(
            "select coalesce(missing_reason, 'given'), count(*) from fct_answer"
            " where question_id = 'recommend' group by 1"
        )
    )
    # One cell of the file is empty, 84 hold the code.
    assert answers == {"given": 2746, "blank": 85}
    # What a reader that keeps the code would publish: the wrong figure is within reach of this data.
    kept = raw[2017]["NETPRO"].drop_nulls().cast(pl.Int64)
    assert round(100 * ((kept >= 9).sum() - (kept <= 6).sum()) / kept.len(), 2) == 41.63


def test_every_day_equals_somebody_elses_table(night, data):
    theirs = pl.read_csv(data / "sfo_airport_survey" / "third_party_daily_nps_2017_atefalvi.csv", try_parse_dates=True)
    totals = theirs.select(pl.col("promoter", "passive", "detractor", "n_total").sum()).row(0)
    assert totals == (1436, 968, 342, 2746)
    ours = {
        day: tuple(parts)
        for day, *parts in night.rows(
            "select day(period_start_date), promoters, passives, detractors from mart_nps where nps_kind = 'relational'"
            " and period_kind = 'day' and breakdown = 'total' and year(period_start_date) = 2017 order by 1"
        )
    }
    # They date one interview in June and one in August; the city's file says the day of May alone.
    by_day = theirs.group_by(pl.col("date").dt.day().alias("day")).agg(
        pl.col("promoter", "passive", "detractor").sum().cast(pl.Int64)
    )
    assert theirs.filter(pl.col("date").dt.month() != 5)["n_total"].to_list() == [1, 1]
    assert ours == {day: tuple(parts) for day, *parts in by_day.sort("day").rows()}
    assert len(ours) == 20


def test_overall_rating_of_five_years_in_one_survey(night, raw):
    rows = night.rows(
        "select year(period_start_date), n, mean_score from mart_csat where question_id = 'overall'"
        " and period_kind = 'year' and breakdown = 'total' order by 1"
    )
    published = {year: (n, round(mean, 3)) for year, n, mean in rows}
    assert {year: published[year] for year in range(2014, 2018)} == {
        2014: (2677, 3.996),
        2015: (2810, 4.048),
        2016: (2919, 4.038),
        2017: (2688, 4.064),
    }
    for year, n, mean in rows:
        given = raw[year][OVERALL[year]].cast(pl.Int64, strict=False)
        given = given.filter(given.is_between(1, 5))
        assert (n, mean) == (given.len(), pytest.approx(given.mean()))


def test_not_applicable_is_told_from_blank(night, raw):
    reasons = dict(
        night.rows(
            "select missing_reason, count(*) from fct_answer"
            " where question_id = 'art' and year(answered_date) = 2016 and missing_reason is not null group by 1"
        )
    )
    codes = raw[2016]["Q7ART"]
    assert reasons == {"not_applicable": (codes == "6").sum(), "blank": (codes == "0").sum()}


def test_segments_add_up_to_the_total(night):
    rows = night.rows(
        "select breakdown, sum(n), sum(promoters), sum(detractors) from mart_nps where nps_kind = 'relational'"
        " and period_kind = 'year' and breakdown in ('total', 'segment') group by 1"
    )
    # Cells of unknown segment may be too small to show, their number of votes never is.
    assert {n for _, n, _, _ in rows} == {2746}


def test_no_gate_complains(night):
    assert night.complaints() == set()
