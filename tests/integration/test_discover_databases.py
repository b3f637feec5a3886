"""``experience sources discover`` over real servers: what a reader with SELECT alone sees, and nothing else."""

from __future__ import annotations

import psycopg
import pytest

from orchestration.cli import main
from orchestration.sources.config import load_source


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPERIENCE_HOME", str(tmp_path))
    monkeypatch.delenv("EXPERIENCE_SOURCES", raising=False)
    (tmp_path / "sources").mkdir()
    return tmp_path


def proposed(home, capsys, dsn, monkeypatch):
    """The source that is proposed, once it was checked and loaded."""
    monkeypatch.setenv("CRM_DSN", dsn)
    assert main(["sources", "discover", "--type", "sql", "--dsn", "env:CRM_DSN", "--source", "crm"]) == 0
    said = capsys.readouterr().out
    path = home / "sources" / "crm.yaml"
    path.write_text(said, encoding="utf-8")
    assert main(["sources", "check", "crm"]) == 0
    assert "ok     crm.contacts: 1 row with" in capsys.readouterr().out
    assert main(["sources", "run", "crm"]) == 0
    assert main(["sources", "plan", "crm.contacts"]) == 0
    assert "updated_at from 2026-05-01" in capsys.readouterr().out
    return said, load_source(path)


def test_postgresql(home, capsys, postgres, monkeypatch):
    dsn = postgres.empty()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("""
            CREATE SCHEMA sales;
            CREATE TABLE sales.contacts (region text, id bigint, email text, updated_at timestamptz, tags text[],
                PRIMARY KEY (region, id));
            CREATE TABLE sales.orders (id bigint PRIMARY KEY, contact_id bigint, created_at timestamp, total numeric)
                PARTITION BY RANGE (id);
            CREATE TABLE sales.orders_1 PARTITION OF sales.orders FOR VALUES FROM (0) TO (100);
            CREATE VIEW sales.companies AS SELECT 1 AS id, 'Tea Ltd' AS name;
            CREATE TABLE sales.hidden_contacts (id bigint PRIMARY KEY, email text);
            INSERT INTO sales.contacts VALUES ('EU', 1, 'a@b.example', '2026-05-01 10:00+00', '{a}');
            DROP ROLE IF EXISTS reader;
            CREATE ROLE reader LOGIN;
            GRANT USAGE ON SCHEMA sales TO reader;
            GRANT SELECT ON sales.contacts, sales.orders, sales.companies TO reader;
        """)
        try:
            said, source = proposed(home, capsys, with_user(dsn, "reader"), monkeypatch)
        finally:
            connection.execute("DROP OWNED BY reader; DROP ROLE reader; DROP SCHEMA sales CASCADE")
    assert set(source.streams) == {"contacts", "orders", "companies"}, "neither partitions nor what may not be read"
    contacts = source.streams["contacts"]
    assert contacts.origin.table == "sales.contacts"
    assert contacts.primary_key == ["region", "id"]
    assert contacts.cursor.field == "updated_at"
    assert source.streams["orders"].tables["sales_order"].fields["ordered_at"].source_field == "created_at"
    assert "a@b.example" not in said


def with_user(dsn, user):
    """The DSN with another user."""
    scheme, _, rest = dsn.partition("://")
    return f"{scheme}://{user}@{rest.partition('@')[2] or rest}"


def test_mariadb(home, capsys, mariadb, monkeypatch):
    dsn = mariadb.empty()
    connection = mariadb.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE contacts (id INT PRIMARY KEY, email VARCHAR(99), updated_at DATETIME, f FLOAT)"
            )
            cursor.execute("CREATE TABLE Orders (id INT PRIMARY KEY, order_date DATE, currency CHAR(3))")
            cursor.execute("INSERT INTO contacts VALUES (1, 'a@b.example', '2026-05-01 10:00:00', 1.5)")
        connection.commit()
        said, source = proposed(home, capsys, dsn, monkeypatch)
    finally:
        connection.close()
    assert set(source.streams) == {"contacts", "orders"}
    assert source.streams["contacts"].primary_key == ["id"]
    assert source.streams["orders"].origin.table == "Orders"
    assert "# not mapped: f (float)" in said
