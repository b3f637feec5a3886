"""Incremental equals full refresh: every clean table and identity, whatever is delivered, in whatever order.

A history is drawn: versions of a few keys with a time on either side of a clock change, each delivered on some night or
several, some of them deletions. It goes through extraction, landing, normalising and merging night by night, and beside
it the landing alone is made into tables once, with every socket shut. Both ways give the same bytes.

What is equal and what is history: ``person_record`` and ``identity_evidence`` follow from the records alone, so that
they are equal however the nights fell. ``person_change`` is the log of what a person was called on which night: it
depends on the nights, a rebuild begins it anew, and it holds exactly the moves between the nights before.
"""

import itertools
import json
import socket
import sqlite3
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import polars as pl
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.contracts import CONTRACTS, DERIVED
from orchestration.contracts.model import Kind
from orchestration.identity.run import refresh_identity
from orchestration.normalize.response_quality import flag_responses
from orchestration.settings import Settings
from orchestration.sources.config import load_sources
from orchestration.sources.extract import extract
from orchestration.warehouse.clean import CleanStore
from orchestration.warehouse.refresh import rebuild_table, refresh_table

FIRST_NIGHT = datetime(2026, 11, 9, 18, 0, tzinfo=UTC)
LOAD_COLUMNS = ("load_id", "load_row", "extracted_at", "first_extracted_at")
CLOCK_CHANGES = {
    "Europe/Berlin": ("2026-03-28T22:30:00Z", "2026-10-24T21:30:00Z"),
    "America/New_York": ("2026-03-08T04:30:00Z", "2026-11-01T03:30:00Z"),
    "Asia/Shanghai": ("2026-05-01T15:30:00Z",),
}
"""Business time zone to instants half an hour before a day in which the clock changes; Shanghai has none."""
VALUES = {
    Kind.COUNTRY: ["CN", "DE"],
    Kind.LANGUAGE: ["en", "zh"],
    Kind.CURRENCY: ["CNY", "EUR"],
    Kind.INTEGER: ["1", "2"],
    Kind.NUMBER: ["1.5", "2"],
    Kind.MONEY: ["10.00", "12.50"],
    Kind.BOOLEAN: ["true", "false"],
    Kind.DATE: ["1980-02-03", "1990-04-05"],
    Kind.JSON: ['{"a": 1}', '{"a": 2}'],
    Kind.EMAIL: ["ann@example.com", "ben@example.com", "no address"],
    Kind.PHONE: ["13800000001", "13800000002"],
}
SLOW = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))


def version():
    """Strategy for one version of a row: its key, when it was updated, its time, its content, whether it is deleted."""
    return st.fixed_dictionaries(
        {
            "key": st.integers(0, 4),
            "updated": st.integers(0, 5),
            "hours": st.integers(0, 26),
            "choice": st.integers(0, 1),
            "deleted": st.sampled_from(["", "", "", "gone"]),
        }
    )


def row(contract, zone, drawn):
    """A row as a source sends it. What two versions of one ``updated`` say is the same."""
    changes = CLOCK_CHANGES[zone]
    fields = {}
    for position, column in enumerate(contract.columns):
        turn = drawn["choice"] + position + drawn["updated"]
        if column.kind is Kind.TIMESTAMP:
            near = datetime.fromisoformat(changes[drawn["key"] % len(changes)])
            fields[column.name] = (near + timedelta(hours=drawn["hours"])).strftime("%Y-%m-%dT%H:%M:%SZ")
        elif column.values:
            fields[column.name] = column.values[turn % len(column.values)]
        else:
            values = VALUES.get(column.kind, [f"{column.name} {drawn['key'] % 2}", f"{column.name} 2"])
            fields[column.name] = values[turn % len(values)]
    when = datetime(2026, 11, 1, 12, tzinfo=UTC) + timedelta(hours=drawn["updated"])
    return {
        "id": f"k{drawn['key']}",
        "changed": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "state": drawn["deleted"],
        **fields,
    }


def source(contract, is_dated):
    dated = {"updated_at": "changed"} if is_dated else {}
    return {
        "source": "system",
        "type": "files",
        "timezone": "UTC",
        "streams": {
            contract.name: {
                "from": {"path": "{home}/in/" + contract.name + "_*.jsonl"},
                "to": contract.name,
                "primary_key": ["id"],
                "deletes": {"strategy": "tombstone", "field": "state", "values": ["gone"]},
                "fields": {column.name: column.name for column in contract.columns} | dated,
            }
        },
    }


class Home:
    """A home that is driven without the job: extraction, clean tables, identity."""

    def __init__(self, root, zone, sources):
        self.settings = Settings(home=root, sources_dir=root / "sources", business_timezone=zone)
        (root / "in").mkdir(parents=True)
        (root / "sources").mkdir()
        for name, content in sources.items():
            (root / "sources" / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        self.store = CleanStore(self.settings.clean_dir, zone)
        self.tables = [
            CONTRACTS[table]
            for name in sources
            for stream in sources[name]["streams"].values()
            for table in [stream["to"]]
        ]
        self.clock = FIRST_NIGHT
        self.persons = []

    def night(self, delivered, with_identity=False):
        """Deliver rows by table and take them in."""
        for table, rows in delivered.items():
            if rows:
                path = self.settings.home / "in" / f"{table}_{self.clock:%Y%m%d%H}.jsonl"
                path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        sources = load_sources(self.settings.sources_dir)
        for one in sources.values():
            for stream in one.streams:
                if list((self.settings.home / "in").glob(f"{stream}_*.jsonl")):
                    extract(one, stream, settings=self.settings, run_id="night", now=self.clock)
        for contract in self.tables:
            refresh_table(contract, sources, settings=self.settings, run_id="night")
        if with_identity:
            refresh_identity(self.store, settings=self.settings, run_id=f"{self.clock:%d}", now=self.clock)
            self.persons.append(self.store.scan(DERIVED["person_record"]).collect())
        self.clock += timedelta(days=1)

    def replayed(self, root):
        """The tables of the same landing made once by another home, with no network."""
        other = Home(root, self.settings.business_timezone, {})
        other.settings.landing_dir.symlink_to(self.settings.landing_dir, target_is_directory=True)
        sources = load_sources(self.settings.sources_dir)
        with no_network():
            for contract in self.tables:
                rebuild_table(contract, sources, settings=other.settings, run_id="replay")
            if self.persons:
                refresh_identity(other.store, settings=other.settings, run_id="replay", now=self.clock)
        other.tables = self.tables
        return other

    def files(self):
        root = self.settings.clean_dir
        paths = [path for path in root.glob("*/*.parquet") if path.parent.name != "person_change"]
        return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.stem != "_empty"}

    def clean_rows(self, table):
        return self.store.scan(CONTRACTS[table]).collect().height

    def content(self, contract):
        """Live rows without what tells one delivery from another."""
        rows = self.store.scan(contract).drop(LOAD_COLUMNS).collect()
        return rows.sort(contract.key).rows()


@contextmanager
def no_network():
    with mock.patch.object(socket, "socket", side_effect=AssertionError("a replay opens no socket")):
        yield


@contextmanager
def folder():
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.mark.parametrize("table", [name for name in CONTRACTS if name != "answer"])
@SLOW
@given(data=st.data())
def test_a_clean_table_is_the_same_night_by_night_and_at_once(table, data):
    contract = CONTRACTS[table]
    zone = data.draw(st.sampled_from(sorted(CLOCK_CHANGES)))
    is_dated = data.draw(st.booleans())
    drawn = data.draw(st.lists(version(), min_size=2, max_size=10))
    nights = [[] for _ in range(3)]
    for one in drawn:
        for night in data.draw(st.sets(st.integers(0, 2), min_size=1)):
            nights[night].append(row(contract, zone, one))
    with folder() as root:
        home = Home(root / "nights", zone, {"system": source(contract, is_dated)})
        for rows in nights:
            home.night({table: rows})
        delivered = {one["key"] for one in drawn}
        assert home.store.scan(contract, include_deleted=True).select("source_id").collect().height == len(delivered)
        replayed = home.replayed(root / "replayed")
        assert replayed.files() == home.files()
        before = home.files()
        rebuild_table(contract, load_sources(home.settings.sources_dir), settings=home.settings, run_id="again")
        assert home.files() == before


@pytest.mark.parametrize("table", ["customer", "response", "web_event"])
@SLOW
@given(data=st.data())
def test_the_order_of_deliveries_does_not_matter_where_the_source_dates_its_rows(table, data):
    contract = CONTRACTS[table]
    zone = data.draw(st.sampled_from(sorted(CLOCK_CHANGES)))
    drawn = data.draw(st.lists(version(), min_size=2, max_size=8, unique_by=lambda one: (one["key"], one["updated"])))
    rows = [row(contract, zone, one) for one in drawn]
    order = data.draw(st.permutations(rows))
    again = data.draw(st.lists(st.sampled_from(rows), max_size=3))
    with folder() as root:
        homes = []
        for name, delivered in (("sorted", [rows]), ("shuffled", [order[::2], order[1::2], again])):
            home = Home(root / name, zone, {"system": source(contract, is_dated=True)})
            for part in delivered:
                home.night({table: part})
            homes.append(home)
        assert homes[0].content(contract) == homes[1].content(contract)


RECORDS = st.lists(
    st.tuples(
        st.integers(0, 7), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.sampled_from(["", "", "gone"])
    ),
    min_size=3,
    max_size=12,
)


def customer(number, night, drawn):
    key, email, phone, login, state = drawn
    return {
        "id": f"c{key}",
        "changed": f"2026-11-{night + 1:02d}T{number:02d}:00:00Z",
        "state": state,
        "full_name": f"Name {email}",
        "email": f"p{email}@example.com" if email else None,
        "phone": f"1380000000{phone}" if phone else None,
        "login": f"login{login}" if login else None,
        "created_at": "2026-03-28T22:30:00Z",
    }


def event(number, night, drawn):
    key, visitor, _, login, state = drawn
    return {
        "id": f"e{key}",
        "changed": f"2026-11-{night + 1:02d}T{number:02d}:00:00Z",
        "state": state,
        "occurred_at": f"2026-03-29T{number:02d}:30:00Z",
        "anonymous_id": f"v{visitor}",
        "user_id": f"login{login}" if login else None,
        "event_name": "page_view",
    }


def mapped(table, fields):
    content = source(CONTRACTS[table], is_dated=True)
    stream = content["streams"][table]
    stream["fields"] = {name: name for name in fields} | {"updated_at": "changed"}
    return content | {"source": table}


@settings(SLOW, max_examples=10)
@given(customers=st.lists(RECORDS, min_size=3, max_size=3), events=st.lists(RECORDS, min_size=3, max_size=3))
def test_persons_follow_from_the_records_however_the_nights_fell(customers, events):
    sources = {
        "customer": mapped("customer", ["full_name", "email", "phone", "login", "created_at"]),
        "web_event": mapped("web_event", ["occurred_at", "anonymous_id", "user_id", "event_name"]),
    }
    with folder() as root:
        home = Home(root / "nights", "Europe/Berlin", sources)
        for night, (records, visits) in enumerate(zip(customers, events, strict=True)):
            home.night(
                {
                    "customer": [customer(number, night, drawn) for number, drawn in enumerate(records)],
                    "web_event": [event(number, night, drawn) for number, drawn in enumerate(visits)],
                },
                with_identity=True,
            )
        replayed = home.replayed(root / "replayed")
        assert replayed.files() == home.files()
        assert home.store.scan(DERIVED["person_change"]).collect().height == moves(home.persons)
        assert replayed.store.scan(DERIVED["person_change"]).collect().height == 0


def moves(nights):
    """Records whose person, from one night to the next, is another one or none."""
    key = ["record_table", "source", "source_id"]
    changed = 0
    for before, after in itertools.pairwise(nights):
        pairs = before.join(after, on=key, how="left", suffix="_after")
        changed += pairs.filter(pl.col("person_id").ne_missing(pl.col("person_id_after"))).height
    return changed


@SLOW
@given(scores=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10), st.integers(0, 40)), min_size=2, max_size=10))
def test_answers_and_quality_flags_are_the_same_night_by_night_and_at_once(scores):
    content = source(CONTRACTS["response"], is_dated=True)
    stream = content["streams"].pop("response")
    common = {"answered_at": "at", "updated_at": "changed"}
    content["streams"]["responses"] = {key: value for key, value in stream.items() if key not in ("to", "fields")} | {
        "from": {"path": "{home}/in/responses_*.jsonl"},
        "tables": {
            "response": {"survey": "S1", "fields": common | {"duration_seconds": "seconds"}},
            "answer": {"survey": "S1", "fields": common, "questions": {"Q1": "score"}},
        },
    }
    questions = {"Q1": {"metric": "nps", "scale": {"min": 0, "max": 10}}}
    content["surveys"] = {"S1": {"name": "How are we doing", "questions": questions}}
    with folder() as root:
        home = Home(root / "nights", "Europe/Berlin", {})
        (home.settings.sources_dir / "system.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        found = []
        for night, part in enumerate((scores[::2], scores[1::2], scores[:2])):
            rows = [
                {"id": f"r{key}", "changed": f"2026-11-{night + 1:02d}T12:00:00Z", "state": "", "score": str(score),
                 "at": f"2026-03-29T{seconds % 24:02d}:30:00Z", "seconds": str(seconds)}
                for key, score, seconds in part
            ]  # fmt: skip
            name = f"responses_{night}.jsonl"
            (home.settings.home / "in" / name).write_text("".join(json.dumps(one) + "\n" for one in rows))
            sources = load_sources(home.settings.sources_dir)
            for name in ("surveys", "questions", "responses"):
                extract(sources["system"], name, settings=home.settings, run_id="night", now=home.clock)
            home.clock += timedelta(days=1)
            for table in ("survey", "question", "response", "answer"):
                refresh_table(CONTRACTS[table], sources, settings=home.settings, run_id="night")
            found = flags(home.store)
            home.store.replace(DERIVED["response_quality"], found)
        keys = {key for key, _, _ in scores}
        assert {home.clean_rows(table) for table in ("response", "answer")} == {len(keys)}
        home.tables = [CONTRACTS[table] for table in ("survey", "question", "response", "answer")]
        replayed = home.replayed(root / "replayed")
        replayed.store.replace(DERIVED["response_quality"], flags(replayed.store))
        assert replayed.files() == home.files()


def flags(store):
    tables = (store.scan(CONTRACTS[name]) for name in ("response", "answer", "question"))
    return flag_responses(*tables).collect()


KEPT = st.lists(st.sampled_from(["away", "as it was", "changed"]), min_size=5, max_size=5)


@pytest.mark.parametrize("cursor", [None, {"field": "changed", "lag": "1h"}])
@settings(SLOW, max_examples=10)
@given(nights=st.lists(KEPT, min_size=2, max_size=4))
def test_with_a_key_scan_the_clean_table_is_what_the_source_holds(cursor, nights):
    """Also for records that come back with the date they had; only an answer without any record is not believed."""
    stream = {
        "from": {"table": "accounts"},
        "to": "account",
        "primary_key": ["id"],
        "deletes": {"strategy": "key_scan", "max_vanish_share": 1.0},
        "fields": {"name": "name", "updated_at": "changed"},
    } | ({"cursor": cursor} if cursor else {})
    content = {
        "source": "crm",
        "type": "sql",
        "timezone": "UTC",
        "connection": {"dsn": "sqlite:///{home}/in/crm.sqlite"},
        "streams": {"accounts": stream},
    }
    with folder() as root:
        home = Home(root / "nights", "Asia/Shanghai", {"crm": content})
        crm = sqlite3.connect(home.settings.home / "in" / "crm.sqlite", isolation_level=None)
        crm.execute("CREATE TABLE accounts (id, name, changed)")
        sources = load_sources(home.settings.sources_dir)
        held = {key: (f"name 0 of {key}", "2026-11-01 12:00:00") for key in range(5)}
        for number, kept in enumerate(nights, start=1):
            for key, what in enumerate(kept):
                if what == "changed":
                    held[key] = (f"name {number} of {key}", f"{home.clock:%Y-%m-%d} 12:00:00")
            there = {key: held[key] for key, what in enumerate(kept) if what != "away"}
            if not there:
                continue
            crm.execute("DELETE FROM accounts")
            crm.executemany(
                "INSERT INTO accounts VALUES (?, ?, ?)", [(f"k{key}", *values) for key, values in there.items()]
            )
            extract(sources["crm"], "accounts", settings=home.settings, run_id="night", now=home.clock)
            refresh_table(CONTRACTS["account"], sources, settings=home.settings, run_id="night")
            home.clock += timedelta(days=1)
            found = home.store.scan(CONTRACTS["account"]).select("source_id", "name").sort("source_id").collect().rows()
            assert found == [(f"k{key}", name) for key, (name, _) in there.items()]
        crm.close()
        if home.clock > FIRST_NIGHT:
            assert home.replayed(root / "replayed").files() == home.files()
