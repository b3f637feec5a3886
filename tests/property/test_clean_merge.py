"""Any order, repetition and grouping of loads gives the same clean table, bytes included."""

import itertools
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.contracts import CONTRACTS
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.touched import TouchedLog

START = datetime(2026, 4, 30)
"""A day before the month ends, so that rows of one key lie in several months too."""
VERSION = st.tuples(
    st.integers(0, 5),  # key
    st.one_of(st.none(), st.integers(0, 3)),  # updated, hours
    st.integers(0, 4),  # extracted, hours
    st.integers(0, 60),  # event, hours: three business days
    st.integers(0, 2),  # content
    st.booleans(),  # deleted
)


def build(contract, versions):
    rows = []
    for number, (key, updated, extracted, event, content, deleted) in enumerate(versions):
        rows.append(
            {
                "source": "s",
                "source_id": f"k{key}",
                "load_id": f"l{extracted}",
                "load_row": number,
                "row_hash": f"{content} {event}",
                "updated_at": None if updated is None else START + timedelta(hours=updated),
                "extracted_at": START + timedelta(days=9, hours=extracted),
                "first_extracted_at": START + timedelta(days=9, hours=extracted),
                "is_deleted": deleted,
                contract.event_time: START + timedelta(hours=event),
                **({contract.entity_columns[0]: f"e{key % 3}"} if contract.entity_columns else {}),
            }
        )
    return pl.DataFrame(rows, schema=contract.schema)


def content(store, contract):
    return {path.name: path.read_bytes() for path in store.folder(contract).glob("*.parquet")}


def live(store, contract):
    rows = store.scan(contract).select("source_id", "row_hash", contract.event_time).collect()
    return {key: (row_hash, at) for key, row_hash, at in rows.rows()}


def business_day(instant):
    return (instant + timedelta(hours=8)).date()


def lineage(store, contract):
    """Key to what tells whether its entity is touched, with the entity."""
    told = ["row_hash", *(["load_id", "load_row"] if contract.entity_keeps_lineage else [])]
    rows = store.scan(contract).select("source_id", contract.entity_columns[0], *told).collect()
    return {key: (entity, *rest) for key, entity, *rest in rows.rows()}


def hashes(entities):
    with duckdb.connect() as connection:
        return {connection.execute("SELECT hash('s', ?)", [name]).fetchall()[0][0] for name in entities}


@pytest.mark.parametrize("table", ["web_event", "answer"])
@settings(max_examples=15, deadline=None)
@given(loads=st.lists(st.lists(VERSION, min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_log_names_the_entities_whose_rows_changed(table, loads):
    contract = CONTRACTS[table]
    with tempfile.TemporaryDirectory() as folder:
        store = CleanStore(Path(folder), "Asia/Shanghai")
        store.ensure(contract)
        for versions in loads:
            before, sequence = lineage(store, contract), store.sequence(contract)
            store.merge(contract, build(contract, versions))
            after = lineage(store, contract)
            changed = {key for key in before | after if before.get(key) != after.get(key)}
            entities = {state[key][0] for state in (before, after) for key in changed if key in state}
            log, _ = TouchedLog(store.folder(contract)).read()
            assert set(log.filter(pl.col("sequence") > sequence)["key"]) == hashes(entities)
            assert (store.sequence(contract) > sequence) == bool(entities)


@pytest.mark.parametrize("table", ["web_event", "answer", "response"])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_incremental_equals_rebuild(table, data):
    contract = CONTRACTS[table]
    versions = data.draw(st.lists(VERSION, min_size=1, max_size=14))
    rows = build(contract, versions)
    order = data.draw(st.permutations(range(rows.height)))
    again = data.draw(st.lists(st.integers(0, rows.height - 1), max_size=4))
    cuts = sorted(data.draw(st.sets(st.integers(1, rows.height), max_size=4)))
    shuffled = rows[[*order, *again]]
    bounds = [0, *cuts, shuffled.height]
    with tempfile.TemporaryDirectory() as folder:
        whole = CleanStore(Path(folder) / "whole", "Asia/Shanghai")
        whole.merge(contract, rows)
        parts = CleanStore(Path(folder) / "parts", "Asia/Shanghai")
        for begin, end in itertools.pairwise(bounds):
            before = live(parts, contract)
            result = parts.merge(contract, shuffled[begin:end])
            after = live(parts, contract)
            changed = {key for key in before | after if before.get(key) != after.get(key)}
            days = {business_day(state[key][1]) for state in (before, after) for key in changed if key in state}
            assert set(result.days_touched) == days
            assert result.inserted == len(after.keys() - before.keys())
            assert result.deleted == len(before.keys() - after.keys())
            assert result.updated == len(changed & before.keys() & after.keys())
            keys_in = shuffled[begin:end]["source_id"].n_unique()
            assert result.inserted + result.deleted + result.updated + result.unchanged == keys_in
        assert content(whole, contract) == content(parts, contract)
        assert whole.scan(contract, include_deleted=True).collect().height == rows["source_id"].n_unique()
