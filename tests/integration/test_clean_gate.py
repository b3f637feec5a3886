"""The clean gate: good tables pass, and every kind of rule catches the fault it is there for."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from data_quality.gate import decide
from data_quality.rules import Expectation, Rule, in_set, no_rows, not_null, row_count
from data_quality.run import RESULT_SCHEMA, Tables, run_rules
from data_quality.session import Session
from data_quality.suites import clean_rules
from orchestration.contracts import CONTRACTS, CONTROL, DERIVED, Kind

NOW = datetime(2026, 5, 2, 3)
GATED = CONTRACTS | DERIVED
RULES = clean_rules()
ROWS = 50

OF_KIND = {
    Kind.TIMESTAMP: datetime(2026, 5, 1),
    Kind.DATE: datetime(2026, 5, 1).date(),
    Kind.INTEGER: 1,
    Kind.NUMBER: 1.0,
    Kind.MONEY: 10,
    Kind.BOOLEAN: True,
    Kind.EMAIL: "ann@mail.example",
    Kind.PHONE: "+8613812345678",
    Kind.COUNTRY: "CN",
    Kind.CURRENCY: "CNY",
    Kind.LANGUAGE: "zh",
}
OF_COLUMN = {
    "source": "crm",
    "is_deleted": False,
    "extracted_at": datetime(2026, 5, 2),
    "first_extracted_at": datetime(2026, 5, 2),
    "metric": "choice",
    "scale_min": 0.0,
    "scale_max": 10.0,
    "question_id": "Q1",
    "record_table": "customer",
    "customer_source": "crm",
}


def good_frame(contract):
    """Fifty rows with the same ids in every table, so that every reference finds its row."""
    data = {}
    for column in contract.all_columns:
        value = OF_COLUMN.get(column.name, column.values[0] if column.values else OF_KIND.get(column.kind, "x"))
        data[column.name] = [value] * ROWS
        if column.name.endswith("_id") and column.name not in ("load_id", "question_id"):
            data[column.name] = [f"id{i}" for i in range(ROWS)]
    return pl.DataFrame(data, schema=contract.schema)


@pytest.fixture
def home(tmp_path):
    for table, contract in GATED.items():
        write(tmp_path, table, pl.DataFrame(schema=contract.schema), "_empty")
        write(tmp_path, table, good_frame(contract))
    return tmp_path


def write(home, table, frame, name="all"):
    path = home / "clean" / table / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)


def change(home, table, **values):
    """Give the first rows of ``table`` other values: a list of them for the first rows, or one for the first."""
    frame = pl.read_parquet(home / "clean" / table / "all.parquet")
    for column, value in values.items():
        new = value if isinstance(value, list) else [value]
        column_values = [*new, *frame[column].to_list()[len(new) :]]
        frame = frame.with_columns(pl.Series(column, column_values, dtype=frame.schema[column]))
    write(home, table, frame)


def tables(home):
    return Tables.clean(home / "clean", home / "control", GATED)


def check(home, rules):
    return run_rules(rules, tables=tables(home), run_id="run", now=NOW)


def check_table(home, table):
    return check(home, [rule for rule in RULES if rule.target_table == table])


def not_passed(results):
    return dict(results.filter(pl.col("outcome") != "passed").select("rule_id", "outcome").iter_rows())


def test_good_tables_pass(home):
    results = check(home, RULES)
    assert results.schema == RESULT_SCHEMA
    assert not_passed(results) == {}
    assert results.height == len(RULES)
    assert decide(RULES, results).action == "publish"
    assert results["checked_at"].unique().to_list() == [NOW]


def test_empty_tables_pass(tmp_path):
    for table, contract in GATED.items():
        write(tmp_path, table, pl.DataFrame(schema=contract.schema), "_empty")
    results = check(tmp_path, RULES)
    assert not_passed(results) == {}
    assert set(results["element_count"].drop_nulls()) == {0}


FAULTS = [
    ("customer", {"source_id": "id1"}, {"key_unique": "failed"}),
    ("customer", {"row_hash": None}, {"lineage_present": "failed"}),
    ("customer", {"email": "ann at mail"}, {"email_shape": "failed"}),
    ("customer", {"phone": "13812345678"}, {"phone_shape": "failed"}),
    ("customer", {"country": "China"}, {"country_shape": "failed"}),
    ("customer", {"language": "Chinese!"}, {"language_shape": "failed"}),
    ("customer", {"created_at": datetime(2026, 5, 9)}, {"not_in_the_future": "failed"}),
    (
        "customer",
        {"created_at": [datetime(2026, 5, 9)] * 11},
        {"not_in_the_future": "failed", "created_at_not_in_the_future": "failed"},
    ),
    ("customer", {"account_id": ["gone"] * 2}, {"account_id_exists": "failed"}),
    ("customer", {"source_id": "new"}, {"person_known": "failed"}),
    ("sales_order", {"status": "lost"}, {"status_known": "failed"}),
    ("sales_order", {"item_count": -1}, {"item_count_in_range": "failed"}),
    ("sales_order", {"order_currency": "yuan"}, {"order_currency_shape": "failed"}),
    ("sales_order", {"ordered_at": None}, {"ordered_at_present": "failed"}),
    ("sales_order", {"delivered_at": [datetime(2026, 4, 1)] * 2}, {"delivered_at_after_ordered_at": "failed"}),
    ("sales_order", {"customer_id": ["gone"] * 2}, {"customer_id_exists": "failed"}),
    ("response", {"progress_pct": 101.0}, {"progress_pct_in_range": "failed"}),
    ("response", {"source_id": "new"}, {"quality_known": "failed"}),
    ("answer", {"response_id": ["gone"] * 2}, {"response_id_exists": "failed"}),
    (
        "answer",
        {"response_id": ["gone"] * 11},
        {"response_id_exists": "failed", "response_id_exists_error": "failed"},
    ),
    ("answer", {"question_id": ["Q9"] * 2}, {"question_id_exists": "failed"}),
    (
        "answer",
        {"value_number": None, "value_text": None, "missing_reason": None, "option_id": None},
        {"value_or_reason": "failed"},
    ),
    ("question", {"metric": "rating", "scale_max": None}, {"scale_declared": "failed"}),
    ("question", {"metric": "nps", "scale_min": 1.0}, {"nps_scale": "failed"}),
    ("question", {"metric": "loyalty"}, {"metric_known": "failed"}),
    ("ticket_event", {"ticket_id": ["gone"] * 2}, {"ticket_id_exists": "failed"}),
    ("response_quality", {"is_kept": [False] * 16}, {"given_in_earnest": "failed"}),
    ("person_record", {"person_id": None}, {"person_id_present": "failed"}),
    ("web_event", {"event_name": None}, {"event_name_present": "failed"}),
]


@pytest.mark.parametrize(("table", "values", "expected"), FAULTS, ids=[f"{t}-{next(iter(e))}" for t, _, e in FAULTS])
def test_a_fault_is_caught_and_nothing_else_is(home, table, values, expected):
    change(home, table, **values)
    assert not_passed(check_table(home, table)) == expected


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("customer", {"email": None, "phone": None, "country": None, "account_id": None}),
        ("customer", {"account_id": "gone"}),
        ("customer", {"created_at": datetime(2026, 5, 2, 20)}),
        ("sales_order", {"customer_source": None}),
        ("ticket", {"resolved_at": None, "closed_at": None}),
    ],
)
def test_what_is_allowed_passes(home, table, values):
    change(home, table, **values)
    assert not_passed(check_table(home, table)) == {}


def test_an_answer_off_its_scale_is_caught(home):
    change(home, "question", metric=["nps"] * ROWS)
    change(home, "answer", value_number=11.0)
    assert not_passed(check_table(home, "answer")) == {"value_on_scale": "failed"}


def test_a_parent_that_nobody_feeds_is_no_fault_where_it_is_a_label(home):
    write(home, "account", pl.DataFrame(schema=CONTRACTS["account"].schema))
    write(home, "survey", pl.DataFrame(schema=CONTRACTS["survey"].schema))
    assert not_passed(check_table(home, "customer")) == {}
    assert set(not_passed(check_table(home, "response"))) == {"survey_id_exists", "survey_id_exists_error"}


def load_rows(*rows):
    common = {"run_id": "run", "source": "crm", "status": "committed", "rows_rejected": 0}
    return pl.DataFrame([{**common, **row} for row in rows], schema=CONTROL["load"].schema)


def reject(home, load_id, rows, table="customer"):
    frame = pl.DataFrame(
        [
            {"target_table": table, "source": "crm", "stream": "people", "load_id": load_id, "load_row": i, "field": f}
            for i in range(rows)
            for f in ("email", "phone")
        ],
        schema=CONTROL["quarantine"].schema,
    )
    path = home / "control" / "quarantine" / table / f"{load_id}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)


@pytest.mark.parametrize(
    ("rejected", "expected"), [(2, set()), (3, {"rejected_warn"}), (21, {"rejected_warn", "rejected_error"})]
)
def test_rejects_are_limited_by_load(home, rejected, expected):
    (home / "control" / "load").mkdir(parents=True)
    older = {"load_id": "l1", "stream": "people", "started_at": NOW - timedelta(days=1), "rows_landed": 10}
    newest = {"load_id": "l2", "stream": "people", "started_at": NOW, "rows_landed": 100}
    unchanged = {"load_id": "l3", "stream": "people", "started_at": NOW, "status": "unchanged", "rows_landed": 0}
    load_rows(older, newest, unchanged).write_parquet(home / "control" / "load" / "all.parquet")
    reject(home, "l1", 9)  # an older load's rejects are history
    reject(home, "l2", rejected)
    reject(home, "l2", 50, table="account")
    results = check_table(home, "customer")
    assert set(not_passed(results)) == expected
    for detail in results.filter(pl.col("outcome") == "failed")["detail"]:
        assert f"crm/people/l2/{rejected}/100" in detail


def test_the_detail_names_keys_and_no_values(home):
    change(home, "customer", email=["ann at mail"] * 30)
    (row,) = check_table(home, "customer").filter(pl.col("outcome") == "failed").to_dicts()
    assert row["unexpected_count"] == 30
    assert row["element_count"] == ROWS
    assert row["observed_value"] == "30 of 50 rows fail (60.00%)"
    assert "crm/id0, crm/id1" in row["detail"]
    assert row["detail"].count("crm/id") == 20
    assert "ann" not in row["detail"]


def test_nulls_are_not_looked_at(home):
    change(home, "customer", email=["bad", *[None] * 9])
    (row,) = check_table(home, "customer").filter(pl.col("outcome") == "failed").to_dicts()
    assert (row["element_count"], row["unexpected_count"]) == (ROWS - 9, 1)


def rule(rule_id, expectation, table="customer", column=None, **more):
    return Rule(rule_id, "clean", table, expectation, "validity", "error", "It holds.", column=column, **more)


def test_what_cannot_be_checked_is_errored_and_nothing_is_lost(home):
    rules = [
        rule("good", not_null("source"), column="source"),
        rule("no_table", not_null("source"), table="nowhere", column="source"),
        rule("no_column", not_null("nothing"), column="nothing"),
        rule("bad_sql", no_rows("SELECT nothing FROM customer")),
        rule("bad_type", Expectation("ExpectMiracles", {})),
        rule("bad_arguments", Expectation("ExpectColumnValuesToNotBeNull", {"row": 1})),
        rule("wrong_type", in_set("created_at", ["not a time"]), column="created_at"),
        rule("too_few", row_count(minimum=ROWS + 1)),
        rule("enough", row_count(minimum=ROWS, maximum=ROWS)),
    ]
    results = check(home, rules)
    outcomes = dict(results.select("rule_id", "outcome").iter_rows())
    assert results["rule_id"].to_list() == [rule.rule_id for rule in rules]
    assert outcomes == {
        "good": "passed",
        "no_table": "errored",
        "no_column": "errored",
        "bad_sql": "errored",
        "bad_type": "errored",
        "bad_arguments": "errored",
        "wrong_type": "errored",
        "too_few": "failed",
        "enough": "passed",
    }
    assert all(results.filter(pl.col("outcome") == "errored")["detail"].str.len_chars() > 0)
    assert decide(rules, results).action == "block"


def test_an_unreadable_table_is_its_own_trouble_only(home):
    (home / "clean" / "customer" / "all.parquet").write_bytes(b"PAR1 cut off")
    rules = [rule for rule in RULES if rule.target_table in ("customer", "account")]
    rules = [rule for rule in rules if rule.reads == rule.target_table]
    outcomes = check(home, rules).group_by("target_table").agg(pl.col("outcome").unique())
    assert dict(outcomes.iter_rows()) == {"customer": ["errored"], "account": ["passed"]}


def test_a_table_that_is_missing_is_errored(tmp_path):
    results = check(tmp_path, [rule for rule in RULES if rule.target_table == "account"])
    assert set(results["outcome"]) <= {"errored", "passed"}
    # Nothing was rejected where nothing was loaded; all that reads the table itself could not be checked.
    assert set(results.filter(pl.col("outcome") == "passed")["rule_id"]) == {"rejected_warn", "rejected_error"}
    assert decide(RULES, results).action == "block"


def test_a_gate_that_cannot_run_errors_every_rule(home, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(Session, "__init__", fail)
    results = check(home, RULES)
    assert results["outcome"].unique().to_list() == ["errored"]
    assert results.height == len(RULES)
    assert "no room" in results["detail"][0]


def test_a_count_that_is_missing_is_no_pass(home, monkeypatch):
    import data_quality.engine

    original = data_quality.engine.Validator.validate

    def forget(self, batch, expectations):
        results = original(self, batch, expectations)
        for result in results:
            result.success = True
            result.result["unexpected_count"] = None
        return [None, *results[1:]] if len(results) > 1 else results

    monkeypatch.setattr(data_quality.engine.Validator, "validate", forget)
    rules = [rule("one", not_null("source"), column="source"), rule("two", not_null("source_id"), column="source_id")]
    assert check(home, rules)["outcome"].to_list() == ["errored", "errored"]


@pytest.mark.parametrize("table", ["customer", "response", "answer", "question", "sales_order"])
def test_great_expectations_counts_what_plain_sql_counts(home, table):
    """Two ways to the same figure, on rows with faults of every kind."""
    import duckdb

    frame = pl.read_parquet(home / "clean" / table / "all.parquet")
    faulty = frame.with_columns(
        [
            pl.when(pl.int_range(pl.len()) % (3 + i) == 0).then(pl.lit("~")).otherwise(pl.col(name)).alias(name)
            for i, name in enumerate(frame.columns)
            if frame.schema[name] == pl.String and name not in ("source", "row_hash")
        ]
        + [pl.when(pl.int_range(pl.len()) % 7 == 0).then(None).otherwise(pl.col("row_hash")).alias("row_hash")]
    )
    write(home, table, faulty)
    rules = [rule for rule in RULES if rule.target_table == table and rule.expectation.failing is not None]
    results = check(home, rules)
    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW {table} AS FROM read_parquet('{home}/clean/{table}/*.parquet')")
    expected = [
        connection.execute(
            f"SELECT count(*) FROM {table} WHERE {rule.expectation.failing.replace('{table}', table)}"
        ).fetchone()[0]
        for rule in rules
    ]
    assert results["unexpected_count"].to_list() == expected
    assert sum(expected) > 0
