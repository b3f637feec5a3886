"""SQLite as a source: values, cursor, deletes, faults."""

import sqlite3
from datetime import date, datetime, timedelta

import pytest

from orchestration.settings import Settings
from orchestration.sources.backfill import day_window
from orchestration.sources.config import parse_source
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing

NOW = datetime(2026, 5, 1, 2)


class Crm:
    def __init__(self, home):
        self.home = home
        self.settings = Settings(home=home, sources_dir=home)
        self.landing = Landing(self.settings.landing_dir)
        self.nights = 0

    def run(self, *statements):
        with sqlite3.connect(self.home / "crm.db") as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    def night(self, dsn="sqlite:///{home}/crm.db", window=None, **stream):
        entry = {"from": {"table": "contacts"}, "to": "customer", "primary_key": ["id"], "fields": {"email": "email"}}
        raw = {
            "source": "crm",
            "type": "sql",
            "timezone": "Asia/Shanghai",
            "connection": {"dsn": dsn},
            "streams": {"contacts": {**entry, **stream}},
        }
        self.nights += 1
        source = parse_source(raw, self.home / "crm.yaml")
        now = NOW + timedelta(days=self.nights)
        return extract(source, "contacts", settings=self.settings, run_id="r", now=now, window=window)

    def rows(self, *columns):
        load = self.landing.manifests("crm", "contacts")[-1]
        return self.landing.scan(load).collect().select(columns or ("id", "email")).rows()


@pytest.fixture
def crm(tmp_path):
    return Crm(tmp_path)


TABLE = "CREATE TABLE contacts (id INTEGER, email TEXT, updated_at TEXT)"
CURSOR = {"cursor": {"field": "updated_at", "lag": "15m"}}


def test_values_of_any_type(crm):
    crm.run(
        "CREATE TABLE contacts (id, email, updated_at)",
        "INSERT INTO contacts VALUES (1, 'é你', 0.1 + 0.2), (2, NULL, x'00ff'), (9223372036854775807, '', 1e400)",
        "INSERT INTO contacts VALUES ('x', CAST(x'636166e9' AS TEXT), 'nul' || char(0))",
    )
    crm.night()
    assert crm.rows("id", "email", "updated_at") == [
        ("1", "é你", "0.30000000000000004"),
        ("2", None, "\\x00ff"),
        ("9223372036854775807", "", "inf"),
        ("x", "caf\\xe9", "nul\0"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "lower"),
    [
        ("2026-01-01 10:00:00", "2026-01-01 09:45:00", "2026-01-01 09:45:00"),
        ("2026-01-01T10:00:00.500Z", "2026-01-01T09:45:00.500Z", "2026-01-01T09:45:00.500Z"),
        ("2026-01-01T10:00:00+08:00", "2026-01-01T09:45:00+08:00", "2026-01-01T09:45:00+08:00"),
        ("2026-01-01", "2025-12-31", "2025-12-31"),
    ],
)
def test_the_lag_keeps_the_way_of_writing(crm, first, second, lower):
    crm.run(TABLE, f"INSERT INTO contacts VALUES (1, 'a', '{first}')")
    assert crm.night(**CURSOR).cursor_to == first
    crm.run(f"INSERT INTO contacts VALUES (2, 'late', '{second}'), (3, 'old', '2020-01-01'), (4, 'none', NULL)")
    record = crm.night(**CURSOR)
    assert (record.cursor_from, record.cursor_to) == (lower, first)
    assert [row[0] for row in crm.rows()] == ["1", "2", "4"]


def test_a_date_in_the_future_does_not_move_the_cursor(crm):
    crm.run(TABLE, "INSERT INTO contacts VALUES (1, 'a', '2026-01-01 00:00:00'), (2, 'b', '2999-01-01 00:00:00')")
    assert crm.night(**CURSOR).cursor_to == "2026-01-01 00:00:00"


def test_numbers_as_cursor(crm):
    crm.run(TABLE, "INSERT INTO contacts VALUES (8, 'a', ''), (10, 'b', '')")
    cursor = {"cursor": {"field": "id", "lag": "2"}}
    assert crm.night(**cursor).cursor_to == "10"
    crm.run("INSERT INTO contacts VALUES (9, 'late', ''), (7, 'lost', '')")
    crm.night(**cursor)
    assert [row[0] for row in crm.rows()] == ["8", "10", "9"]


def test_settle_and_backfill(crm):
    # NOW + 1 day, two in the morning UTC, is ten in Shanghai.
    crm.run(TABLE, "INSERT INTO contacts VALUES (1, 'a', '2026-05-02 09:00:00'), (2, 'b', '2026-05-02 09:55:00')")
    cursor = {"cursor": {"field": "updated_at", "settle": "10m"}}
    assert crm.night(**cursor).cursor_to == "2026-05-02 09:00:00"
    assert crm.rows() == [("1", "a")]
    crm.night(window=("2026-05-02 09:30:00", "2026-05-03"), **cursor)
    assert crm.rows() == [("2", "b")]
    assert crm.night(**cursor).cursor_from == "2026-05-02 09:00:00"


def test_key_scan(crm):
    crm.run(TABLE, *(f"INSERT INTO contacts VALUES ({i}, 'm', '2026-01-01 00:00:0{i}')" for i in range(5)))
    scan = {"deletes": {"strategy": "key_scan", "max_vanish_share": "0.2"}}
    crm.night(**scan, **CURSOR)
    crm.run("DELETE FROM contacts WHERE id = 2")
    crm.night(**scan, **CURSOR)
    assert [row for row in crm.rows("id", "_deleted") if row[1]] == [("2", True)]
    crm.run("DELETE FROM contacts")
    with pytest.raises(SourceError, match="found no key where 4 records are alive"):
        crm.night(**scan, **CURSOR)


def test_an_empty_table_is_seen_as_empty(crm):
    crm.run(TABLE, "INSERT INTO contacts VALUES (1, 'a', '')")
    crm.night()
    crm.run("DELETE FROM contacts")
    record = crm.night()
    assert (record.status, record.rows_read) == ("committed", 0)
    record = crm.night()
    assert (record.status, record.rows_read) == ("unchanged", 0)


def test_faults_are_named(crm, tmp_path):
    with pytest.raises(
        SourceError, match=r"crm.contacts: database file .*crm.db does not exist; correct connection.dsn"
    ):
        crm.night()
    crm.run(TABLE.replace("contacts", "contact"))
    with pytest.raises(
        SourceError, match=r"table 'contacts' does not exist, or may not be seen; did you mean 'contact'\?"
    ):
        crm.night()
    crm.run(TABLE.replace("email", "mail"), "INSERT INTO contacts VALUES (1, 'a', 'yesterday')")
    with pytest.raises(SourceError, match=r"declared column 'email' .*nearest: 'mail'"):
        crm.night()
    with pytest.raises(SourceError, match=r"cursor 'updated_at' is a text such as 'yesterday'; a cursor is a date"):
        crm.night(fields={"email": "mail"}, **CURSOR)
    (tmp_path / "no.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(SourceError, match=r"the database is damaged or no SQLite file"):
        crm.night("sqlite:///no.db")


def test_an_unknown_database_in_a_secret_dsn_is_refused_and_never_shown(crm, monkeypatch):
    monkeypatch.setenv("CRM_DSN", "oracle://me:s3cret@host/db")
    with pytest.raises(SourceError, match=r"crm.contacts: connection.dsn is no DSN of a known database") as error:
        crm.night({"env": "CRM_DSN"})
    assert "s3cret" not in str(error.value)


def test_a_retyped_column_fails(crm):
    crm.run(TABLE)
    crm.night()
    crm.run("DROP TABLE contacts", TABLE.replace("email TEXT", "email BLOB"))
    with pytest.raises(SourceError, match=r"'email' \(used by customer.fields.email\) was text and is blob"):
        crm.night()


def test_a_database_that_is_being_written_is_tried_again(crm):
    crm.run(TABLE)
    writer = sqlite3.connect(crm.home / "crm.db", isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    raw = {"connect_timeout_seconds": "0"}
    source = {
        "source": "crm",
        "type": "sql",
        "connection": {"dsn": "sqlite:///crm.db", **raw},
        "streams": {"contacts": {"from": {"table": "contacts"}, "to": "customer", "primary_key": ["id"]}},
    }
    with pytest.raises(SourceError, match="try again when its writer has finished") as busy:
        extract(parse_source(source, crm.home / "crm.yaml"), "contacts", settings=crm.settings, run_id="r", now=NOW)
    assert busy.value.transient
    writer.close()


@pytest.mark.parametrize(
    ("values", "brought"),
    [
        # 2 May in Shanghai is 1 May 16:00 to 2 May 16:00 UTC; a time without zone is one of the source, Shanghai.
        (("2026-05-01 23:59:59", "2026-05-02 00:00:00", "2026-05-02 23:59:59", "2026-05-03 00:00:00"), ["2", "3"]),
        (("2026-05-01T23:59:59", "2026-05-02T00:00:00", "2026-05-02T23:59:59", "2026-05-03T00:00:00"), ["2", "3"]),
        (
            ("2026-05-01T15:59:59.5Z", "2026-05-01T16:00:00.0Z", "2026-05-02T15:59:59.9Z", "2026-05-02T16:00:00.0Z"),
            ["2", "3"],
        ),
        (
            (
                "2026-05-01T17:59:59+02:00",
                "2026-05-01T18:00:00+02:00",
                "2026-05-02T17:59:59+02:00",
                "2026-05-02T18:00:00+02:00",
            ),
            ["2", "3"],
        ),
        (("2026-05-01", "2026-05-02", "2026-05-03", "2026-05-04"), ["2"]),
    ],
)
def test_a_backfill_of_a_day_in_any_way_of_writing(crm, values, brought):
    rows = ", ".join(f"({number}, 'm', '{value}')" for number, value in enumerate(values, 1))
    crm.run(TABLE, f"INSERT INTO contacts VALUES {rows}")
    crm.night(window=day_window(date(2026, 5, 2), date(2026, 5, 2), "Asia/Shanghai"), cursor={"field": "updated_at"})
    assert [row[0] for row in crm.rows("id")] == brought


def test_a_backfill_by_day_of_a_number_is_refused(crm):
    crm.run("CREATE TABLE contacts (id INTEGER, email TEXT)", "INSERT INTO contacts VALUES (1, 'a')")
    window = day_window(date(2026, 5, 2), date(2026, 5, 2), "Asia/Shanghai")
    with pytest.raises(SourceError, match=r"crm\.contacts: cursor 'id' is a number, so its rows have no days"):
        crm.night(window=window, cursor={"field": "id"})


def test_a_backfill_just_landed_is_not_landed_again(crm):
    crm.run(TABLE, "INSERT INTO contacts VALUES (1, 'a', '2026-05-02 09:00:00')")
    window, other = (day_window(date(2026, 5, day), date(2026, 5, 2), "Asia/Shanghai") for day in (2, 1))
    cursor = {"cursor": {"field": "updated_at"}}
    assert [crm.night(window=window, **cursor).status for _ in range(2)] == ["committed", "unchanged"]
    assert crm.night(window=other, **cursor).status == "committed"
    crm.run("UPDATE contacts SET email = 'b'")
    assert crm.night(window=other, **cursor).status == "committed"
