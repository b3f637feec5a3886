"""A real MariaDB: values that break readers, late commits, deletes, drift, a connection that is lost."""

from datetime import date

import pytest

import orchestration.sources.mysql as module
from orchestration.sources.backfill import day_window
from orchestration.sources.errors import SourceError
from tests.crm_bench import CURSOR, SCAN, Crm


@pytest.fixture
def run(mariadb):
    """Runs statements in the empty database ``crm``."""
    mariadb.empty()
    connection = mariadb.connect()

    def run(*statements):
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    yield run
    connection.close()


@pytest.fixture
def crm(tmp_path, mariadb, monkeypatch, run):
    monkeypatch.setenv("CRM_DSN", mariadb.dsn)
    return Crm(tmp_path)


CONTACTS = "CREATE TABLE contacts (id int PRIMARY KEY, email varchar(100), updated_at timestamp(6) NULL)"


def fill(run, n=10):
    run(
        CONTACTS,
        "SET time_zone = '+00:00'",
        f"INSERT INTO contacts SELECT seq, concat('m', seq), '2026-01-01' + INTERVAL seq DAY FROM seq_1_to_{n}",
    )


def test_no_value_can_fail(crm, run):
    columns = {
        "id": ("int", "1", "1"),
        "email": ("text", "'a,\"b\\'\\n\\r\\n\\t\\\\'", "a,\"b'\n\r\n\t\\"),
        "empty": ("varchar(5)", "''", ""),
        "absent": ("varchar(5)", "NULL", None),
        "quoted null": ("text", "'NULL'", "NULL"),
        "emoji": ("varchar(20)", "'你好😀'", "你好😀"),
        "latin": ("varchar(20) CHARACTER SET latin1", "'café'", "café"),
        "chinese": ("varchar(20) CHARACTER SET gbk", "'中文'", "中文"),
        "zero_day": ("date", "'0000-00-00'", "0000-00-00"),
        "no_day": ("date", "'2026-05-00'", "2026-05-00"),
        "zero_time": ("datetime", "'0000-00-00 00:00:00'", "0000-00-00 00:00:00"),
        "zero_instant": ("timestamp NOT NULL", "'0000-00-00 00:00:00'", "0000-00-00 00:00:00"),
        "moment": ("datetime(6)", "'2026-05-01 02:03:04.000005'", "2026-05-01 02:03:04.000005"),
        "instant": ("timestamp(3) NOT NULL", "'2026-05-01 02:03:04.567'", "2026-04-30 18:03:04.567+00"),
        "far": ("datetime", "'9999-12-31 23:59:59'", "9999-12-31 23:59:59"),
        "minus": ("time", "'-838:59:59'", "-838:59:59"),
        "long_time": ("time(3)", "'25:00:00.125'", "25:00:00.125"),
        "yr": ("year", "2155", "2155"),
        "bits": ("bit(10)", "b'0000000101'", "0000000101"),
        "flag": ("bit(1)", "b'1'", "1"),
        "yes": ("boolean", "true", "1"),
        "big": ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
        "small": ("bigint", "-9223372036854775808", "-9223372036854775808"),
        "padded": ("int(5) zerofill", "42", "00042"),
        "exact": ("decimal(65,30)", "-12345678901234567890.123456789012345678901234567890", None),
        "double_sum": ("double", "0.1e0 + 0.2e0", "0.30000000000000004"),
        "double_big": ("double", "1.7976931348623157e308", "1.7976931348623157e308"),
        "double_small": ("double", "-2.2250738585072014e-308", "-2.2250738585072014e-308"),
        "single": ("float", "4.2", "4.2"),
        "single_big": ("float", "16777217", "16777216"),
        "json_d": ("json", '\'{"b": 1.10, "a": [null]}\'', '{"b": 1.10, "a": [null]}'),
        "feeling": ("enum('sad','o,k')", "'o,k'", "o,k"),
        "tags": ("set('a','b','c')", "'c,a'", "a,c"),
        "bytes": ("blob", "x'00ff'", "\\x00ff"),
        "fixed": ("binary(3)", "x'01'", "\\x010000"),
        "uid": ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        "address": ("inet6", "'::ffff:192.0.2.1'", "::ffff:192.0.2.1"),
        "place": (
            "point",
            "ST_GeomFromText('POINT(1 2)')",
            "\\x" + "00000000" + "0101000000" + "000000000000f03f" + "0000000000000040",
        ),
        "made": ("varchar(30) AS (concat(email, '!')) VIRTUAL", None, "a,\"b'\n\r\n\t\\!"),
        "long_text": ("longtext", "repeat('é', 200000)", "é" * 200_000),
        "中文 `x` %s": ("text", "'%s {}'", "%s {}"),
    }
    columns["exact"] = (*columns["exact"][:2], columns["exact"][1])
    quoted = {name: "`" + name.replace("`", "``") + "`" for name in columns}
    given = [name for name, (_, value, _) in columns.items() if value is not None]
    run(
        "SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+08:00'",
        f"CREATE TABLE contacts ({', '.join(f'{quoted[n]} {kind}' for n, (kind, _, _) in columns.items())})",
        f"INSERT INTO contacts ({', '.join(quoted[n] for n in given)}) VALUES "
        f"({', '.join(columns[n][1] for n in given)})",
        "INSERT INTO contacts (id) VALUES (2)",
    )
    record = crm.night()
    assert (record.status, record.rows_read, record.rows_landed) == ("committed", 2, 2)
    first, second = crm.last().to_dicts()
    assert {name: first[name] for name in columns} == {name: text for name, (_, _, text) in columns.items()}
    # A timestamp that may not be null is zero where nothing is given; what is made of null is null.
    zero = {"instant": "0000-00-00 00:00:00.000", "zero_instant": "0000-00-00 00:00:00", "id": "2"}
    assert {name: second[name] for name in columns} == {name: zero.get(name) for name in columns}
    types = crm.loads()[0].source_types
    assert (types["big"], types["exact"], types["bytes"], types["feeling"], types["email"]) == (
        "bigint unsigned",
        "decimal",
        "blob",
        "enum",
        "text",
    )


def test_values_beyond_one_packet_of_the_protocol(crm, run, mariadb):
    # A row of 2^24 - 1 bytes or more is cut into several packets.
    sizes = [0, 250, 251, 65535, 65536, (1 << 24) - 7, (1 << 24) - 6, (1 << 24) - 5, 20_000_000]
    run("SET GLOBAL max_allowed_packet = 67108864")
    try:
        with mariadb.connect() as wide, wide.cursor() as cursor:
            cursor.execute("CREATE TABLE contacts (id int, email longtext, data longblob)")
            for number, size in enumerate(sizes):
                cursor.execute(f"INSERT INTO contacts VALUES ({number}, repeat('x', {size}), NULL)")
            cursor.execute("INSERT INTO contacts VALUES (9, NULL, repeat(x'00ff', 9000000))")
        crm.night()
    finally:
        run("SET GLOBAL max_allowed_packet = 16777216")
    rows = crm.last()
    assert rows["email"].str.len_bytes().to_list() == [*sizes, None]
    assert rows["data"].to_list()[-1] == "\\x" + "00ff" * 9_000_000


def test_many_rows_come_in_pieces_and_all(crm, run, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 10_000)
    run("CREATE TABLE contacts AS SELECT seq AS id, repeat('x', seq % 50) AS email FROM seq_1_to_20000")
    assert crm.night().rows_landed == 20_000
    rows = crm.last()
    assert rows["_load_row"].to_list() == list(range(20_000))
    assert rows["id"].n_unique() == 20_000
    assert rows["email"].str.len_bytes().sum() == sum(number % 50 for number in range(1, 20_001))


def test_nothing_can_be_written(crm, run):
    run("CREATE SEQUENCE numbers")
    with pytest.raises(SourceError, match="READ ONLY"):
        crm.night(**{"from": {"query": "SELECT nextval(numbers) AS id, 'x' AS email"}})


def test_one_snapshot_is_read(crm, run, monkeypatch):
    fill(run, 3)
    described = module.MysqlDatabase.describe

    def describe_and_add(database):
        run("INSERT INTO contacts VALUES (99, 'later', NULL)")
        return described(database)

    monkeypatch.setattr(module.MysqlDatabase, "describe", describe_and_add)
    crm.night()
    assert crm.landed() == {"1", "2", "3"}


@pytest.mark.parametrize("kind", ["timestamp(6) NULL", "datetime(6)", "date"])
def test_a_night_without_news_is_unchanged(crm, run, kind):
    fill(run)
    run(f"ALTER TABLE contacts MODIFY updated_at {kind}")
    assert crm.night(**CURSOR).rows_landed == 10
    for _ in range(2):
        record = crm.night(**CURSOR)
        assert record.status == "unchanged"
        assert record.rows_read <= 2
    run("UPDATE contacts SET email = 'changed', updated_at = updated_at WHERE id = 10")
    assert crm.night(**CURSOR).status == "committed"


@pytest.mark.parametrize(("lag", "is_seen"), [("15m", True), ("0s", False)])
def test_a_row_committed_late_needs_the_lag(crm, run, mariadb, lag, is_seen):
    run(CONTACTS)
    cursor = {"cursor": {"field": "updated_at", "lag": lag}}
    slow = mariadb.connect()
    try:
        slow.begin()
        slow.cursor().execute("INSERT INTO contacts VALUES (1, 'late', now(6) - INTERVAL 10 MINUTE)")
        run("INSERT INTO contacts VALUES (2, 'quick', now(6) - INTERVAL 1 MINUTE)")
        assert crm.night(**cursor).rows_landed == 1
        slow.commit()
    finally:
        slow.close()
    crm.night(**cursor)
    assert crm.landed() == ({"1", "2"} if is_seen else {"2"})


def test_rows_without_a_date_are_never_lost(crm, run):
    run(
        "SET sql_mode = ''",
        "CREATE TABLE contacts (id int, email text, updated_at datetime)",
        "INSERT INTO contacts VALUES (1, 'a', '2026-01-01'), (2, 'b', NULL), (3, 'c', '0000-00-00')",
    )
    assert crm.night(**CURSOR).cursor_to == "2026-01-01 00:00:00"
    run("INSERT INTO contacts VALUES (4, 'd', NULL), (5, 'e', '0000-00-00')")
    crm.night(**CURSOR)
    assert set(crm.last()["id"]) == {"1", "2", "3", "4", "5"}


def test_only_dates_that_are_none_give_no_cursor(crm, run):
    run("SET sql_mode = ''", "CREATE TABLE contacts (id int, email text, updated_at datetime)")
    run("INSERT INTO contacts VALUES (1, 'a', '0000-00-00')")
    assert crm.night(**CURSOR).cursor_to is None
    assert crm.last()["id"].to_list() == ["1"]


def test_a_date_in_the_future_does_not_move_the_cursor(crm, run):
    run("CREATE TABLE contacts (id int, email text, updated_at datetime)")
    run("INSERT INTO contacts VALUES (1, 'a', '2026-01-01'), (2, 'b', '9999-12-31')")
    assert crm.night(**CURSOR).cursor_to == "2026-01-01 00:00:00"
    run("INSERT INTO contacts VALUES (3, 'c', '2026-01-02')")
    crm.night(**CURSOR)
    assert set(crm.last()["id"]) == {"1", "2", "3"}


def test_times_without_zone_are_of_the_source(crm, run):
    # 2 hours ago in Shanghai looks like 6 hours ahead of UTC.
    run("CREATE TABLE contacts (id int, email text, updated_at datetime)")
    run("INSERT INTO contacts VALUES (1, 'a', utc_timestamp() + INTERVAL 6 HOUR)")
    assert crm.night(**CURSOR).cursor_to is not None


@pytest.mark.parametrize("kind", ["decimal(20,2)", "double", "bigint unsigned"])
def test_numeric_cursor(crm, run, kind):
    run(f"CREATE TABLE contacts (id int, email text, version {kind})")
    run("INSERT INTO contacts VALUES (1, 'a', 5), (2, 'b', 10), (3, 'c', NULL)")
    cursor = {"cursor": {"field": "version", "lag": "2"}}
    crm.night(**cursor)
    run("INSERT INTO contacts VALUES (4, 'd', 8), (5, 'e', 7)")
    record = crm.night(**cursor)
    assert (float(record.cursor_from), float(record.cursor_to)) == (8, 10)
    assert set(crm.last()["id"]) == {"2", "3", "4"}


def test_a_cursor_beyond_what_a_double_holds(crm, run):
    run("CREATE TABLE contacts (id bigint unsigned PRIMARY KEY, email text)")
    run("INSERT INTO contacts VALUES (18446744073709551614, 'a'), (18446744073709551615, 'b')")
    assert crm.night(cursor={"field": "id"}).cursor_to == "18446744073709551615"
    record = crm.night(cursor={"field": "id"})
    assert (record.status, record.rows_read) == ("unchanged", 1)


def test_settle_leaves_young_rows_for_the_next_night(crm, run):
    run(CONTACTS, "INSERT INTO contacts VALUES (1, 'a', now() - INTERVAL 1 HOUR), (2, 'b', now())")
    crm.night(cursor={"field": "updated_at", "settle": "10m"})
    assert crm.last()["id"].to_list() == ["1"]


def test_a_cursor_that_is_text_is_refused(crm, run):
    run("CREATE TABLE contacts (id int, email text, updated_at varchar(30))")
    with pytest.raises(SourceError, match=r"cursor 'updated_at' is varchar; a cursor is a date, a time or a number"):
        crm.night(**CURSOR)
    with pytest.raises(SourceError, match=r"lag is a number such as 1000"):
        crm.night(cursor={"field": "id", "lag": "15m"})


@pytest.mark.parametrize("kind", ["timestamp NULL", "datetime", "date"])
def test_a_backfill_of_a_business_day(crm, run, kind):
    run("SET time_zone = '+08:00'", f"CREATE TABLE contacts (id int PRIMARY KEY, email text, updated_at {kind})")
    times = ("2026-05-01 23:59:59", "2026-05-02 00:00:00", "2026-05-02 23:59:59", "2026-05-03 00:00:00")
    for number, moment in enumerate(times, 1):
        run(f"INSERT INTO contacts VALUES ({number}, 'm', '{moment}')")
    crm.night(window=day_window(date(2026, 5, 2), date(2026, 5, 2), "Asia/Shanghai"), **CURSOR)
    assert sorted(crm.last()["id"].to_list()) == ["2", "3"]
    assert crm.loads()[-1].kind == "backfill"


@pytest.mark.parametrize("cursor", [{}, CURSOR])
def test_key_scan_marks_what_vanished_once(crm, run, cursor):
    fill(run)
    crm.night(**SCAN, **cursor)
    run("DELETE FROM contacts WHERE id IN (3, 4)")
    crm.night(**SCAN, **cursor)
    gone = crm.last().filter("_deleted")
    assert (sorted(gone["id"]), gone["email"].to_list()) == (["3", "4"], [None, None])
    assert crm.night(**SCAN, **cursor).status == "unchanged"


def test_key_scan_brings_a_row_committed_beyond_the_lag(crm, run):
    fill(run)
    crm.night(**SCAN, **CURSOR)
    run("INSERT INTO contacts VALUES (77, 'late', '2026-01-02')")
    crm.night(**SCAN, **CURSOR)
    assert "77" in crm.landed()
    assert crm.loads()[-1].kind == "full"


def test_a_flag_of_one_bit_says_deleted(crm, run):
    run("CREATE TABLE contacts (id int, email text, is_gone bit(1))")
    run("INSERT INTO contacts VALUES (1, 'a', b'1'), (2, 'b', b'0'), (3, 'c', NULL)")
    crm.night(deletes={"strategy": "soft_flag", "field": "is_gone", "values": ["1"]})
    assert crm.last()["_deleted"].to_list() == [True, False, False]


def test_drift_is_reported_or_stops_the_load(crm, run):
    fill(run)
    crm.night(**CURSOR)
    run("ALTER TABLE contacts ADD COLUMN note text DEFAULT 'x', MODIFY id bigint, MODIFY email text")
    assert crm.night(**CURSOR).schema_change == "added: note; id: int to bigint; email: varchar to text"
    run("ALTER TABLE contacts MODIFY email blob")
    with pytest.raises(SourceError, match=r"'email' \(used by customer.fields.email\) was text and is blob"):
        crm.night(**CURSOR)
    run("ALTER TABLE contacts CHANGE email email_addr text")
    with pytest.raises(SourceError, match=r"'email' \(used by customer.fields.email\) is missing; nearest: 'email_a"):
        crm.night(**CURSOR)
    assert len(crm.loads()) == 2


def test_queries_as_streams(crm, run):
    fill(run)
    query = "SELECT id, email, updated_at, 100 % 7 AS rest FROM contacts -- 50 % of them\n WHERE id % 2 = 0;"
    crm.night(**{"from": {"query": query}}, **CURSOR)
    assert crm.last()["rest"].to_list() == ["2"] * 5
    with pytest.raises(SourceError, match="gives id more than once"):
        crm.night(**{"from": {"query": "SELECT a.id, b.id, a.email FROM contacts a, contacts b"}})


def test_what_an_operator_can_mend_is_said(crm, run, mariadb, monkeypatch):
    fill(run)
    with pytest.raises(
        SourceError, match=r"table 'contact' does not exist, or may not be seen; did you mean 'contacts'\?"
    ):
        crm.night(**{"from": {"table": "contact"}})
    with pytest.raises(SourceError, match=r"did you mean 'crm.contacts'\?"):
        crm.night(**{"from": {"table": "crm.contact"}})
    with pytest.raises(SourceError, match="statement_timeout_seconds") as slow:
        crm.night(
            **{"from": {"query": "SELECT a.seq AS id, b.seq AS email FROM seq_1_to_100000 a, seq_1_to_100000 b"}},
            connection={"statement_timeout_seconds": 0.2},
        )
    assert not slow.value.transient
    run("CREATE OR REPLACE USER poor@'127.0.0.1' IDENTIFIED BY 'geheim'", "CREATE DATABASE IF NOT EXISTS other")
    run("GRANT SELECT ON other.* TO poor@'127.0.0.1'")
    for user, match in (("poor", "correct user, password, database or ssl"), ("poor:geheim", "GRANT SELECT")):
        monkeypatch.setenv("CRM_DSN", f"mysql://{user}@127.0.0.1:{mariadb.port}/other")
        with pytest.raises(SourceError, match=match):
            crm.night(**{"from": {"table": "crm.contacts"}})
    monkeypatch.setenv("CRM_DSN", mariadb.dsn + "?ssl_mode=required")
    with pytest.raises(SourceError, match="unknown option 'ssl_mode'; did you mean 'ssl_"):
        crm.night()
    monkeypatch.setenv("CRM_DSN", mariadb.dsn + "?ssl=yes")
    with pytest.raises(SourceError, match="ssl=yes; use one of disabled, preferred, required, verify_ca, verify_ide"):
        crm.night()
    monkeypatch.setenv("CRM_DSN", "mysql://u:s3cret@[bad/db")
    with pytest.raises(SourceError, match="the DSN cannot be read") as unreadable:
        crm.night()
    assert "s3cret" not in str(unreadable.value)
    assert crm.loads() == []


def test_the_connection_is_encrypted_and_the_certificate_looked_at(crm, mariadb, monkeypatch):
    cipher = "SELECT 1 AS id, variable_value AS email FROM information_schema.session_status WHERE variable_name = "
    cipher += "'Ssl_cipher'"
    trusted = f"verify_identity&ssl_ca={mariadb.certificate}"
    for mode, is_encrypted in (("disabled", False), ("preferred", True), ("required", True), (trusted, True)):
        monkeypatch.setenv("CRM_DSN", f"{mariadb.dsn}?ssl={mode}")
        crm.night(**{"from": {"query": cipher}})
        assert bool(crm.last()["email"].item()) == is_encrypted
    # The server has signed its certificate itself.
    monkeypatch.setenv("CRM_DSN", f"{mariadb.dsn}?ssl=verify_identity")
    with pytest.raises(SourceError, match="certificate verify failed") as untrusted:
        crm.night(**{"from": {"query": cipher}})
    assert not untrusted.value.transient


def test_a_password_and_a_socket(crm, run, mariadb, monkeypatch):
    fill(run)
    run(
        "CREATE OR REPLACE USER reader@localhost IDENTIFIED BY 'gehéim:@/'", "GRANT SELECT ON crm.* TO reader@localhost"
    )
    monkeypatch.setenv("CRM_DSN", f"mariadb://reader@localhost/crm?unix_socket={mariadb.socket}&charset=utf8mb4")
    monkeypatch.setenv("CRM_PASSWORD", "gehéim:@/")
    assert crm.night(connection={"password": {"env": "CRM_PASSWORD"}}).rows_landed == 10


def test_a_database_that_is_down_may_come_back(crm, monkeypatch):
    monkeypatch.setenv("CRM_DSN", "mysql://tester@127.0.0.1:9/crm")
    with pytest.raises(SourceError, match=r"crm.contacts: the database does not answer") as down:
        crm.night()
    assert down.value.transient
    assert crm.loads() == []


def test_a_connection_lost_in_the_middle_commits_nothing(crm, run, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 1000)
    run("CREATE TABLE contacts AS SELECT seq AS id, repeat('x', 500) AS email FROM seq_1_to_200000")
    taken_apart = module.columns
    killed = []

    def kill_and_take_apart(rows, width):
        if width == 2 and not killed:
            killed.extend(run("SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT t.`id`%'"))
            for (number,) in killed:
                run(f"KILL {number}")
        return taken_apart(rows, width)

    monkeypatch.setattr(module, "columns", kill_and_take_apart)
    with pytest.raises(SourceError, match="connection was lost") as lost:
        crm.night()
    assert killed
    assert lost.value.transient
    assert crm.loads() == []
    assert not list(crm.landing.root.rglob("*.parquet"))
