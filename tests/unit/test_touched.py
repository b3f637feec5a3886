"""Touched entities: what a merge or a rewrite records, and what is forgotten."""

from datetime import datetime

import duckdb
import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.warehouse.clean import CleanError, CleanStore
from orchestration.warehouse.touched import TouchedLog

EVENT = CONTRACTS["web_event"]


def event(number, visitor, day=1, content="a", load=1, **values):
    at = datetime(2026, 6, load)
    return {
        "source": "s",
        "source_id": f"e{number}",
        "load_id": f"l{load}",
        "load_row": number,
        "row_hash": content,
        "extracted_at": at,
        "first_extracted_at": at,
        "is_deleted": False,
        "occurred_at": datetime(2026, 5, day),
        "anonymous_id": visitor,
        **values,
    }


def frame(*rows):
    return pl.DataFrame(rows, schema=EVENT.schema)


def keys(*visitors):
    with duckdb.connect() as connection:
        return {connection.execute("SELECT hash('s', ?)", [name]).fetchall()[0][0] for name in visitors}


@pytest.fixture
def store(tmp_path):
    store = CleanStore(tmp_path, "Asia/Shanghai")
    store.merge(EVENT, frame(event(1, "ann"), event(2, "ben"), event(3, "cem", day=2), event(4, "dil", day=2)))
    return store


def touched(store, since=1):
    entities, _ = TouchedLog(store.folder(EVENT)).read()
    return set(entities.filter(pl.col("sequence") > since)["key"])


def test_only_visitors_of_rows_that_changed_are_touched(store):
    assert touched(store, since=0) == keys("ann", "ben", "cem", "dil")
    store.merge(EVENT, frame(event(1, "ann", load=2), event(3, "cem", day=2, content="b", load=2)))
    assert touched(store) == keys("cem")


def test_the_visitor_before_and_after_are_touched(store):
    store.merge(EVENT, frame(event(2, "eva", content="b", load=2)))
    assert touched(store) == keys("ben", "eva")


def test_a_deletion_touches_whom_the_row_was_of(store):
    gone = event(4, None, content="", load=2, is_deleted=True, occurred_at=None)
    store.merge(EVENT, frame(gone))
    assert keys("dil") <= touched(store)


def test_an_event_that_moves_to_another_day_touches_its_visitor(store):
    store.merge(EVENT, frame(event(1, "ann", day=9, content="b", load=2)))
    assert touched(store) == keys("ann")


def test_without_cookie_the_login_and_then_the_event_stand_for_the_visitor(store):
    store.merge(EVENT, frame(event(7, None, load=2, user_id="login"), event(8, None, load=2)))
    assert touched(store) == keys("login", "e8")


def test_nothing_changed_leaves_the_files_as_they_are(store):
    folder = store.folder(EVENT) / "touched"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    store.merge(EVENT, frame(event(1, "ann", load=2)))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_was_built_on_is_forgotten(store):
    store.merge(EVENT, frame(event(1, "ann", content="b", load=2)))
    store.merge(EVENT, frame(event(2, "ben", content="b", load=3)))
    log = TouchedLog(store.folder(EVENT))
    token = dict(log.read()[1].select("sequence", "token").rows())[2]
    store.forget_touched(EVENT, 2)
    entities, changes = log.read()
    assert set(entities["key"]) == keys("ben")
    assert changes.select("sequence").to_series().to_list() == [2, 3]
    assert dict(changes.select("sequence", "token").rows())[2] == token


def test_a_table_made_anew_has_other_tokens(store, tmp_path):
    tokens = {token for _, token, _ in TouchedLog(store.folder(EVENT)).read()[1].rows()}
    other = CleanStore(tmp_path / "other", "Asia/Shanghai")
    other.merge(EVENT, frame(event(1, "ann")))
    assert not tokens & {token for _, token, _ in TouchedLog(other.folder(EVENT)).read()[1].rows()}


def test_a_rewrite_touches_days_and_visitors_of_what_it_takes_out(store):
    result = store.rewrite(EVENT, lambda rows: rows.filter(pl.col("anonymous_id") != "cem"))
    assert (result.deleted, result.partitions) == (1, ("2026-05-02",))
    assert [str(day) for day in result.days_touched] == ["2026-05-02"]
    assert touched(store) == keys("cem")
    assert store.scan(EVENT).collect()["anonymous_id"].to_list() == ["ann", "ben", "dil"]


def test_a_rewrite_ends_a_partition_and_leaves_others_alone(store):
    first = store.folder(EVENT) / "2026-05-01.parquet"
    inode = first.stat().st_ino
    store.rewrite(EVENT, lambda rows: rows.clear(), partitions=["2026-05-02"])
    assert [path.stem for path in store.folder(EVENT).glob("2026*")] == ["2026-05-01"]
    assert first.stat().st_ino == inode
    assert store.rewrite(EVENT, lambda rows: rows).partitions == ()


def test_a_rewrite_that_breaks_the_contract_is_refused(store):
    with pytest.raises(CleanError, match="contract of web_event"):
        store.rewrite(EVENT, lambda rows: rows.with_columns(load_row=pl.col("load_row").cast(pl.String)))
