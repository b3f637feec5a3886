"""The contracts keep to their own rules of naming."""

import re

import pytest

from orchestration.contracts import CONTRACTS, TABLES, Kind, Partition, Pii


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_names_types_and_keys(table):
    names = [column.name for column in table.all_columns]
    assert len(names) == len(set(names))
    assert set(table.key) <= set(names)
    assert table.bucket_key in names or not table.is_source_table
    assert table.grain.startswith("One ")
    for column in table.all_columns:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name)
        assert (column.kind is Kind.TIMESTAMP) == column.name.endswith("_at"), column.name
        assert (column.kind is Kind.DATE) == column.name.endswith("_date"), column.name
        assert (column.kind is Kind.MONEY) == column.name.endswith("_amount"), column.name
        assert (column.kind is Kind.BOOLEAN) == column.name.startswith(("is_", "has_")), column.name
        assert column.description.endswith((".", "…", "…."))


@pytest.mark.parametrize("table", CONTRACTS.values(), ids=lambda table: table.name)
def test_times_people_and_money(table):
    names = {column.name for column in table.all_columns}
    if table.event_time:
        assert table.column(table.event_time).kind is Kind.TIMESTAMP
    if table.partition is Partition.EVENT_DATE:
        assert table.event_time and table.column(table.event_time).required
    assert set(table.person_columns) <= names
    for column in table.all_columns:
        if column.kind in {Kind.EMAIL, Kind.PHONE, Kind.PERSON_NAME}:
            assert column.pii is Pii.DIRECT
        if column.kind is Kind.MONEY:
            assert column.name.removesuffix("_amount") + "_currency" in names
