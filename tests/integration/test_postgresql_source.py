"""A real PostgreSQL: values that break readers, late commits, deletes, drift, a server that is down."""

from datetime import date

import psycopg
import pytest

from orchestration.sources.backfill import day_window
from orchestration.sources.errors import SourceError
from tests.crm_bench import CURSOR, SCAN, Crm


@pytest.fixture
def dsn(postgres):
    return postgres.empty()


@pytest.fixture
def connection(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def crm(tmp_path, dsn, monkeypatch):
    monkeypatch.setenv("CRM_DSN", dsn)
    return Crm(tmp_path, "public.contacts")


CONTACTS = "CREATE TABLE contacts (id int PRIMARY KEY, email text, updated_at timestamptz)"


def test_no_value_can_fail(crm, connection):
    connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text)")
    connection.execute("CREATE DOMAIN positive AS int CHECK (value > 0)")
    connection.execute("CREATE DOMAIN tags AS text[]")
    columns = {
        "id": ("int", "1", "1"),
        "email": ("text", "E'a,\"b\"\\n\\r\\nc\\t\\\\.'", 'a,"b"\n\r\nc\t\\.'),
        "empty": ("text", "''", ""),
        "absent": ("text", "NULL", None),
        "quoted null": ("text", "'NULL'", "NULL"),
        "number_nan": ("numeric", "'NaN'", "NaN"),
        "number_exact": ("numeric(30,10)", "12345678901234567890.1234567890", "12345678901234567890.1234567890"),
        "double_inf": ("double precision", "'-Infinity'", "-Infinity"),
        "double_exact": ("double precision", "0.1::float8 + 0.2::float8", "0.30000000000000004"),
        "time_inf": ("timestamptz", "'infinity'", "infinity"),
        "time_bc": ("timestamp", "'0044-03-15 12:00:00 BC'", "0044-03-15 12:00:00 BC"),
        "time_zone": ("timestamptz", "'2026-05-01 02:00:00.123456+08'", "2026-04-30 18:00:00.123456+00"),
        "day": ("date", "'-infinity'", "-infinity"),
        "clock": ("timetz", "'01:02:03+08'", "01:02:03+08"),
        "span": ("interval", "'1 year 2 months -3 days 04:05:06.7'", "1 year 2 mons -3 days +04:05:06.7"),
        "uid": ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        "json_b": ("jsonb", '\'{"b": 1.10, "a": [null]}\'', '{"a": [null], "b": 1.10}'),
        "json_t": ("json", "'{\"b\" :1}'", '{"b" :1}'),
        "ints": ("int[]", "'{{1,2},{3,NULL}}'", "[[1,2],[3,null]]"),
        "floats": ("float8[]", "'{NaN,Infinity}'", '["NaN","Infinity"]'),
        "texts": ("text[]", "ARRAY['a,b', '\"', NULL, '']", '["a,b","\\"",null,""]'),
        "range": ("tstzrange", "'[2026-01-01 00:00+00,)'", '["2026-01-01 00:00:00+00",)'),
        "bytes": ("bytea", "'\\x00ff'", "\\x00ff"),
        "feeling": ("mood", "'sad'", "sad"),
        "both": ("pair", "ROW(1, 'x')", '{"a":1,"b":"x"}'),
        "plus": ("positive", "7", "7"),
        "flag": ("boolean", "true", "true"),
        "bits": ("bit(3)", "B'101'", "101"),
        "address": ("inet", "'192.168.0.1/24'", "192.168.0.1/24"),
        "money": ("money", "1234.5", "$1,234.50"),
        "place": ("point", "'(1,2)'", "(1,2)"),
        "number_inf": ("numeric", "'-Infinity'", "-Infinity"),
        "number_long": ("numeric", "('1' || repeat('0', 400) || '.5')::numeric", "1" + "0" * 400 + ".5"),
        "single": ("real", "16777216", "1.6777216e+07"),
        "several": ("int4multirange", "'{[1,3),[5,7)}'", "{[1,3),[5,7)}"),
        "no_range": ("daterange", "'empty'", "empty"),
        "ranges": ("int4range[]", "ARRAY['[1,3)'::int4range, NULL]", '["[1,3)",null]'),
        "moods": ("mood[]", "ARRAY['ok','sad']::mood[]", '["ok","sad"]'),
        "pairs": ("pair[]", "ARRAY[ROW(1,'x')::pair]", '[{"a":1,"b":"x"}]'),
        "labels": ("tags", "ARRAY['a', NULL]", '["a",null]'),
        "no_items": ("int[]", "'{}'", "[]"),
        "box_of": ("box", "'(3,4),(1,2)'", "(3,4),(1,2)"),
        "shape": ("polygon", "'((0,0),(1,1),(1,0))'", "((0,0),(1,1),(1,0))"),
        "circle_of": ("circle", "'<(1,2),3>'", "<(1,2),3>"),
        "network": ("cidr", "'10.0.0.0/8'", "10.0.0.0/8"),
        "mac": ("macaddr", "'08:00:2b:01:02:03'", "08:00:2b:01:02:03"),
        "more_bits": ("varbit", "B'00101'", "00101"),
        "markup": ("xml", "'<a>1</a>'", "<a>1</a>"),
        # What fills up a char(n) is no part of the value.
        "padded": ("char(4)", "'ab'", "ab"),
        "back": ("interval", "'-1 day 02:00'", "-1 days +02:00:00"),
        "twelve": ("time", "'24:00:00'", "24:00:00"),
        "any_sign": ("text", "E'\\u0001\\u200b\\u202e\\U0001F468\\u200D\\U0001F469'", "\u0001\u200b\u202e👨\u200d👩"),
        "words": ("tsvector", "'a:1 b:2'", "'a':1 'b':2"),
        "中文": ("text", "'你好😀'", "你好😀"),
        "select": ("text", "'%s %(x)s {}'", "%s %(x)s {}"),
    }
    connection.execute(
        f"CREATE TABLE contacts ({', '.join(f'{chr(34)}{n}{chr(34)} {t}' for n, (t, _, _) in columns.items())})"
    )
    connection.execute(f"INSERT INTO contacts VALUES ({', '.join(value for _, value, _ in columns.values())})")
    connection.execute("INSERT INTO contacts (id) VALUES (2)")
    record = crm.night()
    assert (record.status, record.rows_read, record.rows_landed) == ("committed", 2, 2)
    first, second = crm.last().to_dicts()
    assert {name: first[name] for name in columns} == {name: text for name, (_, _, text) in columns.items()}
    assert all(second[name] is None for name in columns if name != "id")
    assert crm.loads()[0].source_types["number_exact"] == "numeric"


def test_one_nullable_column_keeps_every_row(crm, connection):
    connection.execute("CREATE TABLE contacts (email text)")
    connection.execute(
        "INSERT INTO contacts SELECT CASE WHEN i % 2 = 0 THEN NULL ELSE '' END FROM generate_series(1, 10) i"
    )
    crm.night(primary_key="content")
    assert sorted(crm.last()["email"].to_list(), key=str) == [""] * 5 + [None] * 5


def test_bytes_that_are_no_utf8_are_kept(crm, postgres, monkeypatch):
    with psycopg.connect(postgres.dsn, autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS raw")
        server.execute("CREATE DATABASE raw ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    dsn = postgres.dsn.replace("/postgres", "/raw")
    monkeypatch.setenv("CRM_DSN", dsn)
    with psycopg.connect(dsn, autocommit=True) as server:
        server.execute("CREATE TABLE contacts (id int, email text)")
        server.execute("INSERT INTO contacts VALUES (1, E'caf\\xe9'), (2, 'plain')")
    crm.night()
    assert crm.last()["email"].to_list() == ["caf\\xe9", "plain"]


def test_many_rows_come_in_pieces_and_all(crm, connection, monkeypatch):
    monkeypatch.setattr("orchestration.sources.postgresql._CHUNK", 10_000)
    connection.execute(
        "CREATE TABLE contacts AS SELECT i AS id, repeat('x', i % 50) AS email FROM generate_series(1, 20000) i"
    )
    assert crm.night().rows_landed == 20_000
    rows = crm.last()
    assert rows["_load_row"].to_list() == list(range(20_000))
    assert rows["id"].n_unique() == 20_000


def test_a_night_without_news_is_unchanged(crm, connection):
    connection.execute(CONTACTS)
    connection.execute(
        "INSERT INTO contacts SELECT i, 'm', timestamptz '2026-01-01' + i * interval '1 hour' FROM "
        "generate_series(1, 9) i"
    )
    assert crm.night(**CURSOR).rows_landed == 9
    # The last row is inclusive, so it comes once more: what overlaps with the last load says nothing new.
    for _ in range(2):
        record = crm.night(**CURSOR)
        assert (record.status, record.rows_read) == ("unchanged", 1)
    assert len(crm.loads()) == 1
    connection.execute("UPDATE contacts SET email = 'changed without its date' WHERE id = 9")
    assert crm.night(**CURSOR).status == "committed"
    connection.execute("UPDATE contacts SET email = 'm' WHERE id = 9")
    assert crm.night(**CURSOR).status == "committed"


def test_a_full_scan_of_the_same_rows_is_unchanged(crm, connection):
    connection.execute(CONTACTS)
    connection.execute("INSERT INTO contacts VALUES (1, 'a', now()), (2, 'b', now())")
    assert crm.night().status == "committed"
    connection.execute("UPDATE contacts SET email = email WHERE id = 1")
    assert crm.night().status == "unchanged"
    connection.execute("UPDATE contacts SET email = 'c' WHERE id = 1")
    assert crm.night().status == "committed"


@pytest.mark.parametrize(("lag", "is_seen"), [("15m", True), ("0s", False)])
def test_a_row_committed_late_needs_the_lag(crm, dsn, connection, lag, is_seen):
    connection.execute(CONTACTS)
    cursor = {"cursor": {"field": "updated_at", "lag": lag}}
    with psycopg.connect(dsn) as slow:
        slow.execute("INSERT INTO contacts VALUES (1, 'late', now() - interval '10 minutes')")
        connection.execute("INSERT INTO contacts VALUES (2, 'quick', now() - interval '1 minute')")
        assert crm.night(**cursor).rows_landed == 1
        slow.commit()
    crm.night(**cursor)
    landed = crm.landed()
    assert landed == ({"1", "2"} if is_seen else {"2"})


@pytest.mark.parametrize(("deletes", "is_seen"), [(SCAN, True), ({}, False)])
def test_a_row_committed_late_is_found_by_the_key_scan_without_a_lag(crm, dsn, connection, deletes, is_seen):
    connection.execute(CONTACTS)
    cursor = {"cursor": {"field": "updated_at"}}
    with psycopg.connect(dsn) as slow:
        slow.execute("INSERT INTO contacts VALUES (1, 'late', now() - interval '10 minutes')")
        connection.execute("INSERT INTO contacts VALUES (2, 'quick', now() - interval '1 minute')")
        first = crm.night(**cursor, **deletes)
        slow.commit()
    second = crm.night(**cursor, **deletes)
    landed = crm.landed()
    assert landed == ({"1", "2"} if is_seen else {"2"})
    assert second.cursor_to == first.cursor_to


def test_rows_without_cursor_value_are_never_lost(crm, connection):
    connection.execute(CONTACTS)
    connection.execute("INSERT INTO contacts VALUES (1, 'a', now() - interval '1 day'), (2, 'b', NULL)")
    crm.night(**CURSOR)
    connection.execute("INSERT INTO contacts VALUES (3, 'c', NULL)")
    crm.night(**CURSOR)
    assert set(crm.last()["id"]) == {"1", "2", "3"}


@pytest.mark.parametrize("wrong", ["'infinity'", "now() + interval '900 years'"])
def test_a_date_in_the_future_does_not_move_the_cursor(crm, connection, wrong):
    connection.execute(CONTACTS)
    connection.execute(f"INSERT INTO contacts VALUES (1, 'a', '2026-01-01+00'), (2, 'b', {wrong})")
    assert crm.night(**CURSOR).cursor_to == "2026-01-01 00:00:00+00"
    connection.execute("INSERT INTO contacts VALUES (3, 'c', '2026-01-02+00')")
    crm.night(**CURSOR)
    assert set(crm.last()["id"]) == {"1", "2", "3"}


def test_times_without_zone_are_of_the_source(crm, connection):
    # 2 hours ago in Shanghai looks like 6 hours ahead of UTC.
    connection.execute("CREATE TABLE contacts (id int, email text, updated_at timestamp)")
    connection.execute("INSERT INTO contacts VALUES (1, 'a', now() AT TIME ZONE 'Asia/Shanghai' - interval '2 hours')")
    assert crm.night(**CURSOR).cursor_to is not None


def test_numeric_cursor(crm, connection):
    connection.execute("CREATE TABLE contacts (id int, email text, version numeric)")
    connection.execute("INSERT INTO contacts VALUES (1, 'a', 5), (2, 'b', 10), (3, 'c', 'NaN')")
    cursor = {"cursor": {"field": "version", "lag": "2"}}
    assert crm.night(**cursor).cursor_to == "10"
    connection.execute("INSERT INTO contacts VALUES (4, 'd', 8), (5, 'e', 7)")
    record = crm.night(**cursor)
    assert (record.cursor_from, record.cursor_to) == ("8", "10")
    assert set(crm.last()["id"]) == {"2", "3", "4"}


def test_settle_leaves_young_rows_for_the_next_night(crm, connection):
    connection.execute(CONTACTS)
    connection.execute("INSERT INTO contacts VALUES (1, 'a', now() - interval '1 hour'), (2, 'b', now())")
    crm.night(cursor={"field": "updated_at", "settle": "10m"})
    assert crm.last()["id"].to_list() == ["1"]


def test_a_cursor_that_is_text_is_refused(crm, connection):
    connection.execute("CREATE TABLE contacts (id int, email text, updated_at text)")
    with pytest.raises(SourceError, match=r"cursor 'updated_at' is text; a cursor is a date, a time or a number"):
        crm.night(**CURSOR)
    with pytest.raises(SourceError, match=r"lag is a number such as 1000"):
        crm.night(cursor={"field": "id", "lag": "15m"})


def test_a_backfill_names_its_window_and_leaves_the_cursor(crm, connection):
    connection.execute(CONTACTS)
    connection.execute(
        "INSERT INTO contacts SELECT i, 'm', timestamptz '2026-01-01+00' + i * interval '1 day' FROM "
        "generate_series(1, 9) i"
    )
    before = crm.night(**CURSOR).cursor_to
    record = crm.night(window=("2026-01-03 00:00+00", "2026-01-05 00:00+00"), **CURSOR)
    assert record.cursor_to is None
    assert crm.last()["id"].to_list() == ["2", "3"]
    assert crm.loads()[-1].kind == "backfill"
    assert crm.night(**CURSOR).cursor_from == "2026-01-09 23:45:00+00"
    assert before == "2026-01-10 00:00:00+00"


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_a_backfill_of_a_business_day(crm, connection, kind):
    # Without a zone, what the source writes is its local time, that of Shanghai.
    connection.execute("SET TIME ZONE 'Asia/Shanghai'")
    connection.execute(f"CREATE TABLE contacts (id int PRIMARY KEY, email text, updated_at {kind})")
    times = ("2026-05-01 23:59:59", "2026-05-02 00:00:00", "2026-05-02 23:59:59", "2026-05-03 00:00:00")
    for number, moment in enumerate(times, 1):
        connection.execute(f"INSERT INTO contacts VALUES ({number}, 'm', '{moment}')")
    crm.night(window=day_window(date(2026, 5, 2), date(2026, 5, 2), "Asia/Shanghai"), **CURSOR)
    assert sorted(crm.last()["id"].to_list()) == ["2", "3"]


def test_a_backfill_by_day_of_a_number_is_refused(crm, connection):
    connection.execute("CREATE TABLE contacts (id int PRIMARY KEY, email text)")
    window = day_window(date(2026, 5, 2), date(2026, 5, 2), "Asia/Shanghai")
    with pytest.raises(SourceError, match="cursor 'id' is a number, so its rows have no days"):
        crm.night(window=window, cursor={"field": "id"})


def fill(connection, n=10):
    connection.execute(CONTACTS)
    connection.execute(
        "INSERT INTO contacts SELECT i, 'm' || i, timestamptz '2026-01-01+00' + i * interval '1 day' FROM "
        f"generate_series(1, {n}) i"
    )


@pytest.mark.parametrize("cursor", [{}, CURSOR])
def test_key_scan_marks_what_vanished_once(crm, connection, cursor):
    fill(connection)
    crm.night(**SCAN, **cursor)
    connection.execute("DELETE FROM contacts WHERE id IN (3, 4)")
    crm.night(**SCAN, **cursor)
    gone = crm.last().filter("_deleted")
    assert (sorted(gone["id"]), gone["email"].to_list()) == (["3", "4"], [None, None])
    assert crm.loads()[-1].rows_deleted == 2
    assert crm.loads()[-1].rows_read == crm.last().height - 2
    crm.night(**SCAN, **cursor)
    assert crm.night(**SCAN, **cursor).status == "unchanged"


def test_key_scan_refuses_an_empty_answer_and_a_landslide(crm, connection):
    fill(connection)
    crm.night(**SCAN, **CURSOR)
    connection.execute("DELETE FROM contacts WHERE id <= 3")
    with pytest.raises(
        SourceError, match=r"misses 3 of 10 records \(30.0%\), more than max_vanish_share = 0.2; nothing was"
    ):
        crm.night(**SCAN, **CURSOR)
    connection.execute("DELETE FROM contacts")
    with pytest.raises(SourceError, match=r"found no key where 10 records are alive; nothing was deleted"):
        crm.night(deletes={"strategy": "key_scan", "max_vanish_share": "1"}, **CURSOR)
    assert len(crm.loads()) == 1


def test_key_scan_brings_rows_that_the_window_never_met(crm, connection):
    fill(connection)
    crm.night(**SCAN, **CURSOR)
    connection.execute("INSERT INTO contacts VALUES (99, 'restored', '2020-01-01')")
    record = crm.night(**SCAN, **CURSOR)
    assert (record.rows_landed, record.cursor_from) == (11, None)
    assert "99" in crm.last()["id"].to_list()


def test_key_scan_over_hashed_keys(crm, connection):
    fill(connection)
    hashed = {"pii": {"id": "hmac"}}
    crm.night(**SCAN, **CURSOR, **hashed)
    connection.execute("DELETE FROM contacts WHERE id = 3")
    crm.night(**SCAN, **CURSOR, **hashed)
    first, second = (crm.landing.scan(load).collect() for load in crm.loads())
    assert second.filter("_deleted")["id"].to_list() == [first["id"][2]]
    assert "3" not in first["id"].to_list()


def test_soft_flag(crm, connection):
    connection.execute("CREATE TABLE contacts (id int, email text, is_gone boolean)")
    connection.execute("INSERT INTO contacts VALUES (1, 'a', true), (2, 'b', false), (3, 'c', NULL)")
    crm.night(deletes={"strategy": "soft_flag", "field": "is_gone", "values": ["true"]})
    assert crm.last()["_deleted"].to_list() == [True, False, False]


def test_a_new_column_lands_and_is_reported(crm, connection):
    fill(connection)
    crm.night(**CURSOR)
    connection.execute(
        "ALTER TABLE contacts ADD COLUMN note text DEFAULT 'x'; ALTER TABLE contacts ALTER id TYPE bigint"
    )
    record = crm.night(**CURSOR)
    assert record.schema_change == "added: note; id: integer to bigint"
    assert crm.last()["note"].to_list() == ["x"]


def test_a_column_mapped_later_is_read_from_the_beginning(crm, connection):
    fill(connection)
    crm.night(**CURSOR)
    connection.execute("ALTER TABLE contacts ADD COLUMN town text DEFAULT 'x'")
    assert crm.night(fields={"email": "email", "city": "town"}, **CURSOR).rows_landed == 10


def test_a_missing_declared_column_fails_and_moves_nothing(crm, connection):
    fill(connection)
    crm.night(**CURSOR)
    connection.execute("ALTER TABLE contacts RENAME email TO email_addr")
    with pytest.raises(
        SourceError,
        match=r"crm.contacts: declared column 'email' \(used by customer.fields.email\) is missing; nearest: 'email_a",
    ):
        crm.night(**CURSOR)
    connection.execute(
        "ALTER TABLE contacts RENAME email_addr TO email; ALTER TABLE contacts RENAME updated_at TO changed"
    )
    with pytest.raises(SourceError, match=r"'updated_at' \(used by cursor\) is missing"):
        crm.night(**CURSOR)
    assert len(crm.loads()) == 1
    assert [path.name for path in crm.loads()[0].folder.parent.iterdir()] == [crm.loads()[0].folder.name]


def test_a_retyped_declared_column_fails_until_it_is_accepted(crm, connection):
    fill(connection)
    crm.night(**CURSOR)
    connection.execute("ALTER TABLE contacts ALTER email TYPE jsonb USING to_jsonb(email)")
    with pytest.raises(SourceError, match=r"'email' \(used by customer.fields.email\) was text and is jsonb"):
        crm.night(**CURSOR)
    assert len(crm.loads()) == 1
    assert crm.night(types={"email": "jsonb"}, **CURSOR).status == "committed"
    assert crm.loads()[-1].source_types["email"] == "jsonb"


def test_queries_as_streams(crm, connection):
    fill(connection)
    query = "SELECT id, email, updated_at, 100 % 7 AS rest FROM contacts -- 50 % of them\n WHERE id % 2 = 0;"
    crm.night(**{"from": {"query": query}}, **CURSOR)
    assert crm.last()["rest"].to_list() == ["2"] * 5
    with pytest.raises(SourceError, match="gives id more than once"):
        crm.night(**{"from": {"query": "SELECT a.id, b.id, a.email FROM contacts a, contacts b"}})


def test_what_an_operator_can_mend_is_said(crm, connection, dsn, monkeypatch, postgres):
    fill(connection)
    with pytest.raises(
        SourceError,
        match=r"table 'public.contact' does not exist, or may not be seen; did you mean 'public.contacts'\?",
    ):
        crm.night(**{"from": {"table": "public.contact"}})
    with pytest.raises(SourceError, match="statement_timeout_seconds") as slow:
        crm.night(
            **{"from": {"query": "SELECT 1 AS id, 'x' AS email FROM pg_sleep(5)"}},
            connection={"statement_timeout_seconds": 0.2},
        )
    assert not slow.value.transient
    connection.execute("DROP ROLE IF EXISTS poor; CREATE ROLE poor LOGIN")
    monkeypatch.setenv("CRM_DSN", dsn.replace("tester@", "poor@"))
    with pytest.raises(SourceError, match="GRANT SELECT"):
        crm.night()
    monkeypatch.setenv("CRM_DSN", dsn + "_no")
    with pytest.raises(SourceError, match="correct user, password or database") as missing:
        crm.night()
    assert not missing.value.transient
    monkeypatch.delenv("CRM_DSN")
    with pytest.raises(SourceError, match="needs the environment variable CRM_DSN, which is not set"):
        crm.night()
    monkeypatch.setenv("CRM_DSN", "postgresql://u:s3cret@[bad/db")
    with pytest.raises(SourceError, match="the DSN cannot be read") as unreadable:
        crm.night()
    assert "s3cret" not in str(unreadable.value)
    assert crm.loads() == []


def test_a_database_that_is_down_may_come_back(crm, monkeypatch, tmp_path):
    monkeypatch.setenv("CRM_DSN", "postgresql://tester@127.0.0.1:9/postgres")
    with pytest.raises(SourceError, match=r"crm.contacts: the database does not answer") as down:
        crm.night()
    assert down.value.transient
    assert crm.loads() == []


def test_a_connection_lost_in_the_middle_commits_nothing(crm, connection, monkeypatch):
    monkeypatch.setattr("orchestration.sources.postgresql._CHUNK", 1000)
    connection.execute(
        "CREATE TABLE contacts AS SELECT i AS id, repeat('x', 500) AS email FROM generate_series(1, 200000) i"
    )
    import orchestration.sources.postgresql as module

    parse = module._parse
    killed = []

    def parse_and_kill(data, names):
        if not killed:
            killed.append(
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
                    "'experience-warehouse'"
                ).fetchall()
            )
        return parse(data, names)

    monkeypatch.setattr(module, "_parse", parse_and_kill)
    with pytest.raises(SourceError, match="connection was lost") as lost:
        crm.night()
    assert lost.value.transient
    assert crm.loads() == []
    assert not list(crm.landing.root.rglob("*.parquet"))
