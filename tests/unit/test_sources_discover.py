"""``experience sources discover``: what it proposes can be used as it stands, and shows no value and no secret."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

import jsonschema
import polars as pl
import pytest
import yaml

from orchestration.cli import main
from orchestration.contracts import CONTRACTS
from orchestration.settings import Settings
from orchestration.sources.config import load_source, parse_source
from orchestration.sources.discover import fields_of
from orchestration.sources.presets import preset, preset_names
from orchestration.sources.propose import COLUMNS, TABLES, Found, guessed_types, propose
from orchestration.sources.schema import schema


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPERIENCE_HOME", str(tmp_path))
    monkeypatch.delenv("EXPERIENCE_SOURCES", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sources").mkdir()
    return tmp_path


def discover(*arguments: str) -> int:
    return main(["sources", "discover", *arguments])


def usable(text: str, path):
    """The YAML, read as a source; the schema has nothing against it either."""
    path.write_text(text, encoding="utf-8")
    assert not list(jsonschema.Draft202012Validator(schema()).iter_errors(yaml.safe_load(text)))
    return load_source(path)


def test_tables_of_a_database_become_a_source_that_loads(home, capsys):
    with sqlite3.connect(home / "crm.sqlite") as database:
        database.executescript("""
            CREATE TABLE crm_contacts (contact_id INTEGER PRIMARY KEY, display_name TEXT, mail TEXT, mobile TEXT,
                company_id INTEGER, ip_address TEXT, last_modified TIMESTAMP, birthday DATE, score REAL);
            CREATE TABLE orders (id INTEGER PRIMARY KEY, contact_id INTEGER, amount_total REAL, currency TEXT,
                created_at TIMESTAMP, updated_at TIMESTAMP);
            CREATE TABLE ticket_audit (k TEXT, v TEXT);
            CREATE VIEW companies AS SELECT 1 AS id, 'x' AS company_name;
            INSERT INTO crm_contacts VALUES (1, 'Ada', 'ada@shop.example', '1', 7, '10.1.2.3', '2026-05-01', NULL, 1);
        """)
    assert discover("--type", "sql", "--dsn", f"sqlite:///{home}/crm.sqlite", "--source", "crm") == 0
    said = capsys.readouterr().out
    assert "ada@shop.example" not in said
    source = usable(said, home / "sources" / "crm.yaml")
    assert set(source.streams) == {"crm_contacts", "orders", "companies"}
    contacts = source.streams["crm_contacts"]
    fields = {name: entry.source_field for name, entry in contacts.tables["customer"].fields.items()}
    assert fields == {
        "full_name": "display_name",
        "email": "mail",
        "phone": "mobile",
        "account_id": "company_id",
        "birth_date": "birthday",
        "updated_at": "last_modified",
    }
    assert contacts.primary_key == ["contact_id"]
    assert contacts.cursor.field == "last_modified"
    assert contacts.pii == {"ip_address": "drop"}
    order = source.streams["orders"].tables["sales_order"].fields
    assert (order["ordered_at"].source_field, order["customer_source"].value) == ("created_at", "crm")
    assert "email: mail  # personal" in said
    assert "# not mapped: score (real)" in said
    assert "# ticket_audit: looks like ticket_event, but nothing fits its ticket_id, occurred_at, event_name" in said
    assert main(["sources", "check", "crm"]) == 0
    assert main(["sources", "run", "crm"]) == 0


def test_a_configured_database_is_discovered_by_its_name(home, capsys):
    with sqlite3.connect(home / "crm.sqlite") as database:
        database.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
    (home / "sources" / "crm.yaml").write_text(
        'source: crm\ntype: sql\ntimezone: Asia/Shanghai\nconnection: {dsn: "sqlite:///{home}/crm.sqlite"}\n'
        "streams: {people: {from: {table: people}}}\n"
    )
    assert discover("crm") == 0
    said = capsys.readouterr().out
    source = usable(said, home / "sources" / "crm.yaml")
    assert source.timezone == "Asia/Shanghai"
    assert "full_name" in source.streams["people"].tables["customer"].fields


def test_a_password_is_neither_taken_nor_shown(home, capsys, monkeypatch):
    assert discover("--type", "sql", "--dsn", "postgresql://reader:hunter2@127.0.0.1:1/crm") == 2
    said = "".join(capsys.readouterr())
    assert "hunter2" not in said
    assert "--dsn env:NAME" in said
    monkeypatch.setenv("CRM_DSN", "postgresql://reader:hunter2@127.0.0.1:1/crm")
    assert discover("--type", "sql", "--dsn", "env:CRM_DSN") == 2
    said = "".join(capsys.readouterr())
    assert "hunter2" not in said
    assert "the database does not answer" in said


@pytest.mark.parametrize(
    ("name", "content", "origin"),
    [
        ("orders_2026.csv", b"order_id,placed_at,total\n1,2026-05-01 10:00,5\n", {}),
        ("orders.csv", "order_id;placed_at;total;stra\u00dfe\n1;2026-05-01 10:00;5;x\n".encode("cp1252"),
         {"delimiter": ";", "encoding": "cp1252"}),
        ("orders.tsv", b"order_id\tplaced_at\ttotal\n1\t2026-05-01 10:00\t5\n", {"delimiter": "\t"}),
        ("orders.jsonl", b'{"order_id": 1, "placed_at": "2026-05-01 10:00", "total": 5}\n', {}),
    ],
)  # fmt: skip
def test_files_are_read_as_they_are(home, capsys, name, content, origin):
    (home / name).write_bytes(content)
    assert discover("--type", "files", "--path", name.replace("2026", "*"), "--source", "shop") == 0
    source = usable(capsys.readouterr().out, home / "sources" / "shop.yaml")
    [(stream, config)] = source.streams.items()
    assert stream == "orders"
    assert {key: getattr(config.origin, key) for key in origin} == origin
    assert config.tables["sales_order"].fields["ordered_at"].source_field == "placed_at"
    assert main(["sources", "check", "shop"]) == 0


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_tells_its_streams_and_options(home, capsys, name):
    assert discover("--type", name) == 0
    said = capsys.readouterr().out
    chosen = preset(name)
    for word in (*chosen.options, *chosen.source["streams"]):
        assert f"{word}:" in said
    source = usable(said, home / "sources" / f"{name}.yaml")
    assert {*source.streams} >= {*chosen.source["streams"]} - {*chosen.optional_streams}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name a source"),
        (["--type", "sql"], "--type sql needs --dsn"),
        (["--type", "files"], "--type files needs --path"),
        (["--type", "sqll"], "did you mean 'sql'?"),
        (["--type", "http"], "an API cannot be listed"),
        (["--type", "files", "--path", "nothing_*.csv"], "no file matches"),
        (["draft.yaml"], "draft.yaml does not exist"),
        (["nope"], "no source 'nope'"),
    ],
)
def test_what_cannot_be_discovered_says_why(home, capsys, arguments, says):
    assert discover(*arguments) == 2
    assert says in capsys.readouterr().err


def found(name: str, **columns: str) -> Found:
    return Found(name, columns, ("id",) if "id" in columns else (), {}, has_cursor=True)


@pytest.mark.parametrize(
    ("name", "contract"),
    [
        ("contacts", "customer"),
        ("public.res_partner", "customer"),
        ("Companies", "account"),
        ("dealsArchive", None),
        ("support_tickets", "ticket"),
        ("customer_orders", "sales_order"),
        ("schema_migrations", None),
    ],
)
def test_a_table_is_known_by_its_name(name, contract):
    assert propose(found(name, id="integer")).contract == contract


def test_what_a_type_forbids_is_not_proposed():
    one = propose(found("orders", id="int", ordered_at="timestamp", items="jsonb", status="text", total="numeric"))
    assert "item_count" not in one.fields
    assert one.fields["order_amount"] == "total"
    late = propose(found("orders", id="int", ordered_at="boolean"))
    assert late.missing == ["ordered_at"]


def test_a_cursor_is_a_column_that_says_when_a_row_changed():
    both = propose(found("contacts", id="int", created_at="timestamp", write_date="timestamp"))
    assert (both.cursor, both.cursors) == ("write_date", ["created_at"])
    created = propose(found("contacts", id="int", created_at="timestamp"))
    assert (created.cursor, created.cursors) == (None, ["created_at"])


def test_types_are_guessed_from_all_values():
    rows = pl.DataFrame(
        {"a": ["1", "2.5", None], "b": ["1", "x", None], "c": ["2026-05-01T10:00:00Z", None, "2026-05-02T10:00:00Z"],
         "d": ["true", "false", None], "e": [None, None, None], "f": ['["a"]', "[]", None]},
        schema_overrides={"e": pl.String},
    )  # fmt: skip
    expected = {"a": "number", "b": "text", "c": "timestamp", "d": "boolean", "e": "", "f": "json"}
    assert guessed_types(rows) == expected


def test_names_that_are_looked_for_are_contracts_and_columns():
    assert set(TABLES) <= set(CONTRACTS)
    columns = {column.name for contract in CONTRACTS.values() for column in contract.columns} | {"updated_at"}
    assert set(COLUMNS) <= columns
    assert json.dumps(COLUMNS)


def test_surveys_that_the_yaml_declares_are_no_streams_to_discover(tmp_path):
    (tmp_path / "a.csv").write_text("id,nps\n1,9\n")
    source = parse_source(
        {
            "source": "voice",
            "type": "files",
            "surveys": {"s": {"name": "S", "questions": {"nps": {"metric": "nps", "scale": {"min": 0, "max": 10}}}}},
            "streams": {
                "responses": {
                    "from": {"path": str(tmp_path / "a.csv")},
                    "primary_key": ["id"],
                    "tables": {"answer": {"survey": "s", "questions": {"nps": "nps"}}},
                }
            },
        },
        tmp_path / "voice.yaml",
    )
    settings = Settings(home=tmp_path, sources_dir=tmp_path)
    found = fields_of(source, settings=settings, now=datetime(2026, 5, 4), failed=lambda *_: None)
    assert [one.name for one in found] == ["responses"]
