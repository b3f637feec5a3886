"""Marts built by real dbt from a clean layer: worked examples and brute-force recomputation."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date, datetime, timedelta

import pytest


def response(number, survey, at, **fields):
    return {"source_id": f"{survey}-{number}", "survey_id": survey, "answered_at": at, "status": "complete", **fields}


def answer(number, survey, question, at, value, **fields):
    return {
        "source_id": f"{survey}-{number}-{question}",
        "response_id": f"{survey}-{number}",
        "survey_id": survey,
        "question_id": question,
        "answered_at": at,
        "value_number": value,
        **fields,
    }


def question(survey, name, metric, low=0, high=10, **fields):
    return {
        "source_id": f"{survey}-{name}-{fields.get('survey_version', '')}",
        "survey_id": survey,
        "question_id": name,
        "metric": metric,
        "scale_min": low,
        "scale_max": high,
        **fields,
    }


def member(table, source_id, person, source="test"):
    return {
        "record_table": table,
        "source": source,
        "source_id": source_id,
        "person_id": person,
        "first_extracted_at": "2026-06-01T00:00:00",
    }


TEN = (10, 9, 9, 8, 7, 8, 10, 6, 9, 3)
VALIDITY = {"a": 10, "b": 11, "c": -1, "d": None, "e": 0, "f": 6, "g": 7, "h": 8, "i": 9, "j": 9, "k": None, "l": 9.5}
WEIGHTS = {
    "F|18-34": (31.2741121152, (9, 10, 8, 6, 9, 7)),
    "F|35-54": (18.3693203815, (10, 9, 9, 8, 7, 9, 10, 6, 9, 8)),
    "F|55+": (10.7218436244, (10, 10, 9, 9, 10, 8, 9, 7, 10, 9, 6, 9)),
    "M|18-34": (70.7851091028, (5, 8, 6)),
    "M|35-54": (41.5766990462, (9, 7, 4, 8)),
    "M|55+": (24.2675753013, (9, 8, 10, 6, 9)),
}
SEGMENTS = {"north": (31, 12, 9), "east": (44, 20, 16), "south": (5, 2, 1), "west": (28, 15, 12)}
QUARTERS = {
    ("Q1", "web"): (80, 15, 5),
    ("Q1", "store"): (300, 400, 300),
    ("Q2", "web"): (540, 270, 90),
    ("Q2", "store"): (28, 36, 36),
}
CSAT = (5, 4, 4, 3, 5, 2, 4, 1, 5, 5)
CES = (7, 6, 5, 7, 4, 6, 7, 5, 3, 6, 7, 2)


@pytest.fixture(scope="module")
def warehouse(new_warehouse):
    """Each example in a year of its own, so that the totals of a year are those of one example."""
    made = new_warehouse()
    responses, answers, persons, quality = [], [], [], []

    def vote(survey, at, value, **fields):
        number = len(responses)
        responses.append(response(number, survey, at, **fields))
        answers.append(answer(number, survey, "ltr", at, value))
        return responses[-1]["source_id"]

    def votes(survey, at, counts, **fields):
        for value, count in zip((10, 8, 2), counts, strict=True):
            for _ in range(count):
                vote(survey, at, value, **fields)

    for value in TEN:
        vote("ten", "2018-03-01T04:00:00", value)
    for value in VALIDITY.values():
        vote("validity", "2019-03-01T04:00:00", value)
    for weight, values in WEIGHTS.values():
        for value in values:
            vote("weighted", "2020-03-01T04:00:00", value, weight=weight)
    for segment, counts in SEGMENTS.items():
        votes("segments", "2021-03-01T04:00:00", counts, segment=segment)
    for (quarter, channel), counts in QUARTERS.items():
        votes("mix", "2022-02-01T04:00:00" if quarter == "Q1" else "2022-05-01T04:00:00", counts, channel=channel)
    # Who counts: a preview, one screened out and one flagged do not; a partial one with a vote does.
    for status in ("preview", "screened_out", "partial", None):
        vote("counted", "2023-03-01T04:00:00", 10, status=status)
    quality.append({"source": "test", "source_id": vote("counted", "2023-03-01T04:00:00", 0), "is_kept": False})
    # The business day, not the UTC day: 2023-12-31 16:00 UTC is new year in Shanghai.
    vote("midnight", "2023-12-31T15:59:59", 10)
    vote("midnight", "2023-12-31T16:00:00", 0)
    # One person, two votes in a month and one in the next; a touchpoint vote stands beside.
    for at, value in (("2025-01-05", 0), ("2025-01-20", 10), ("2025-02-10", 8)):
        persons.append(member("response", vote("repeat", f"{at}T04:00:00", value), "p1"))
    for day, value, touchpoint in (
        ("2025-01-06", 9, "support"),
        ("2025-01-07", 3, "delivery"),
        ("2025-01-08", 10, "support"),
    ):
        at = f"{day}T04:00:00"
        persons.append(member("response", vote("after_contact", at, value, touchpoint_id=touchpoint), "p1"))

    for number, value in enumerate(CSAT):
        responses.append(response(f"c{number}", "care", "2024-03-01T04:00:00"))
        answers.append(answer(f"c{number}", "care", "csat", "2024-03-01T04:00:00", value))
        answers.append(answer(f"c{number}", "care", "upside_down", "2024-03-01T04:00:00", 6 - value))
    for number, value in enumerate(CES):
        responses.append(response(f"e{number}", "care", "2024-03-01T04:00:00", survey_version="v2"))
        answers.append(answer(f"e{number}", "care", "ces", "2024-03-01T04:00:00", value))
    answers.append(answer("c0", "care", "ces", "2024-03-01T04:00:00", None, missing_reason="refused"))

    surveys = ("ten", "validity", "weighted", "segments", "mix", "counted", "midnight", "repeat")
    made.write(
        "survey",
        [
            *({"source_id": name, "name": name, "survey_kind": "relational"} for name in (*surveys, "care")),
            {"source_id": "after_contact", "name": "after contact", "survey_kind": "transactional"},
        ],
    )
    made.write(
        "question",
        [
            *(question(name, "ltr", "nps") for name in (*surveys, "after_contact")),
            question("care", "csat", "csat", 1, 5),
            question("care", "upside_down", "csat", 1, 5, scale_direction="descending"),
            question("care", "ces", "none", survey_version="v1"),
            question("care", "ces", "ces", 1, 7, survey_version="v2"),
        ],
    )
    made.write("response", responses)
    made.write("answer", answers)
    made.write("response_quality", quality)
    made.write("person_record", persons)
    made.write(
        "invitation",
        [
            *(
                {"survey_id": "ten", "channel": "email", "sent_at": "2018-02-01T04:00:00", "response_id": f"ten-{n}"}
                for n in range(3)
            ),
            *({"survey_id": "ten", "channel": "email", "sent_at": "2018-02-01T04:00:00"} for _ in range(9)),
            *(
                {"survey_id": "ten", "channel": "phone", "sent_at": "2018-02-01T04:00:00", "status": "bounced"}
                for _ in range(4)
            ),
        ],
    )
    made.build("--exclude-resource-type", "unit_test")
    return made


def nps(warehouse, year, kind="year", breakdown="total", value="all", nps_kind="relational"):
    return warehouse.row(
        f"select * from marts.mart_nps where nps_kind = '{nps_kind}' and period_kind = '{kind}'"
        f" and period_start_date = '{year}' and breakdown = '{breakdown}' and breakdown_value = '{value}'"
    )


def test_ten_answers(warehouse):
    row = nps(warehouse, "2018-01-01")
    assert (row["promoters"], row["passives"], row["detractors"], row["n"]) == (5, 3, 2, 10)
    found = (row["nps"], row["standard_error"], row["ci_low"], row["ci_high"])
    assert found == pytest.approx((30.0, 24.6981780705, -19.0506153764, 65.2044615302), abs=1e-8)
    assert (row["metric_version"], row["run_id"], row["minimum_n"]) == ("1.0", "run-1", 10)
    assert row["nps_weighted"] is None and row["n_effective"] is None


def test_only_whole_numbers_from_0_to_10_vote(warehouse):
    row = nps(warehouse, "2019-01-01")
    assert (row["n"], row["is_suppressed"], row["suppression_reason"]) == (7, True, "below_minimum")
    hidden = ("promoters", "passives", "detractors", "nps", "standard_error", "ci_low", "ci_high")
    assert {row[name] for name in hidden} == {None}
    votes = warehouse.rows("select * from warehouse.intermediate.int_nps_vote_latest where survey_id = 'validity'")
    assert sum(v["category"] for v in votes) / len(votes) * 100 == pytest.approx(14.2857142857)


def test_weighted_score(warehouse):
    row = nps(warehouse, "2020-01-01")
    assert (row["n"], row["nps"]) == (40, 37.5)
    assert row["n_effective"] == pytest.approx(28.1587867384, abs=1e-6)
    assert row["nps_weighted"] == pytest.approx(14.7134507531, abs=1e-6)
    assert row["weighted_standard_error"] == pytest.approx(16.1042135055, abs=1e-6)
    low, high = (14.7134507531 + sign * 1.959963985 * 16.1042135055 for sign in (-1, 1))
    assert (row["weighted_ci_low"], row["weighted_ci_high"]) == pytest.approx((low, high), abs=1e-5)


def test_a_small_segment_cannot_be_had_by_subtraction(warehouse):
    total = nps(warehouse, "2021-01-01")
    assert (total["n"], total["nps"]) == (195, pytest.approx(35.8974358974))
    cells = warehouse.rows(
        "select * from marts.mart_nps where nps_kind = 'relational' and period_kind = 'year'"
        " and period_start_date = '2021-01-01' and breakdown = 'segment'"
    )
    reasons = {cell["breakdown_value"]: cell["suppression_reason"] for cell in cells}
    assert reasons == {"north": "complementary", "south": "below_minimum", "east": None, "west": None}
    assert sum(cell["n"] for cell in cells) == 195
    hidden = [cell for cell in cells if cell["is_suppressed"]]
    assert all(cell["promoters"] is None and cell["nps"] is None for cell in hidden)


def test_totals_come_from_components_and_not_from_scores(warehouse):
    def quarter(day, breakdown="total", value="all"):
        return nps(warehouse, day, "quarter", breakdown, value)

    first, second = quarter("2022-01-01"), quarter("2022-04-01")
    assert (first["nps"], second["nps"]) == (pytest.approx(6.8181818182), pytest.approx(44.2))
    cells = {
        (day, c): quarter(day, "channel", c)["nps"] for day in ("2022-01-01", "2022-04-01") for c in ("web", "store")
    }
    assert list(cells.values()) == pytest.approx([75.0, 0.0, 50.0, -8.0])
    assert cells["2022-04-01", "web"] < cells["2022-01-01", "web"]
    assert cells["2022-04-01", "store"] < cells["2022-01-01", "store"]
    assert second["nps"] > first["nps"]


def test_previews_and_flagged_responses_do_not_count(warehouse):
    row = nps(warehouse, "2023-03-01", "month")
    assert row["n"] == 2
    kept = warehouse.rows("select status, is_kept, is_counted from marts.fct_response where survey_id = 'counted'")
    assert sorted((str(r["status"]), r["is_kept"], r["is_counted"]) for r in kept) == [
        ("None", True, True),
        ("complete", False, False),
        ("partial", True, True),
        ("preview", True, False),
        ("screened_out", True, False),
    ]


def test_the_business_time_zone_decides_the_day(warehouse):
    days = warehouse.rows("select answered_date from marts.fct_response where survey_id = 'midnight' order by 1")
    assert [str(row["answered_date"]) for row in days] == ["2023-12-31", "2024-01-01"]


def test_one_person_has_one_vote_in_a_period(warehouse):
    counted = {
        (row["period_kind"], str(row["period_start_date"])): row["n"]
        for row in warehouse.rows(
            "select * from marts.mart_nps where breakdown = 'survey' and breakdown_value = 'repeat'"
            " and period_kind in ('day', 'month', 'quarter', 'year')"
        )
    }
    assert counted == {
        ("day", "2025-01-05"): 1,
        ("day", "2025-01-20"): 1,
        ("day", "2025-02-10"): 1,
        ("month", "2025-01-01"): 1,
        ("month", "2025-02-01"): 1,
        ("quarter", "2025-01-01"): 1,
        ("year", "2025-01-01"): 1,
    }
    latest = warehouse.rows(
        "select score from warehouse.intermediate.int_nps_vote_latest"
        " where survey_id = 'repeat' and is_latest_of_month order by vote_date"
    )
    assert [row["score"] for row in latest] == [10, 8]


def test_a_person_votes_once_on_each_touchpoint(warehouse):
    cells = warehouse.rows(
        "select breakdown_value, n from marts.mart_nps where nps_kind = 'touchpoint' and period_kind = 'month'"
        " and breakdown = 'touchpoint' order by 1"
    )
    assert cells == [{"breakdown_value": "delivery", "n": 1}, {"breakdown_value": "support", "n": 1}]
    assert nps(warehouse, "2025-01-01", "month", nps_kind="touchpoint")["n"] == 2


def csat(warehouse, question_id):
    return warehouse.row(
        f"select * from marts.mart_csat where question_id = '{question_id}' and period_kind = 'year'"
        " and breakdown = 'total'"
    )


def test_csat(warehouse):
    row = csat(warehouse, "csat")
    assert (row["n"], row["top_box_count"], row["top_box_pct"], row["mean_score"]) == (10, 7, 70.0, 3.8)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((39.6778147461, 89.2208732594), abs=1e-8)
    assert (row["metric"], row["survey_id"], row["source"]) == ("csat", "care", "test")


def test_a_descending_scale_is_turned_round(warehouse):
    same = ("n", "top_box_count", "mean_score", "ci_low", "mean_ci_low", "mean_ci_high")
    upright, turned = csat(warehouse, "csat"), csat(warehouse, "upside_down")
    assert {name: turned[name] for name in same} == {name: upright[name] for name in same}


def test_ces_of_the_declared_version(warehouse):
    row = csat(warehouse, "ces")
    assert (row["n"], row["top_box_count"], row["top_box_pct"]) == (12, 9, 75.0)
    found = (row["mean_score"], row["standard_deviation"], row["mean_ci_low"], row["mean_ci_high"])
    assert found == pytest.approx((5.4166666667, 1.6764862244, 4.3514781385, 6.4818551949), abs=1e-8)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((46.7694665066, 91.1058331606), abs=1e-8)
    refused = warehouse.row("select * from marts.fct_answer where missing_reason = 'refused'")
    assert (refused["is_valid"], refused["score"]) == (False, None)


def test_response_rate_counts_who_was_reached(warehouse):
    row = warehouse.row("select * from marts.mart_response_rate where period_kind = 'month' and breakdown = 'total'")
    assert (row["n_sent"], row["n"], row["n_complete"], row["response_share"]) == (16, 12, 3, 0.25)
    assert 0 < row["ci_low"] < 0.25 < row["ci_high"] < 1


def brute_force(votes, first, last):
    """Net counts of relational votes in every rolling window, straight from the definition."""
    cells = {}
    for length in (7, 28, 90):
        for offset in range((last - first).days + 1):
            end = first + timedelta(days=offset)
            latest = {}
            for voter, at, value, channel in votes:
                day = (at + timedelta(hours=8)).date()
                if end - timedelta(days=length - 1) <= day <= end:
                    latest[voter] = max(latest.get(voter, (datetime.min,)), (at, value, channel))
            counted = defaultdict(lambda: [0, 0])
            for _, value, channel in latest.values():
                for cell in (("total", "all"), ("channel", channel)):
                    counted[cell][0] += 1
                    counted[cell][1] += (value >= 9) - (value <= 6)
            cells |= {(f"rolling_{length}d", end, *cell): tuple(counts) for cell, counts in counted.items()}
    return cells


def test_rolling_windows_equal_recounting_every_window(new_warehouse):
    made = new_warehouse(minimum_n=1)
    generator = random.Random(7)
    votes = []
    for number in range(150):
        at = datetime(2026, 1, 1) + timedelta(seconds=generator.randrange(120 * 86400))
        voter = f"p{generator.randrange(40)}" if number % 3 else f"nobody{number}"
        votes.append((voter, at, generator.randrange(11), generator.choice(("web", "store"))))
    made.write("survey", [{"source_id": "s", "name": "s", "survey_kind": "relational"}])
    made.write("question", [question("s", "ltr", "nps")])
    made.write("response", [response(n, "s", at, channel=channel) for n, (_, at, _, channel) in enumerate(votes)])
    made.write("answer", [answer(n, "s", "ltr", at, value) for n, (_, at, value, _) in enumerate(votes)])
    made.write(
        "person_record", [member("response", f"s-{n}", v[0]) for n, v in enumerate(votes) if v[0].startswith("p")]
    )
    made.build("--select", "+mart_nps", "--exclude-resource-type", "unit_test", "test", as_of_date="2026-05-02")
    found = {
        (row["period_kind"], row["period_end_date"], row["breakdown"], row["breakdown_value"]): (
            row["n"],
            row["promoters"] - row["detractors"],
        )
        for row in made.rows(
            "select * from marts.mart_nps where period_kind like 'rolling%' and breakdown in ('total', 'channel')"
        )
    }
    first = min((at + timedelta(hours=8)).date() for _, at, _, _ in votes)
    assert found == brute_force(votes, first, date(2026, 5, 2))


G08 = """
c01 awareness 2026-01-01T08:00:00 ad|c01 consideration 2026-01-02T08:00:00 web|c01 purchase 2026-01-05T08:00:00 web
c01 use 2026-01-06T08:00:00 app|c01 loyalty 2026-01-28T08:00:00 app|c02 awareness 2026-01-01T09:00:00 ad
c02 consideration 2026-01-01T10:00:00 web|c02 purchase 2026-01-03T10:00:00 store|c02 use 2026-01-10T10:00:00 app
c03 awareness 2026-01-02T00:00:00 social|c03 consideration 2026-01-04T00:00:00 web
c04 awareness 2026-01-02T00:00:00 social
c05 consideration 2026-01-03T00:00:00 web|c05 awareness 2026-01-04T00:00:00 ad|c05 purchase 2026-01-09T00:00:00 web
c06 awareness 2026-01-03T00:00:00 ad|c06 purchase 2026-01-04T00:00:00 web|c06 use 2026-01-05T00:00:00 app
c07 awareness 2026-01-03T00:00:00 ad|c07 awareness 2026-01-20T00:00:00 ad|c07 consideration 2026-01-05T00:00:00 web
c07 consideration 2026-01-21T00:00:00 web|c07 purchase 2026-02-10T00:00:00 web|c08 awareness 2026-01-04T00:00:00 email
c08 consideration 2026-01-04T00:00:00 web|c08 purchase 2026-01-04T00:00:00 web|c09 awareness 2026-01-05T00:00:00 ad
c09 consideration 2026-02-04T00:00:00 web|c10 purchase 2026-01-07T00:00:00 store|c01 awareness 2026-01-01T08:00:00 ad
c02 awareness 2026-01-01T09:00:00 ad
"""
STEPS = {
    "awareness": (9, None, None, None, None, None),
    "consideration": (6, 9, 0.6666666667, 0.3542021356, 0.8794161816, 36.0),
    "purchase": (3, 6, 0.5, 0.1876163065, 0.8123836935, 48.0),
    "use": (2, 3, 0.6666666667, 0.2076596008, 0.9385080553, 96.0),
    "loyalty": (1, 2, 0.5, 0.0945312057, 0.9054687943, 528.0),
}


@pytest.fixture(scope="module")
def funnel(new_warehouse):
    made = new_warehouse(minimum_n=1)
    built = ("--exclude-resource-type", "unit_test", "test")
    made.build("--select", "+mart_funnel", *built, as_of_date="2026-03-03")
    rows = [line.split() for line in G08.strip().replace("\n", "|").split("|")]
    with made.connect(read_only=False) as connection:
        connection.executemany(
            "insert into warehouse.intermediate.int_stage_entry_collected"
            " (person_id, stage_id, entered_at, channel, entry_rank, source, source_id)"
            f" values (?, ?, ?, ?, 1, 'g08', '{0}')",
            rows,
        )
    made.build("--select", "int_stage_reached+", "--exclude", "*journey*", *built, as_of_date="2026-03-03")
    return made


def test_ordered_funnel(funnel):
    rows = funnel.rows(
        "select * from marts.mart_funnel where cohort_kind = 'all' and breakdown = 'total' order by stage_order"
    )
    assert [row["stage_id"] for row in rows] == list(STEPS)
    for row, (reached, previous, conversion, low, high, hours) in zip(rows, STEPS.values(), strict=True):
        assert (row["n_reached"], row["n_previous"]) == (reached, previous)
        measured = (row["conversion_share"], row["ci_low"], row["ci_high"], row["median_hours_from_previous"])
        assert measured == pytest.approx((conversion, low, high, hours), abs=1e-9)
        assert row["share_of_first"] == pytest.approx(reached / 9)
        assert row["dropoff_share"] == (None if conversion is None else pytest.approx(1 - conversion))
    assert [row["previous_stage_id"] for row in rows] == [None, *list(STEPS)[:-1]]


def test_how_far_each_person_came(funnel):
    rows = funnel.rows(
        "select person_id, sum(n_reached) as reached from warehouse.intermediate.int_stage_reached"
        " group by 1 order by 1"
    )
    assert [int(row["reached"]) for row in rows] == [5, 4, 2, 1, 1, 1, 2, 3, 2]
    assert "c10" not in {row["person_id"] for row in rows}


def test_a_cohort_is_mature_when_its_last_day_has_had_the_whole_window(funnel):
    mature = funnel.rows("select distinct cohort_kind, is_mature from marts.mart_funnel order by 1")
    # January ends 30 + 1 days before 3 March; the last entry of all was on 5 January.
    assert mature == [{"cohort_kind": "all", "is_mature": True}, {"cohort_kind": "month", "is_mature": True}]
    entered = funnel.row("select max(cohort_date) as day from warehouse.intermediate.int_stage_reached")
    assert str(entered["day"]) == "2026-01-05"


def test_cells_of_a_breakdown_add_up_to_the_total(funnel):
    for breakdown in ("channel", "segment"):
        row = funnel.row(
            "select sum(n_reached) as reached from marts.mart_funnel"
            f" where cohort_kind = 'month' and breakdown = '{breakdown}' and stage_id = 'consideration'"
        )
        assert row["reached"] == 6
