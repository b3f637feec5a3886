"""The marts gate: good marts pass, and every kind of rule catches the fault it is there for."""

from datetime import datetime

import duckdb
import polars as pl
import pytest

from data_quality.gate import decide
from data_quality.personal_data import LONGEST_NUMBER
from data_quality.run import Tables, run_rules
from data_quality.suites import marts_rules
from data_quality.suites.marts import MART_KEYS
from data_quality.suites.personal_data import personal_columns

RULES = marts_rules()
NOW = datetime(2026, 5, 2, 3)
PERSONS = "SELECT 'p' || i AS person_id, 'CN' AS country, 'north' AS segment FROM range(40) AS r(i)"
SCORED = "10 AS minimum_n, false AS is_suppressed, NULL::VARCHAR AS suppression_reason, '1' AS metric_version"

MARTS = {
    "dim_person": PERSONS,
    "dim_account": "SELECT 'a' || i AS account_key, 'Company ' || i AS account_name FROM range(4) AS r(i)",
    "dim_touchpoint": "SELECT 'checkout' AS touchpoint_id, 'Checkout' AS touchpoint_name",
    "dim_date": "SELECT DATE '2026-01-01' + CAST(i AS INTEGER) AS calendar_date FROM range(90) AS r(i)",
    "fct_response": "SELECT 'r' || i AS response_key, 'p' || i AS person_id FROM range(40) AS r(i)",
    "fct_answer": "SELECT m || i AS answer_key, 'r' || i AS response_key, 'p' || i AS person_id, 'survey' AS source, "
    "'s' AS survey_id, m AS question_id, m AS metric, true AS is_valid, true AS is_counted "
    "FROM range(40) AS r(i), (VALUES ('nps'), ('csat')) AS q(m)",
    "fct_session": "SELECT 's' || i AS session_key, 'p' || i AS person_id, 60 AS duration_seconds, 3 AS n_events, "
    "'/search?q=shoes' AS entry_page_path FROM range(40) AS r(i)",
    "fct_order": "SELECT 'o' || i AS order_key, 'p' || i AS person_id, '20260101' || i AS source_id "
    "FROM range(9) AS r(i)",
    "fct_ticket": "SELECT 't' || i AS ticket_key, 'p' || i AS person_id FROM range(9) AS r(i)",
    "fct_journey_stage": "SELECT s || i AS journey_stage_key, 'p' || i AS person_id, s AS stage_id, "
    "true AS is_reached_in_order FROM range(40) AS r(i), (VALUES ('awareness'), ('purchase')) AS v(s)",
    "mart_nps": "SELECT 'relational' AS nps_kind, 'all' AS period_kind, DATE '2026-01-01' AS period_start_date, "
    "breakdown, breakdown_value, n, 2 * n // 4 AS promoters, n // 4 AS passives, n // 4 AS detractors, "
    "25.0::DOUBLE AS nps, "
    "5.0 AS standard_error, 20.0 AS ci_low, 30.0 AS ci_high, NULL::DOUBLE AS n_effective, "
    "NULL::DOUBLE AS nps_weighted, "
    f"NULL::DOUBLE AS weighted_ci_low, NULL::DOUBLE AS weighted_ci_high, {SCORED}, 'run' AS run_id FROM "
    "(VALUES ('total', 'all', 40), ('segment', 'north', 20), ('segment', 'south', 20)) "
    "AS v(breakdown, breakdown_value, n)",
    "mart_csat": "SELECT 'survey' AS source, 's' AS survey_id, 'csat' AS question_id, 'csat' AS metric, "
    "'all' AS period_kind, DATE '2026-01-01' AS period_start_date, 'total' AS breakdown, 'all' AS breakdown_value, "
    "40 AS n, 30 AS top_box_count, 75.0 AS top_box_pct, 60.0 AS ci_low, 85.0 AS ci_high, 4.1 AS mean_score, "
    f"4.0 AS mean_ci_low, 4.2 AS mean_ci_high, {SCORED}, 'run' AS run_id",
    "mart_response_rate": "SELECT 'all' AS period_kind, DATE '2026-01-01' AS period_start_date, 'total' AS breakdown, "
    "'all' AS breakdown_value, 100 AS n_sent, 90 AS n, 40 AS n_complete, 5 AS n_partial, 0.44 AS response_share, "
    f"0.3 AS ci_low, 0.6 AS ci_high, {SCORED}, 'run' AS run_id",
    "mart_funnel": "SELECT 'all' AS cohort_kind, DATE '2026-01-01' AS cohort_start_date, 'total' AS breakdown, "
    "'all' AS breakdown_value, stage_id, 40 AS n, n_previous, 40 AS n_reached, conversion AS conversion_share, "
    "1 - conversion AS dropoff_share, low AS ci_low, low + 0.01 AS ci_high, 1.0 AS share_of_first, "
    f"0.5 AS median_hours_from_previous, {SCORED}, 'run' AS run_id FROM (VALUES ('awareness', NULL, NULL, NULL), "
    "('purchase', 40, 1.0, 0.9)) AS v(stage_id, n_previous, conversion, low)",
    "mart_journey_map": "SELECT 'checkout' AS touchpoint_id, 5 AS n_persons, 6 AS n_sessions, 7 AS n_orders, "
    "8 AS n_tickets, 20 AS nps_n, 25.0::DOUBLE AS nps, 20.0 AS nps_ci_low, 30.0 AS nps_ci_high, 20 AS csat_n, "
    "75.0 AS csat_top_box_pct, 60.0 AS csat_ci_low, 85.0 AS csat_ci_high, 'run' AS run_id",
}


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as connection:
        for name, query in MARTS.items():
            connection.execute(f"CREATE TABLE {name} AS {query}")
    return path


@pytest.fixture
def marts(tmp_path):
    return write(tmp_path / "warehouse" / "marts.duckdb")


def execute(path, sql):
    with duckdb.connect(str(path)) as connection:
        connection.execute(sql)


def check(path, published=None, table=None):
    rules = [rule for rule in RULES if table in (None, rule.target_table)]
    return run_rules(rules, tables=Tables.marts(path, published), run_id="run", now=NOW)


def not_passed(results):
    return dict(results.filter(pl.col("outcome") != "passed").select("rule_id", "outcome").iter_rows())


def test_good_marts_pass(marts):
    assert set(MARTS) == set(MART_KEYS)
    results = check(marts)
    assert results.filter(pl.col("outcome") != "passed").select("target_table", "rule_id", "detail").rows() == []
    assert decide(RULES, results).action == "publish"


def test_marts_without_rows_pass(marts):
    with duckdb.connect(str(marts)) as connection:
        for name in MARTS:
            connection.execute(f"DELETE FROM {name}")
    assert not_passed(check(marts)) == {}


FAULTS = [
    ("dim_person", "INSERT INTO dim_person SELECT * FROM dim_person LIMIT 1", {"key_unique"}),
    ("dim_person", "UPDATE dim_person SET person_id = NULL WHERE person_id = 'p1'", {"key_present"}),
    ("dim_person", "UPDATE dim_person SET segment = 'ask ann.lee@mail.example'", {"no_personal_data"}),
    ("dim_person", "UPDATE dim_person SET segment = 'ring 13812345678 now'", {"no_personal_data"}),
    ("dim_person", "UPDATE dim_person SET segment = '+442079460018'", {"no_personal_data"}),
    ("dim_person", "UPDATE dim_person SET segment = '11010519491231002X'", {"no_personal_data"}),
    ("fct_order", "UPDATE fct_order SET source_id = 'ann@mail.example'", {"no_personal_data"}),
    ("fct_session", "UPDATE fct_session SET duration_seconds = -1", {"duration_seconds_in_range"}),
    ("fct_answer", "UPDATE fct_answer SET response_key = 'gone' WHERE answer_key = 'nps1'", {"response_exists"}),
    ("fct_ticket", "UPDATE fct_ticket SET person_id = 'gone' WHERE ticket_key = 't1'", {"person_exists"}),
    ("fct_ticket", "UPDATE fct_ticket SET person_id = 'gone'", {"person_exists", "person_exists_error"}),
    ("mart_nps", "UPDATE mart_nps SET promoters = promoters + 1", {"counts_add_up", "score_follows"}),
    ("mart_nps", "UPDATE mart_nps SET nps = 101", {"nps_in_range", "score_follows"}),
    ("mart_nps", "UPDATE mart_nps SET nps = NULL", {"score_follows"}),
    ("mart_nps", "UPDATE mart_nps SET ci_low = 31", {"ci_low_at_most_ci_high"}),
    ("mart_nps", "UPDATE mart_nps SET ci_high = NULL", {"ci_low_at_most_ci_high"}),
    (
        "mart_nps",
        "UPDATE mart_nps SET is_suppressed = true, suppression_reason = 'below_minimum' WHERE breakdown = 'total'",
        {"suppressed_is_empty"},
    ),
    (
        "mart_nps",
        "UPDATE mart_nps SET is_suppressed = true, nps = NULL",
        {"suppressed_is_empty", "suppression_explained"},
    ),
    ("mart_nps", "UPDATE mart_nps SET minimum_n = 41", {"small_is_suppressed"}),
    ("mart_nps", "DELETE FROM mart_nps WHERE breakdown_value = 'south'", {"breakdowns_add_up"}),
    ("mart_nps", "DELETE FROM mart_nps", {"reconciles_with_answers"}),
    ("mart_nps", "UPDATE mart_nps SET run_id = 'last night'", {"built_by_last_build"}),
    ("mart_csat", "UPDATE mart_csat SET n = 39", {"reconciles_with_answers"}),
    ("mart_csat", "UPDATE mart_csat SET n = -1, minimum_n = -5", {"n_in_range", "reconciles_with_answers"}),
    ("mart_csat", "DELETE FROM mart_csat", {"reconciles_with_answers"}),
    ("mart_response_rate", "UPDATE mart_response_rate SET response_share = 1.1", {"response_share_in_range"}),
    (
        "mart_funnel",
        "UPDATE mart_funnel SET n_reached = 41 WHERE stage_id = 'purchase'",
        {"never_widens", "reconciles_with_stages"},
    ),
    ("mart_journey_map", "UPDATE mart_journey_map SET nps = -101", {"nps_in_range"}),
]


@pytest.mark.parametrize(("table", "sql", "expected"), FAULTS, ids=[f"{t}-{min(e)}" for t, _, e in FAULTS])
def test_a_fault_is_caught_and_nothing_else_is(marts, table, sql, expected):
    execute(marts, sql)
    assert not_passed(check(marts, table=table)) == dict.fromkeys(expected, "failed")


def test_personal_data_stay_out_of_the_result(marts):
    execute(marts, "UPDATE dim_person SET segment = 'ann.lee@mail.example' WHERE person_id <> 'p1'")
    (row,) = check(marts, table="dim_person").filter(pl.col("outcome") == "failed").to_dicts()
    assert "segment/39" in row["detail"]
    assert not any("ann.lee" in str(value) for value in row.values())


@pytest.mark.parametrize(
    "text", ["2026-05-01", "order 138001380001", "1700000000", "v1.2@3", "a1b2c3d4e5f613812345678aa"]
)
def test_what_only_looks_like_it_a_little_passes(marts, text):
    execute(marts, f"UPDATE dim_person SET segment = '{text}'")
    assert not_passed(check(marts, table="dim_person")) == {}


def test_a_mart_that_lost_half_of_its_rows_blocks(marts, tmp_path):
    published = write(tmp_path / "serving" / "marts.duckdb")
    assert not_passed(check(marts, published, "fct_response")) == {}
    execute(marts, "DELETE FROM fct_response WHERE response_key >= 'r2'")
    assert not_passed(check(marts, published, "fct_response")) == {"rows_kept": "failed"}


def test_a_mart_that_is_new_has_nothing_to_lose(marts, tmp_path):
    published = write(tmp_path / "serving" / "marts.duckdb")
    execute(published, "DROP TABLE mart_nps")
    assert not_passed(check(marts, published, "mart_nps")) == {}
    assert not_passed(check(marts, tmp_path / "nothing published yet", "mart_nps")) == {}


def test_a_published_file_that_cannot_be_read_blocks(marts, tmp_path):
    published = tmp_path / "published.duckdb"
    published.write_bytes(b"not a database")
    results = check(marts, published, "dim_person")
    assert not_passed(results) == {"rows_kept": "errored"}


def test_a_missing_mart_is_errored(marts):
    execute(marts, "DROP TABLE mart_funnel")
    results = check(marts, table="mart_funnel")
    assert results["outcome"].unique().to_list() == ["errored"]
    assert "there is no table mart_funnel" in results["detail"][0]


def test_marts_that_dbt_did_not_write_are_errored(tmp_path):
    results = check(tmp_path / "marts.duckdb")
    assert results["outcome"].unique().to_list() == ["errored"]
    assert str(tmp_path / "marts.duckdb") in results["detail"][0]


def test_marts_are_only_read_and_can_be_written_afterwards(marts):
    before = marts.read_bytes()
    check(marts, table="dim_date")
    assert marts.read_bytes() == before
    execute(marts, "DROP TABLE dim_date")


CUSTOMERS = pl.DataFrame(
    {
        "full_name": ["Felix Taylor", "谢勇", "north", "May"],
        "email": ["felix@mail.example", None, None, None],
        "phone": ["+8613812345678", "+442079460018", None, None],
    }
)


@pytest.fixture
def clean(tmp_path):
    """Clean tables with persons; customers called ``north`` and ``May`` must not block a segment and a month."""
    for table, columns in personal_columns().items():
        folder = tmp_path / "clean" / table
        folder.mkdir(parents=True)
        empty = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
        frame = CUSTOMERS.select(columns) if table == "customer" else empty
        frame.write_parquet(folder / "all.parquet")
    return tmp_path / "clean"


@pytest.mark.parametrize(
    ("table", "sql", "expected"),
    [
        ("dim_person", "UPDATE dim_person SET segment = 'Felix Taylor' WHERE person_id = 'p1'", {"no_known_person"}),
        ("dim_person", "UPDATE dim_person SET segment = ' felix TAYLOR' WHERE person_id = 'p1'", {"no_known_person"}),
        ("dim_person", "UPDATE dim_person SET segment = '谢勇' WHERE person_id = 'p1'", {"no_known_person"}),
        # A key made of a phone number does not look like one.
        ("fct_order", "UPDATE fct_order SET source_id = '13812345678' WHERE order_key = 'o1'", {"no_known_person"}),
        ("dim_person", "ALTER TABLE dim_person ADD COLUMN full_name VARCHAR", {"no_personal_column"}),
        ("dim_person", "ALTER TABLE dim_person ADD COLUMN contact_email VARCHAR", {"no_personal_column"}),
        ("dim_person", "ALTER TABLE dim_person ADD COLUMN birth_date DATE", {"no_personal_column"}),
        ("fct_ticket", "ALTER TABLE fct_ticket ADD COLUMN subject VARCHAR", {"no_personal_column"}),
        ("dim_account", "UPDATE dim_account SET account_name = 'Felix Taylor'", {"no_known_person_warn"}),
        ("dim_person", "UPDATE dim_person SET segment = '110105194912310021'", set()),
    ],
)
def test_persons_are_found_by_name_of_column_and_by_value(marts, clean, table, sql, expected):
    execute(marts, sql)
    rules = [rule for rule in RULES if rule.target_table == table]
    results = run_rules(rules, tables=Tables.marts(marts, None, clean), run_id="run", now=NOW)
    assert not_passed(results) == dict.fromkeys(expected, "failed")
    assert not any("felix" in str(row).lower() or "谢勇" in str(row) for row in results["detail"].drop_nulls())


def test_good_marts_pass_beside_their_persons(marts, clean, tmp_path):
    truth = tmp_path / "pii.parquet"
    pl.DataFrame({"kind": ["latin_name"], "value": ["Xie Yong"]}).write_parquet(truth)
    tables = Tables.marts(marts, None, clean, truth)
    assert not_passed(run_rules(RULES, tables=tables, run_id="run", now=NOW)) == {}
    execute(marts, "UPDATE dim_touchpoint SET touchpoint_name = 'Xie Yong'")
    assert not_passed(run_rules(RULES, tables=tables, run_id="run", now=NOW)) == {"no_known_person": "failed"}


def test_a_known_value_without_any_mark_is_found_too(marts, clean, tmp_path):
    """What has no blank, no ``@``, no digits and no character outside ASCII is compared with every text."""
    truth = tmp_path / "pii.parquet"
    pl.DataFrame({"kind": ["login", "login"], "value": ["annlee", "13x"]}).write_parquet(truth)
    execute(marts, "UPDATE dim_touchpoint SET touchpoint_name = ' AnnLee'")
    results = run_rules(RULES, tables=Tables.marts(marts, None, clean, truth), run_id="run", now=NOW)
    assert not_passed(results) == {"no_known_person": "failed"}


def test_a_known_number_longer_than_any_that_has_a_mark_is_found_too(marts, clean, tmp_path):
    truth = tmp_path / "pii.parquet"
    number = "1" * (LONGEST_NUMBER + 1)
    pl.DataFrame({"kind": ["login", "login"], "value": [number, number[1:]]}).write_parquet(truth)
    for found in (number, number[1:]):
        execute(marts, f"UPDATE fct_order SET source_id = '{found}' WHERE order_key = 'o1'")
        results = run_rules(RULES, tables=Tables.marts(marts, None, clean, truth), run_id="run", now=NOW)
        assert not_passed(results)["no_known_person"] == "failed"


def test_persons_that_cannot_be_read_block(marts, clean):
    (clean / "customer" / "all.parquet").unlink()
    rules = [rule for rule in RULES if rule.rule_id == "no_known_person"]
    results = run_rules(rules, tables=Tables.marts(marts, None, clean), run_id="run", now=NOW)
    assert set(results["outcome"]) == {"errored"}
    assert decide(rules, results).action == "block"
