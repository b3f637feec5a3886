"""Pages by (cursor, key) from PostgreSQL and MariaDB: every row once, also over lost connections and changes."""

from datetime import datetime, timedelta

import psycopg
import pytest

from orchestration.settings import Settings
from orchestration.sources import mysql, postgresql
from orchestration.sources.config import parse_source
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing

NOW = datetime(2026, 5, 1, 2)
KILL = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
    "'experience-warehouse'",
    "mysql": "SELECT concat('KILL ', id) FROM information_schema.processlist WHERE id <> connection_id()",
}


class Server:
    """A table of events on one of the servers, and the stream that reads it."""

    def __init__(self, kind, dsn, connection, home):
        self.kind, self.dsn, self.connection = kind, dsn, connection
        self.module = {"postgresql": postgresql, "mysql": mysql}[kind]
        self.settings = Settings(home=home, sources_dir=home, retry_seconds=0)
        self.landing = Landing(self.settings.landing_dir)
        self.nights = 0

    def run(self, *statements):
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else ()

    def fill(self, rows, step=7):
        """Rows of which ``step`` share a time, in an order that is not that of the key."""
        series = "generate_series(1, {n}) AS s(seq)" if self.kind == "postgresql" else "seq_1_to_{n}"
        second = f"(seq * 7919 % {rows}) / {step}"
        at = {
            "postgresql": f"timestamptz '2026-01-01+00' + floor({second}) * interval '1 second'",
            "mysql": f"'2026-01-01' + INTERVAL floor({second}) SECOND",
        }[self.kind]
        stamp = {"postgresql": "timestamptz", "mysql": "datetime(6)"}[self.kind]
        self.run(
            f"CREATE TABLE events (shop varchar(9), id bigint, at {stamp}, note text, PRIMARY KEY (shop, id))",
            f"INSERT INTO events SELECT concat('s', seq % 3), seq, {at}, repeat('x', 100) FROM {series.format(n=rows)}",
        )

    def kill(self):
        for (found,) in self.run(KILL[self.kind]):
            if self.kind == "mysql":
                self.run(found)

    def night(self, page_rows=100, window=None, **stream):
        self.nights += 1
        entry = {
            "from": {"table": "events", "page_rows": str(page_rows)},
            "to": "customer",
            "primary_key": ["shop", "id"],
            "cursor": {"field": "at", "lag": "0s"},
            "fields": {"full_name": "note"},
            **stream,
        }
        raw = {"source": "shop", "type": "sql", "connection": {"dsn": {"file": "dsn"}}, "streams": {"events": entry}}
        (self.settings.home / "dsn").write_text(self.dsn)
        source = parse_source(raw, self.settings.home / "shop.yaml")
        now = NOW + timedelta(days=self.nights)
        return extract(source, "events", settings=self.settings, run_id="r", now=now, window=window)

    def last(self):
        return self.landing.scan(self.landing.manifests("shop", "events")[-1]).collect()


@pytest.fixture(params=["postgresql", "mysql"])
def server(request, tmp_path):
    if request.param == "postgresql":
        dsn = request.getfixturevalue("postgres").empty()
        connection = psycopg.connect(dsn, autocommit=True)
    else:
        mariadb = request.getfixturevalue("mariadb")
        dsn = mariadb.empty()
        connection = mariadb.connect()
    yield Server(request.param, dsn, connection, tmp_path)
    connection.close()


@pytest.mark.parametrize("page_rows", [1, 7, 100, 5000])
def test_every_row_comes_once(server, page_rows):
    rows = 60 if page_rows == 1 else 1000
    server.fill(rows)
    server.run("INSERT INTO events VALUES ('s9', 9001, NULL, 'no time'), ('s9', 9002, '9999-01-01', 'future')")
    record = server.night(page_rows)
    found = server.last()
    assert record.rows_landed == found["id"].n_unique() == rows + 2
    paged = found.filter(~found["note"].is_in(["no time", "future"]))
    assert paged.select("at", "shop", "id").equals(
        paged.with_columns(number=paged["id"].cast(int)).sort("at", "shop", "number").select("at", "shop", "id")
    )
    server.run("INSERT INTO events VALUES ('s1', 9003, '2026-02-01', 'new')")
    assert server.night(page_rows).cursor_to.startswith("2026-02-01")
    assert set(server.last()["note"]) >= {"new", "no time", "future"}
    assert server.last().height <= 3 + 7


def test_a_lost_connection_goes_on_behind_the_last_row(server, monkeypatch):
    server.fill(5000)
    pages = []
    page = getattr(server.module, {"postgresql": "PostgresDatabase", "mysql": "MysqlDatabase"}[server.kind]).page

    def page_then_kill(database, keyset, after):
        pages.append(after)
        yield from page(database, keyset, after)
        if len(pages) in {2, 5}:
            server.kill()
            # What was read moves behind the cursor of the first snapshot, what was not read too.
            server.run("UPDATE events SET at = '2026-03-01' WHERE id IN (1, 4999)")

    database = {"postgresql": "PostgresDatabase", "mysql": "MysqlDatabase"}[server.kind]
    monkeypatch.setattr(getattr(server.module, database), "page", page_then_kill)
    record = server.night(page_rows=500)
    assert len(pages) == len(set(pages)) > 5
    first = server.last()
    assert first["id"].n_unique() == first.height == record.rows_landed >= 4998
    assert not record.cursor_to.startswith("2026-03-01")
    # The rows that moved come with the next load.
    server.night(page_rows=500)
    assert set(first["id"]) | set(server.last()["id"]) == {str(number) for number in range(1, 5001)}
    assert {"1", "4999"} <= set(server.last()["id"])


def test_a_server_that_stays_down_fails_the_load(server, monkeypatch):
    server.fill(500)
    opened = []
    connect = server.module.connect

    def connect_once(request, dsn):
        opened.append(1)
        if len(opened) > 1:
            raise SourceError("down", True)
        return connect(request, dsn)

    monkeypatch.setattr(server.module, "connect", connect_once)
    name = {"postgresql": "PostgresDatabase", "mysql": "MysqlDatabase"}[server.kind]
    page = getattr(server.module, name).page

    def page_then_kill(database, keyset, after):
        yield from page(database, keyset, after)
        server.kill()

    monkeypatch.setattr(getattr(server.module, name), "page", page_then_kill)
    with pytest.raises(SourceError, match="down") as down:
        server.night()
    assert down.value.transient
    assert len(opened) == 4
    assert server.landing.manifests("shop", "events") == []


def test_columns_that_changed_meanwhile_fail_the_load(server, monkeypatch):
    server.fill(500)
    name = {"postgresql": "PostgresDatabase", "mysql": "MysqlDatabase"}[server.kind]
    page = getattr(server.module, name).page

    def page_then_change(database, keyset, after):
        yield from page(database, keyset, after)
        server.kill()
        server.run("ALTER TABLE events ADD COLUMN more int")

    monkeypatch.setattr(getattr(server.module, name), "page", page_then_change)
    with pytest.raises(SourceError, match="columns of table events changed while it was read"):
        server.night()


def test_a_key_that_names_several_rows_is_refused(server):
    server.fill(100, step=50)
    with pytest.raises(SourceError, match="does not name one row of table events"):
        server.night(page_rows=3, primary_key=["shop"])
    assert server.landing.manifests("shop", "events") == []


def test_a_backfill_is_read_in_pages_too(server):
    server.fill(1000)
    server.night()
    record = server.night(window=("2026-01-01T00:00:10+00:00", "2026-01-01T00:00:20+00:00"))
    assert record.kind == "backfill"
    assert record.rows_landed == 70


def test_what_pages_need_is_said(server):
    server.fill(10)
    with pytest.raises(SourceError, match="page_rows needs a cursor and the fields of the key"):
        server.night(primary_key="content")
