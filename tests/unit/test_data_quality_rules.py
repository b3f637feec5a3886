"""The suites against the contracts: what must have a rule has one, and loading them is cheap."""

import subprocess
import sys
from collections import Counter

import pytest

from data_quality.rules import DIMENSIONS, between, literal, quote
from data_quality.suites import Stream, clean_rules, landing_rules, marts_rules
from data_quality.suites.clean import ORDERED_TIMES, REFERENCES, SHAPES
from data_quality.suites.marts import MART_KEYS
from orchestration.contracts import COMMON_COLUMNS, CONTRACTS, DERIVED, TABLES

CLEAN = clean_rules()
GATED = CONTRACTS | DERIVED
ALL = [*landing_rules([Stream("crm", "customers")]), *CLEAN, *marts_rules()]


def of(table):
    return [rule for rule in CLEAN if rule.target_table == table]


@pytest.mark.parametrize("table", GATED)
def test_every_key_is_checked(table):
    keys = [
        rule.expectation.kwargs.get("column_list") or [rule.expectation.kwargs.get("column")]
        for rule in of(table)
        if rule.rule_id == "key_unique" and rule.severity == "error" and rule.dimension == "uniqueness"
    ]
    assert keys == [list(GATED[table].key)]


@pytest.mark.parametrize("table", GATED)
def test_every_required_column_is_checked(table):
    contract = GATED[table]
    checked = {rule.column for rule in of(table) if rule.expectation.type == "ExpectColumnValuesToNotBeNull"}
    assert {column.name for column in contract.columns if column.required} <= checked
    if contract.is_source_table:
        lineage = next(rule for rule in of(table) if rule.rule_id == "lineage_present")
        assert lineage.severity == "error"
        for column in COMMON_COLUMNS:
            assert (f"{quote(column.name)} IS NULL" in lineage.expectation.rows) == column.required


@pytest.mark.parametrize("table", GATED)
def test_every_category_shape_and_bound_is_checked(table):
    rules = {(rule.column, rule.expectation.type) for rule in of(table)}
    for column in GATED[table].columns:
        if column.values is not None:
            assert (column.name, "ExpectColumnValuesToBeInSet") in rules
        if column.kind in SHAPES:
            assert (column.name, "ExpectColumnValuesToMatchRegex") in rules
        if column.minimum is not None or column.maximum is not None:
            assert (column.name, "ExpectColumnValuesToBeBetween") in rules


@pytest.mark.parametrize("table", CONTRACTS)
def test_every_source_table_has_a_limit_on_rejects(table):
    assert {rule.severity for rule in of(table) if rule.rule_id.startswith("rejected_")} == {"warn", "error"}


def test_rules_name_tables_and_columns_of_the_contracts():
    for rule in CLEAN:
        columns = {column.name for column in TABLES[rule.target_table].all_columns}
        assert rule.column is None or rule.column in columns, rule
        assert set(rule.key) <= columns, rule
    for reference in REFERENCES:
        for column in reference.columns:
            TABLES[reference.child].column(column)
        for column in reference.parent_columns:
            TABLES[reference.parent].column(column)
    for table, earlier, later in ORDERED_TIMES:
        TABLES[table].column(earlier)
        TABLES[table].column(later)


def test_rules_are_told_apart_and_explained():
    twice = [identity for identity, count in Counter(rule.identity for rule in ALL).items() if count > 1]
    assert not twice
    for rule in ALL:
        assert rule.dimension in DIMENSIONS
        assert rule.description.endswith("."), rule
        assert 0 < rule.minimum_share <= 1


def test_the_key_and_sum_rules_of_marts_block():
    rules = marts_rules()
    for mart in MART_KEYS:
        ids = {rule.rule_id: rule.severity for rule in rules if rule.target_table == mart}
        assert {ids["key_unique"], ids["key_present"], ids["no_personal_data"], ids["rows_kept"]} == {"error"}


def test_an_accepted_drop_warns():
    rules = {
        rule.target_table: rule for rule in marts_rules(accept_drops={"dim_person"}) if rule.rule_id == "rows_kept"
    }
    assert rules["dim_person"].severity == "warn"
    assert rules["mart_nps"].severity == "error"


@pytest.mark.parametrize(
    ("stream", "severity", "not_empty"),
    [
        (Stream("crm", "customers", "sql", is_incremental=True), "warn", False),
        (Stream("crm", "accounts", "sql", is_incremental=False), "warn", True),
        (Stream("web", "events", "files", is_incremental=False, is_required=True), "error", True),
        (Stream("web", "events", "files", is_incremental=True), "warn", True),
        (Stream("hubspot", "contacts", "hubspot", is_incremental=True), "warn", False),
    ],
)
def test_landing_rules_follow_what_a_stream_is(stream, severity, not_empty):
    rules = {rule.rule_id: rule for rule in landing_rules([stream])}
    assert rules["not_failed"].severity == rules["fresh"].severity == severity
    assert ("not_empty" in rules) == not_empty
    assert {rule.target_table for rule in rules.values()} == {stream.name}


def test_loading_the_rules_does_not_import_great_expectations():
    code = (
        "import sys, data_quality.gate, data_quality.run, data_quality.checks, data_quality.scorecard\n"
        "from data_quality.suites import clean_rules, marts_rules\n"
        "clean_rules(); marts_rules()\n"
        "assert not any(name.split('.')[0] == 'great_expectations' for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sql_literals_are_escaped():
    assert literal("O'Brien") == "'O''Brien'"
    assert quote('a"b') == '"a""b"'
    assert literal(None) == "NULL"
    assert literal(True) == "TRUE"


def test_between_needs_a_bound():
    with pytest.raises(ValueError, match="weight"):
        between("weight", None, None)
