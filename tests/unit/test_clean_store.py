"""The clean layer: what a merge changes, reports and leaves alone."""

import itertools
import json
import zlib
from datetime import date, datetime

import duckdb
import polars as pl
import pytest

from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.warehouse.clean import CleanError, CleanStore, LoadMark, MergeResult

EVENT, RESPONSE, SURVEY = CONTRACTS["web_event"], CONTRACTS["response"], CONTRACTS["survey"]


def row(contract, key, day=1, *, hour=12, extracted=1, load="l1", content="a", deleted=False, updated=None, source="s"):
    values = {
        "source": source,
        "source_id": key,
        "load_id": load,
        "load_row": 0,
        "row_hash": f"{content}{day}{hour}",
        "updated_at": updated,
        "extracted_at": datetime(2026, 6, extracted),
        "first_extracted_at": datetime(2026, 6, extracted),
        "is_deleted": deleted,
    }
    if contract.event_time and day:
        values[contract.event_time] = datetime(2026, 5, day, hour)
    return values


def frame(contract, *rows):
    return pl.DataFrame(list(rows), schema=contract.schema)


@pytest.fixture
def store(tmp_path):
    return CleanStore(tmp_path / "clean", "Asia/Shanghai")


def files(store, contract):
    return {path.stem for path in store.folder(contract).glob("*.parquet")} - {"_empty"}


def test_events_lie_by_business_day_and_a_merge_says_what_it_changed(store):
    rows = frame(EVENT, row(EVENT, "a", 1), row(EVENT, "b", 1, hour=17), row(EVENT, "c", 3), row(EVENT, "c", 3))
    result = store.merge(EVENT, rows)
    # 17:00 UTC on 1 May is 2 May in Shanghai.
    days = ("2026-05-01", "2026-05-02", "2026-05-03")
    assert result == MergeResult(days, tuple(map(date.fromisoformat, days)), inserted=3)
    assert files(store, EVENT) == set(days)


def test_only_partitions_that_change_are_rewritten(store):
    store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1), row(EVENT, "b", 2)))
    stamps = {path.name: path.stat().st_mtime_ns for path in store.folder(EVENT).glob("2026*")}
    inodes = {path.name: path.stat().st_ino for path in store.folder(EVENT).glob("2026*")}
    again = store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1), row(EVENT, "b", 2)))
    assert again == MergeResult(unchanged=2)
    assert stamps == {path.name: path.stat().st_mtime_ns for path in store.folder(EVENT).glob("2026*")}
    result = store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1), row(EVENT, "b", 2, content="b", extracted=2)))
    assert (result.partitions, result.updated, result.unchanged) == (("2026-05-02",), 1, 1)
    changed = {name for name, inode in inodes.items() if (store.folder(EVENT) / name).stat().st_ino != inode}
    assert changed == {"2026-05-02.parquet"}


def test_the_same_content_delivered_again_touches_no_day(store):
    store.merge(RESPONSE, frame(RESPONSE, row(RESPONSE, "a", 1)))
    result = store.merge(RESPONSE, frame(RESPONSE, row(RESPONSE, "a", 1, extracted=2, load="l2")))
    assert result == MergeResult(unchanged=1)
    stored = store.scan(RESPONSE).collect().row(0, named=True)
    assert (stored["load_id"], stored["first_extracted_at"]) == ("l2", datetime(2026, 6, 1))


def test_a_deleted_row_stays_as_tombstone_and_an_older_version_does_not_bring_it_back(store):
    store.merge(RESPONSE, frame(RESPONSE, row(RESPONSE, "a", 1, extracted=2)))
    gone = store.merge(RESPONSE, frame(RESPONSE, row(RESPONSE, "a", 1, extracted=3, deleted=True)))
    assert (gone.deleted, gone.days_touched) == (1, (date(2026, 5, 1),))
    late = store.merge(RESPONSE, frame(RESPONSE, row(RESPONSE, "a", 1, extracted=1)))
    assert (late.inserted, late.unchanged) == (0, 1)
    assert store.scan(RESPONSE).collect().is_empty()
    assert store.scan(RESPONSE, include_deleted=True).collect().height == 1
    back = store.merge(RESPONSE, frame(RESPONSE, row(RESPONSE, "a", 2, extracted=4)))
    assert (back.inserted, back.days_touched) == (1, (date(2026, 5, 2),))


def test_an_event_whose_day_was_corrected_moves(store):
    store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1), row(EVENT, "b", 1), row(EVENT, "c", 2)))
    result = store.merge(EVENT, frame(EVENT, row(EVENT, "a", 3, extracted=2)))
    assert (result.inserted, result.updated, result.deleted) == (0, 1, 0)
    assert result.days_touched == (date(2026, 5, 1), date(2026, 5, 3))
    found = store.scan(EVENT).select("source_id", pl.col("occurred_at").dt.day()).sort("source_id").collect()
    assert found.rows() == [("a", 3), ("b", 1), ("c", 2)]
    assert store.scan(EVENT).collect()["first_extracted_at"].n_unique() == 1
    older = store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1, extracted=1, content="old")))
    assert (older.updated, older.unchanged) == (0, 1)
    assert store.scan(EVENT).collect().height == 3


def test_a_deletion_without_event_time_takes_the_event_out_of_its_day(store):
    store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1), row(EVENT, "b", 1)))
    result = store.merge(EVENT, frame(EVENT, row(EVENT, "a", None, extracted=2, deleted=True)))
    assert (result.deleted, result.days_touched) == (1, (date(2026, 5, 1),))
    assert store.scan(EVENT).collect()["source_id"].to_list() == ["b"]
    assert files(store, EVENT) == {"2026-05-01", "undated"}


def test_a_partition_that_ends_up_empty_is_removed(store):
    store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1)))
    store.merge(EVENT, frame(EVENT, row(EVENT, "a", 2, extracted=2)))
    assert files(store, EVENT) == {"2026-05-02"}


def test_rows_of_one_parent_lie_in_one_bucket_and_buckets_do_not_depend_on_the_polars_version(store):
    event = CONTRACTS["ticket_event"]
    rows = [row(event, f"r{i % 5}:{i}", 1) | {"ticket_id": f"r{i % 5}"} for i in range(20)]
    store.merge(event, frame(event, *rows))
    found = {
        path.stem: set(pl.read_parquet(path)["ticket_id"]) for path in store.folder(event).glob("bucket-*.parquet")
    }
    assert found == {f"bucket-{zlib.crc32(key) % 8:02d}": {key.decode()} for key in (b"r0", b"r1", b"r2", b"r3", b"r4")}


def test_replacing_a_source_leaves_the_others(store):
    rows = frame(EVENT, row(EVENT, "a", 1), row(EVENT, "b", 1), row(EVENT, "a", 1, source="t"))
    store.merge(EVENT, rows, {"l1": LoadMark("s", "x", "h1"), "l2": LoadMark("t", "y", "h1")})
    marks = {"l1": LoadMark("s", "x", "h2")}
    result = store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1, content="z")), marks, replace_sources=["s"])
    assert (result.updated, result.deleted, result.inserted) == (1, 1, 0)
    assert store.scan(EVENT).select("source", "source_id").sort("source").collect().rows() == [("s", "a"), ("t", "a")]
    assert store.merged_loads(EVENT) == marks | {"l2": LoadMark("t", "y", "h1")}


def test_days_touched_are_remembered_for_who_has_not_seen_them(store):
    store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1), row(EVENT, "b", 2)))
    seen = store.sequence(EVENT)
    store.merge(EVENT, frame(EVENT, row(EVENT, "c", 2)))
    store.merge(EVENT, frame(EVENT, row(EVENT, "d", 4)))
    assert store.days_touched_since(EVENT, seen) == [date(2026, 5, 2), date(2026, 5, 4)]
    assert store.days_touched_since(EVENT, store.sequence(EVENT)) == []


def test_beyond_the_memory_limit_rows_wait_on_disk_and_nothing_is_lost(store, monkeypatch, tmp_path):
    rows = [row(EVENT, f"k{i % 40}", 1 + i % 9, hour=i % 24, extracted=1 + i % 20, content=str(i)) for i in range(400)]
    batches = [frame(EVENT, *rows[i : i + 25]) for i in range(0, 400, 25)]
    plain = CleanStore(tmp_path / "plain", "Asia/Shanghai")
    expected = plain.merge(EVENT, batches)
    monkeypatch.setattr("orchestration.warehouse.clean._MEMORY_ROWS", 60)
    assert store.merge(EVENT, batches) == expected
    assert store.scan(EVENT).collect().equals(plain.scan(EVENT).collect())
    assert not list(store.folder(EVENT).glob(".spill*"))


def test_a_table_cut_otherwise_is_refused_with_the_way_to_mend_it(store):
    store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1)), {"l1": LoadMark("s", "x", "h")})
    other = CleanStore(store.root, "UTC")
    with pytest.raises(CleanError, match="remove the folder"):
        other.merge(EVENT, frame(EVENT, row(EVENT, "a", 1)))


def test_rows_of_another_schema_are_refused_and_nothing_changes(store):
    store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1)))
    with pytest.raises(CleanError, match="occurred_at is String"):
        store.merge(EVENT, frame(EVENT, row(EVENT, "b", 1)).with_columns(pl.col("occurred_at").cast(pl.String)))
    assert store.scan(EVENT).collect().height == 1


def test_a_merge_that_fails_half_way_leaves_the_table_as_it_was(store):
    store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1)))

    def batches():
        yield frame(EVENT, row(EVENT, "b", 1))
        raise RuntimeError("source vanished")

    with pytest.raises(RuntimeError, match="vanished"):
        store.merge(EVENT, batches(), {"l2": LoadMark("s", "x", "h")})
    assert store.scan(EVENT).collect()["source_id"].to_list() == ["a"]
    assert store.merged_loads(EVENT) == {}


def test_an_empty_table_is_readable_by_glob(store):
    store.ensure(EVENT)
    assert store.scan(EVENT).collect().schema == EVENT.schema
    relation = duckdb.sql(f"SELECT * FROM read_parquet('{store.folder(EVENT)}/*.parquet')")
    assert relation.columns == list(EVENT.schema)
    assert relation.fetchall() == []


def test_a_column_that_a_contract_gained_reads_as_null_from_older_files(store):
    store.merge(SURVEY, frame(SURVEY, row(SURVEY, "a") | {"name": "x"}))
    path = store.folder(SURVEY) / "all.parquet"
    pl.read_parquet(path).drop("language").write_parquet(path)
    assert store.scan(SURVEY).collect()["language"].to_list() == [None]
    store.merge(SURVEY, frame(SURVEY, row(SURVEY, "b") | {"name": "y"}))
    assert store.scan(SURVEY).collect().height == 2


def test_derived_tables_are_replaced_only_when_they_differ(store):
    contract = DERIVED["person_record"]
    record = {"record_table": "customer", "source": "s", "source_id": "1", "person_id": "p"}
    rows = pl.DataFrame([record | {"first_extracted_at": datetime(2026, 6, 1)}], schema=contract.schema)
    assert not store.replace(contract, rows.clear())
    assert store.replace(contract, rows)
    stamp = (store.folder(contract) / "all.parquet").stat().st_mtime_ns
    assert not store.replace(contract, rows.lazy())
    assert (store.folder(contract) / "all.parquet").stat().st_mtime_ns == stamp
    assert store.replace(contract, rows.with_columns(person_id=pl.lit("q")))
    assert store.scan(contract).collect()["person_id"].to_list() == ["q"]
    assert store.replace(contract, rows.clear())
    with pytest.raises(CleanError, match="beyond one a key"):
        store.replace(contract, pl.concat([rows, rows]))
    with pytest.raises(CleanError, match="required and null in 1 rows"):
        store.replace(contract, rows.with_columns(person_id=pl.lit(None, dtype=pl.String)))
    with pytest.raises(CleanError, match="lacks the columns person_id"):
        store.replace(contract, rows.drop("person_id"))
    with pytest.raises(CleanError, match="person_id is Int32"):
        store.replace(contract, rows.with_columns(person_id=pl.lit(1)))


def test_the_order_of_a_derived_tables_rows_is_its_keys_however_they_come(store):
    contract = DERIVED["person_record"]
    keys = [("customer", "a", "1"), ("customer", "a", "2"), ("customer", "b", "1"), ("response", "a", "1")]
    rows = pl.DataFrame([(*key, "p", datetime(2026, 6, 1)) for key in keys], schema=contract.schema, orient="row")
    assert store.replace(contract, rows)
    for some in itertools.permutations(range(len(keys))):
        assert not store.replace(contract, rows[list(some)])
        with pytest.raises(CleanError, match="1 rows beyond one a key"):
            store.replace(contract, rows[[*some, some[-1]]])
    assert store.scan(contract).select(contract.key).collect().rows() == keys


def test_equal_content_gives_equal_bytes(store, tmp_path):
    rows = [row(EVENT, f"k{i}", 1 + i % 3) for i in range(50)]
    store.merge(EVENT, frame(EVENT, *rows))
    other = CleanStore(tmp_path / "other", "Asia/Shanghai")
    for part in (rows[30:], rows[:35]):
        other.merge(EVENT, frame(EVENT, *reversed(part)))
    content = [{path.name: path.read_bytes() for path in s.folder(EVENT).glob("*.parquet")} for s in (store, other)]
    assert content[0] == content[1]


def test_a_merged_record_that_cannot_be_read_says_how_to_mend_it(store):
    store.merge(EVENT, frame(EVENT, row(EVENT, "a", 1)), {"l1": LoadMark("s", "x", "h")})
    record = store.folder(EVENT) / "_merged.json"
    assert json.loads(record.read_text())["sequence"] == 1
    record.write_text("{")
    with pytest.raises(CleanError, match="to rebuild it"):
        store.merged_loads(EVENT)
