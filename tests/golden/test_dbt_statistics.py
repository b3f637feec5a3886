"""The statistics macros against worked examples; each expected figure was computed outside this project."""

from __future__ import annotations

import pytest
from scipy import stats


@pytest.fixture(scope="module")
def warehouse(new_warehouse):
    return new_warehouse()


def values(rows):
    return ", ".join("(" + ", ".join("null" if v is None else str(v) for v in row) + ")" for row in rows)


NPS = [
    # promoters, passives, detractors, nps, se, adjusted Wald low, high
    (5, 3, 2, 30.0, 24.6981780705, -19.0506153764, 65.2044615302),
    (16, 13, 7, 25.0, 12.653379971, -0.720563328, 46.8744094819),
    (50, 30, 20, 30.0, 7.8102496759, 14.0511301788, 44.2012970057),
    (1, 0, 0, 100.0, 0.0, -48.4986494203, 98.4986494203),
    (10, 0, 0, 100.0, 0.0, 47.5035515448, 100),
    (0, 10, 0, 0.0, 0.0, -18.4650449091, 18.4650449091),
    (0, 0, 10, -100.0, 0.0, -100, -47.5035515448),
    (5, 0, 5, 0.0, 31.6227766017, -51.1273942238, 51.1273942238),
    (162, 108, 54, 33.3333333333, 4.140866625, 24.945251413, 41.1097944585),
    (420, 310, 270, 15.0, 2.5836021366, 9.9005896851, 20.0096795073),
]


def test_nps_score_error_and_interval(warehouse):
    rows = warehouse.evaluate(
        "select nps, {{ nps_score('p', 'd', 'n') }} as score, {{ nps_standard_error('p', 'd', 'n') }} as se,"
        " {{ nps_interval_low('p', 'd', 'n') }} as low, {{ nps_interval_high('p', 'd', 'n') }} as high"
        f" from (select *, p + s + d as n from (values {values(NPS)}) as t(p, s, d, nps, se0, low0, high0))"
    )
    assert len(rows) == len(NPS)
    for row, (*_, nps, se, low, high) in zip(rows, NPS, strict=True):
        assert (row["score"], row["se"], row["low"], row["high"]) == pytest.approx((nps, se, low, high), abs=1e-8)


def test_nps_of_nobody_is_unknown_and_not_zero(warehouse):
    row = warehouse.evaluate(
        "select {{ nps_score('0', '0', '0') }} as a, {{ nps_standard_error('0', '0', '0') }} as b,"
        " {{ nps_interval_low('0', '0', '0') }} as c, {{ nps_interval_high('0', '0', '0') }} as d"
    )[0]
    assert set(row.values()) == {None}


def test_what_may_vote_and_how_it_counts(warehouse):
    answers = [10, 11, -1, None, 0, 6, 7, 8, 9, 9, None, 9.5]
    rows = warehouse.evaluate(
        "select {{ is_nps_vote('v') }} as is_vote, {{ nps_category('v') }} as category"
        f" from (values {values([(v,) for v in answers])}) as t(v)"
    )
    assert [row["is_vote"] for row in rows] == [
        *(True, False, False, False, True, True, True, True, True, True, False, False)
    ]
    assert [row["category"] for row in rows if row["is_vote"]] == [1, -1, -1, 0, 0, 1, 1]


def test_wilson_interval(warehouse):
    cases = [
        (7, 10, 39.6778147461, 89.2208732594),
        (8, 10, 49.0162471537, 94.3317848546),
        (0, 10, 0.0, 27.7532799863),
        (10, 10, 72.2467200137, 100.0),
        (45, 60, 62.767929923, 84.2234774699),
        (1, 1, 20.6549314377, 100.0),
        (812, 1000, 78.6606812589, 83.5005290116),
        (9, 12, 46.7694665066, 91.1058331606),
    ]
    rows = warehouse.evaluate(
        "select 100 * {{ wilson_low('k', 'n') }} as low, 100 * {{ wilson_high('k', 'n') }} as high"
        f" from (values {values(cases)}) as t(k, n, low0, high0)"
    )
    for row, (*_, low, high) in zip(rows, cases, strict=True):
        assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-8)
        assert 0 <= row["low"] <= row["high"] <= 100


def test_intervals_of_nothing_are_unknown(warehouse):
    """DuckDB's least and greatest pass over nulls, so an unguarded end would be 0 or 1."""
    row = warehouse.evaluate(
        "select {{ wilson_low('k', 'n') }} as a, {{ wilson_high('k', 'n') }} as b, {{ wilson_high('k0', 'n0') }} as c,"
        " {{ mean_interval_low('k', 'k', 'n') }} as d, {{ mean_interval_high('1', '1', '1') }} as e"
        " from (select 0 as k, 0 as n, null::bigint as k0, null::bigint as n0)"
    )[0]
    assert set(row.values()) == {None}


def test_t_quantile_is_exact_enough_for_every_sample_size(warehouse):
    rows = warehouse.evaluate("select df, {{ t_quantile_975('df') }} as t from (select unnest(range(0, 3000)) as df)")
    assert rows[0]["t"] is None
    worst = max(abs(row["t"] - stats.t.ppf(0.975, row["df"])) for row in rows[1:])
    assert worst < 1e-7


def test_interval_of_a_mean(warehouse):
    ces = (7, 6, 5, 7, 4, 6, 7, 5, 3, 6, 7, 2)
    row = warehouse.evaluate(
        "select {{ standard_deviation('x', 'xx', 'n') }} as sd, {{ mean_interval_low('x', 'xx', 'n') }} as low,"
        " {{ mean_interval_high('x', 'xx', 'n') }} as high"
        " from (select sum(v) as x, sum(v * v) as xx, count(*) as n"
        f" from (values {values([(v,) for v in ces])}) as t(v))"
    )[0]
    assert tuple(row.values()) == pytest.approx((1.6764862244, 4.3514781385, 6.4818551949), abs=1e-8)


def test_rescale_and_direction(warehouse):
    rows = warehouse.evaluate(
        "select {{ rescale('v', '1', '5') }} as of_five, {{ rescale('v', '1', '7') }} as of_seven,"
        " {{ best_upwards('v', '1', '7', \"'descending'\") }} as reversed"
        " from (select unnest(range(1, 8)) as v)"
    )
    assert [row["of_five"] for row in rows[:5]] == [0, 25, 50, 75, 100]
    sevenths = [0, 16.6666666667, 33.3333333333, 50, 66.6666666667, 83.3333333333, 100]
    assert [row["of_seven"] for row in rows] == pytest.approx(sevenths)
    assert [row["reversed"] for row in rows] == [7, 6, 5, 4, 3, 2, 1]


def test_elapsed_seconds_are_whole_and_not_boundaries(warehouse):
    row = warehouse.evaluate(
        "select"
        " {{ seconds_between(\"timestamp '2026-01-01 00:00:00.9'\", \"timestamp '2026-01-01 00:00:01.1'\") }} as a,"
        " {{ seconds_between(\"timestamp '2026-01-01'\", \"timestamp '2026-01-02'\") }} as b"
    )[0]
    assert tuple(row.values()) == (0, 86400)


def test_business_day_and_periods(warehouse):
    row = warehouse.evaluate(
        "select {{ business_date(\"timestamp '2025-12-31 15:59:59'\") }} as before,"
        " {{ business_date(\"timestamp '2025-12-31 16:00:00'\") }} as after,"
        " {{ period_start('week', \"date '2026-01-04'\") }} as week,"
        " {{ period_end('month', \"date '2028-02-01'\") }} as leap,"
        " {{ period_end('quarter', \"date '2026-10-01'\") }} as quarter"
    )[0]
    assert [str(day) for day in row.values()] == ["2025-12-31", "2026-01-01", "2025-12-29", "2028-02-29", "2026-12-31"]


SEGMENTS = [("north", 52), ("east", 80), ("south", 8), ("west", 55)]


SUPPRESSION = {
    "one small cell takes the smallest other with it": (SEGMENTS, {"south"}, {"north"}),
    "nothing to hide": ([("a", 12), ("b", 30)], set(), set()),
    "two that are 7 together": ([("a", 3), ("b", 4), ("c", 30), ("d", 40)], {"a", "b"}, {"c"}),
    "two that are 10 together": ([("a", 6), ("b", 4), ("c", 30)], {"a", "b"}, set()),
    "ties by name": ([("a", 3), ("b", 20), ("c", 20)], {"a"}, {"b"}),
    "empty": ([("a", 0), ("b", 30)], {"a"}, set()),
    "alone": ([("a", 3)], {"a"}, set()),
}


def test_suppression(warehouse):
    listed = ", ".join(f"('{case}', '{cell}', {n})" for case, (cells, *_) in SUPPRESSION.items() for cell, n in cells)
    rows = warehouse.evaluate(
        "select grp, cell, {{ suppression_reason('n', ['grp'], 'cell') }} as reason"
        f" from (values {listed}) as t(grp, cell, n)"
    )
    for case, (_, below, complementary) in SUPPRESSION.items():
        found = {
            reason: {row["cell"] for row in rows if row["grp"] == case and row["reason"] == reason}
            for reason in ("below_minimum", "complementary")
        }
        assert found == {"below_minimum": below, "complementary": complementary}, case


CHANNELS = [
    ("google", "cpc", None, "ad"),
    ("google", "organic", None, "search"),
    (None, None, "https://www.baidu.com/s", "search"),
    ("news", "email", None, "email"),
    ("weibo", None, None, "social"),
    ("wechat", "social", None, "wechat"),
    (None, None, "https://t.co/abc", "social"),
    (None, None, "https://partner.example/page", "referral"),
    (None, None, None, "direct"),
]


def test_channel_of_a_session(warehouse):
    listed = values([[text if text is None else f"'{text}'" for text in case] for case in CHANNELS])
    rows = warehouse.evaluate(
        f"select channel, {{{{ web_channel('s', 'm', 'r') }}}} as found from (values {listed}) as t(s, m, r, channel)"
    )
    assert [row["found"] for row in rows] == [row["channel"] for row in rows]
