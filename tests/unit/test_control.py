"""Control tables: written once or again with the same effect, read by Polars and by SQL."""

from datetime import datetime

import duckdb
import polars as pl
import pytest

from orchestration.contracts import CONTROL
from orchestration.sources.extract import failed_load
from orchestration.warehouse.control import Control

NOW = datetime(2026, 5, 1)


@pytest.fixture
def control(tmp_path):
    return Control(tmp_path / "it's control")


def rejects(*fields, load="l1"):
    rows = [
        {
            "target_table": "customer",
            "source": "crm",
            "stream": "contacts",
            "load_id": load,
            "load_row": number,
            "field": field,
            "reason": "missing",
            "original_value": "x",
        }
        for number, field in enumerate(fields)
    ]
    return pl.DataFrame(rows, schema=CONTROL["quarantine"].schema)


def results(outcome):
    row = {
        "run_id": "r1",
        "gate": "clean",
        "target_table": "customer",
        "rule_id": "unique",
        "dimension": "uniqueness",
        "severity": "error",
        "outcome": outcome,
        "checked_at": NOW,
    }
    return pl.DataFrame([row]).cast({"checked_at": pl.Datetime("us")})


def test_every_table_is_readable_before_anything_is_written(control):
    for name, contract in CONTROL.items():
        assert control.scan(name).collect().schema == contract.schema
        with duckdb.connect() as connection:
            connection.execute(control.view_sql(name))
            assert connection.sql(f"FROM {name}").columns == list(contract.schema)


def test_the_record_of_a_load_is_kept_once(control):
    record = failed_load("crm", "contacts", run_id="r/1", now=NOW, error="database down")
    control.record_load(record)
    control.record_load(record)
    assert control.scan("load").select("source", "status", "error").collect().rows() == [
        ("crm", "failed", "database down")
    ]


def test_quarantine_of_a_load_is_replaced_and_removed_when_it_is_mended(control):
    control.write_quarantine("customer", "l1", rejects("email", "phone"))
    control.write_quarantine("customer", "l2", rejects("email", load="l2"))
    assert control.scan("quarantine").collect().height == 3
    control.write_quarantine("customer", "l1", rejects("email"))
    assert control.scan("quarantine").collect().height == 2
    control.write_quarantine("customer", "l1", rejects())
    assert control.scan("quarantine").collect()["load_id"].to_list() == ["l2"]


def test_quarantine_is_read_by_sql(control):
    control.write_quarantine("customer", "l1", rejects("email", "phone"))
    with duckdb.connect() as connection:
        connection.execute(control.view_sql("quarantine"))
        found = connection.sql("SELECT field, reason FROM quarantine ORDER BY field").fetchall()
    assert found == [("email", "missing"), ("phone", "missing")]


def test_results_of_a_gate_run_again_take_the_place_of_the_first(control):
    control.write_check_results("r1", "clean", results("failed"))
    control.write_check_results("r1", "clean", results("passed"))
    rows = control.scan("check_result").collect()
    assert rows["outcome"].to_list() == ["passed"]
    assert rows["observed_value"].to_list() == [None]


def test_a_column_that_is_in_no_contract_is_refused(control):
    with pytest.raises(pl.exceptions.SchemaError, match="verdict"):
        control.write_check_results("r1", "clean", results("passed").with_columns(verdict=pl.lit("x")))
