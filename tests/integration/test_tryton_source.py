"""A real Tryton over JSON-RPC, read by its preset: first load, changes that no date tells, deletion, a lost session."""

import base64
from datetime import datetime, timedelta

import httpx
import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.settings import Settings
from orchestration.sources.config import parse_source
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import extract
from orchestration.sources.landing import Landing
from tests.servers import tryton_server

NOW = datetime(2026, 5, 1, 2)


@pytest.fixture(scope="module")
def tryton():
    with tryton_server() as server:
        yield server


class Company:
    """The Tryton's own clients: what people do in it."""

    def __init__(self, server):
        self.url = f"{server.url}/company/rpc/"
        user, key, _ = self.call("common.db.login", "admin", {"password": server.password}, "en", signed=False)
        self.signed = {"Authorization": "Session " + base64.b64encode(f"admin:{user}:{key}".encode()).decode()}

    def call(self, method, *params, signed=True):
        answer = httpx.post(
            self.url,
            json={"id": 0, "method": method, "params": params},
            headers=self.signed if signed else {},
            timeout=60,
        ).json()
        assert "error" not in answer, answer
        return answer["result"]

    def party(self, method, *params):
        return self.call(f"model.party.party.{method}", *params, {})

    def fresh(self, count):
        """Nothing but so many new parties; their ids."""
        everybody = ("model.party.party.search", [], 0, 500, None, {"active_test": False})
        while found := self.call(*everybody):
            self.party("delete", found)
        return [
            key
            for begin in range(0, count, 500)
            for key in self.party(
                "create", [{"name": f"Party {number}"} for number in range(begin, min(begin + 500, count))]
            )
        ]


class Nights:
    """A source of the preset ``tryton``, night after night."""

    def __init__(self, home, server, monkeypatch, **connection):
        monkeypatch.setenv("TRYTON_PASSWORD", server.password)
        given = {"url": server.url, "database": "company", "login": "admin", "password": {"env": "TRYTON_PASSWORD"}}
        raw = {"source": "erp", "type": "tryton", "connection": given | connection}
        self.source = parse_source(raw, home / "sources" / "erp.yaml")
        self.settings = Settings(home=home, sources_dir=home / "sources")
        self.landing = Landing(self.settings.landing_dir)
        self.count = 0

    def night(self):
        self.count += 1
        now = NOW + timedelta(days=self.count)
        return extract(self.source, "parties", settings=self.settings, run_id=f"r{self.count}", now=now)

    def last(self):
        return self.landing.scan(self.landing.manifests("erp", "parties")[-1]).collect()

    def customers(self):
        """Contract rows of the last load, by ``source_id``."""
        stream = self.source.streams["parties"]
        context = NormaliseContext("erp", "parties", "l", NOW, "UTC", stream.primary_key)
        kept, rejects = normalise(
            CONTRACTS["customer"], self.last().lazy(), stream.tables["customer"], context
        ).collect()
        assert rejects.is_empty(), rejects.to_dicts()
        return {row["source_id"]: row for row in kept.to_dicts()}


@pytest.fixture
def company(tryton):
    return Company(tryton)


@pytest.fixture
def nights(tmp_path, tryton, monkeypatch):
    return Nights(tmp_path, tryton, monkeypatch)


def test_a_party_with_all_that_hangs_on_it_becomes_a_customer(company, nights):
    company.fresh(0)
    (key,) = company.party(
        "create",
        [
            {
                "name": "Ana Sample",
                "addresses": [["create", [{"city": "Berlin"}]]],
                "contact_mechanisms": [
                    [
                        "create",
                        [
                            {"type": "email", "value": "Ana@example.net"},
                            {"type": "mobile", "value": "+49 151 12345678"},
                        ],
                    ]
                ],
            }
        ],
    )
    (gone,) = company.party("create", [{"name": "Old Sample"}])
    company.party("write", [gone], {"active": False})
    assert nights.night().rows_landed == 2
    found = nights.customers()
    ana = found[str(key)]
    assert (ana["full_name"], ana["email"], ana["city"]) == ("Ana Sample", "ana@example.net", "Berlin")
    assert ana["phone"] == "+4915112345678"
    assert ana["external_id"] == str(key)
    assert ana["lifecycle_stage"] == "active"
    assert ana["created_at"] is not None
    assert ana["updated_at"] >= ana["created_at"]
    assert found[str(gone)]["lifecycle_stage"] == "archived"


def test_every_page_of_many_parties_then_what_was_changed_and_deleted(company, nights):
    keys = company.fresh(503)
    assert nights.night().rows_landed == 503
    assert nights.night().status == "unchanged"
    company.party("write", [keys[0]], {"name": "Changed"})
    company.party("delete", [keys[1]])
    nights.night()
    last = nights.last()
    assert last.filter(pl.col("id") == str(keys[0]))["name"].to_list() == ["Changed"]
    assert last.filter(pl.col("_deleted"))["id"].to_list() == [str(keys[1])]
    assert nights.customers()[str(keys[1])]["is_deleted"]


def test_a_changed_address_that_leaves_the_partys_date_alone_is_seen(company, nights):
    (key,) = company.fresh(1)
    (mail,) = company.call(
        "model.party.contact_mechanism.create", [{"party": key, "type": "email", "value": "old@example.net"}], {}
    )
    nights.night()
    (before,) = company.party("read", [key], ["write_date"])
    company.call("model.party.contact_mechanism.write", [mail], {"value": "new@example.net"}, {})
    (after,) = company.party("read", [key], ["write_date"])
    assert before["write_date"] == after["write_date"]
    nights.night()
    assert nights.customers()[str(key)]["email"] == "new@example.net"


def test_a_wrong_password_is_said_and_nothing_lands(tmp_path, tryton, monkeypatch):
    nights = Nights(tmp_path, tryton, monkeypatch)
    monkeypatch.setenv("TRYTON_PASSWORD", "wrong")
    with pytest.raises(SourceError, match=r"401"):
        nights.night()
    assert nights.landing.manifests("erp", "parties") == []


def test_a_database_that_is_not_there_is_said(tmp_path, tryton, monkeypatch):
    with pytest.raises(SourceError, match=r"404"):
        Nights(tmp_path, tryton, monkeypatch, database="other").night()


def test_a_field_that_tryton_does_not_know_is_named(tmp_path, tryton, monkeypatch, company):
    company.fresh(1)
    with pytest.raises(SourceError, match="x_tier"):
        Nights(tmp_path, tryton, monkeypatch, party_fields="x_tier").night()
