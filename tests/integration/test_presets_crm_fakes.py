"""The presets of CRM and support, read through ``extract`` from servers that speak the vendors' dialects."""

from datetime import timedelta

import polars as pl
import pytest

from orchestration.settings import Settings
from orchestration.sources.config import parse_source
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import extract
from orchestration.sources.http import client as http_client
from orchestration.sources.landing import Landing
from tests.fakes import hubspot
from tests.fakes.faults import FaultPlan
from tests.fakes.odoo import DATABASE, LOGIN, PASSWORD
from tests.fakes.rest import CLIENT
from tests.fakes.salesforce import record_id
from tests.fakes.server import serve
from tests.fakes.zendesk import API_TOKEN, EMAIL


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(http_client, "sleep", lambda seconds: None)


class Preset:
    """A source of a preset over a fake, load after load."""

    def __init__(self, home, fake, name, secret, streams=None, **connection):
        (home / "secret").write_text(secret)
        self.fake = fake
        self.settings = Settings(home=home, sources_dir=home / "sources")
        self.landing = Landing(self.settings.landing_dir)
        given = {key: {"file": str(home / "secret")} if value is ... else value for key, value in connection.items()}
        raw = {"source": "s", "type": name, "connection": given}
        self.source = parse_source(raw | ({"streams": streams} if streams else {}), home / "sources" / "s.yaml")

    def load(self, stream):
        try:
            return extract(self.source, stream, settings=self.settings, run_id="r", now=self.fake.clock.now)
        finally:
            self.fake.clock.advance(3600)

    def rows(self, stream, load=None):
        """Rows of one load, or of all."""
        loads = self.landing.manifests("s", stream)
        chosen = loads if load is None else [loads[load]]
        return pl.concat([self.landing.scan(each).collect() for each in chosen], how="diagonal")

    def keys(self, stream, key="id", load=None):
        return set(self.rows(stream, load).filter(~pl.col("_deleted"))[key])

    def gone(self, stream, key="id"):
        return set(self.rows(stream).filter(pl.col("_deleted"))[key])


def test_hubspot_contacts_changed_and_archived(tmp_path):
    with serve("hubspot", rows=450) as fake:
        crm = Preset(tmp_path, fake, "hubspot", fake.dialect.token, token=..., base_url=fake.url)
        assert crm.load("contacts").rows_landed == 450
        assert crm.keys("contacts") == {str(record.key) for record in fake.store.records("contacts")}
        fake.store.put("contacts", 150, firstname="Changed")
        fake.store.delete("contacts", 160)
        assert crm.load("contacts").rows_read < 10
        second = crm.rows("contacts", load=-1)
        assert second.filter(pl.col("id") == "150")["properties.firstname"].to_list() == ["Changed"]
        assert crm.gone("contacts") == {"160"}
        assert crm.load("companies").rows_landed == 45
        assert crm.load("companies").status == "unchanged"


def test_hubspot_more_contacts_of_one_moment_than_a_search_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(hubspot, "RESULT_LIMIT", 1_000)
    with serve("hubspot") as fake:
        moment = fake.clock.now - timedelta(days=1)
        for number in range(1, 1_402):
            fake.store.put("contacts", number, {"email": f"{number}@example.com"}, created_at=moment, updated_at=moment)
        crm = Preset(tmp_path, fake, "hubspot", fake.dialect.token, token=..., base_url=fake.url)
        assert crm.load("contacts").rows_landed == 1_401
        assert len(crm.keys("contacts")) == 1_401


def test_hubspot_archived_contacts_instead_of_the_key_scan(tmp_path):
    with serve("hubspot", rows=120) as fake:
        fake.store.delete("contacts", 110)
        streams = {
            "contacts": {"from": {"keys": None}, "deletes": {"strategy": "none", "max_vanish_share": None}},
            "archived_contacts": {},
        }
        crm = Preset(tmp_path, fake, "hubspot", fake.dialect.token, streams, token=..., base_url=fake.url)
        crm.load("contacts")
        crm.load("archived_contacts")
        assert len(crm.keys("contacts")) == 119
        assert crm.gone("archived_contacts") == {"110"}


def test_hubspot_deals_and_tickets_are_whole_every_night(tmp_path):
    with serve("hubspot") as fake:
        for number in range(1, 251):
            fake.store.put("tickets", number, {"subject": f"T{number}", "hs_pipeline_stage": "1", "content": "x"})
        crm = Preset(tmp_path, fake, "hubspot", fake.dialect.token, token=..., base_url=fake.url)
        assert crm.load("tickets").rows_landed == 250
        fake.store.delete("tickets", 7)
        crm.load("tickets")
        assert crm.gone("tickets") == {"7"}
        assert crm.load("deals").rows_landed == 0


CONTACT = (
    "AccountId Name Email Phone Birthdate MailingCountry MailingState MailingCity LeadSource HasOptedOutOfEmail OwnerId"
)
ACCOUNT = "Name Type Industry BillingCountry BillingState NumberOfEmployees AnnualRevenue OwnerId ParentId"


PARTNER = ("parent_id", "industry_id", "state_id", "city", "lang", "ref", "category_id")


def salesforce(tmp_path, fake, name):
    return Preset(
        tmp_path, fake, name, CLIENT[1], url=fake.url, client_id=CLIENT[0], client_secret=..., currency="EUR"
    )  # fmt: skip


@pytest.mark.parametrize("name", ["salesforce", "salesforce_bulk"])
def test_salesforce_thousands_of_one_moment_then_what_changed(tmp_path, name):
    with serve("salesforce") as fake:
        moment = fake.clock.now - timedelta(days=1)
        nothing = dict.fromkeys(CONTACT.split())
        for number in range(1, 4_501):
            fake.store.put("Contact", record_id("003", number), nothing | {"Name": f"N{number}"}, updated_at=moment)
        crm = salesforce(tmp_path, fake, name)
        assert crm.load("contacts").rows_landed == 4_500
        assert len(crm.keys("contacts", "Id")) == 4_500
        fake.store.put("Contact", record_id("003", 5), Name="Changed")
        fake.store.delete("Contact", record_id("003", 6))
        crm.load("contacts")
        second = crm.rows("contacts", load=-1)
        assert second.filter(pl.col("Id") == record_id("003", 5))["Name"].to_list() == ["Changed"]
        assert crm.gone("contacts", "Id") == {record_id("003", 6)}
        before = fake.requests
        assert crm.load("contacts").rows_read <= 2
        assert fake.requests - before < 10


@pytest.mark.parametrize("name", ["salesforce", "salesforce_bulk"])
def test_salesforce_accounts(tmp_path, name):
    with serve("salesforce") as fake:
        nothing = dict.fromkeys(ACCOUNT.split())
        for number in range(1, 31):
            fake.store.put("Account", record_id("001", number), nothing | {"Name": f"A{number}"})
        crm = salesforce(tmp_path, fake, name)
        fake.clock.advance(60)
        assert crm.load("accounts").rows_landed == 30
        assert crm.load("accounts").status == "unchanged"


def test_zendesk_tickets_users_and_what_happened(tmp_path):
    with serve("zendesk", rows=1_500) as fake:
        streams = {name: {} for name in ("tickets", "users", "ticket_events", "ratings")}
        support = Preset(tmp_path, fake, "zendesk", API_TOKEN, streams, url=fake.url, email=EMAIL, token=...)
        assert support.load("tickets").rows_landed == 1_500
        assert support.load("users").rows_landed == 375
        support.load("ticket_events")
        assert len(support.keys("ticket_events", "child_events.id")) == 1_500
        given = [record for record in fake.store.records("ratings") if record["score"] != "offered"]
        assert support.load("ratings").rows_landed == len(given)
        fake.store.put("tickets", 3, status="solved")
        fake.store.delete("tickets", 4)
        fake.clock.advance(120)
        assert support.load("tickets").rows_read <= 5
        assert support.gone("tickets") == {"4"}
        assert set(support.rows("tickets", load=-1).filter(pl.col("id") == "3")["status"]) == {"solved"}


def test_intercom_conversations_and_contacts(tmp_path):
    with serve("intercom", rows=400) as fake:
        support = Preset(tmp_path, fake, "intercom", fake.dialect.token, token=..., url=fake.url)
        assert support.load("conversations").rows_landed == 400
        assert support.load("contacts").rows_landed == 400
        fake.store.put("conversations", "100005", state="closed")
        fake.store.delete("contacts", f"{9:024x}")
        assert support.load("conversations").rows_read <= 5
        assert "100005" in support.keys("conversations", load=-1)
        support.load("contacts")
        assert support.gone("contacts") == {f"{9:024x}"}


def test_odoo_partners_archived_and_deleted(tmp_path):
    with serve("odoo", rows=2_300) as fake:
        chosen = {
            "url": fake.url, "database": DATABASE, "login": LOGIN, "password": ...,
        }  # fmt: skip
        for record in list(fake.store.records("res.partner")):
            content = {**record.content, **dict.fromkeys(PARTNER)}
            fake.store.put(
                "res.partner", record.key, content, created_at=record.created_at, updated_at=record.updated_at
            )
        erp = Preset(tmp_path, fake, "odoo", PASSWORD, {"partners": {}}, **chosen)
        assert erp.load("partners").rows_landed == 2_300
        assert set(erp.rows("partners")["active"]) == {"true", "false"}
        fake.store.put("res.partner", 8, name="Changed")
        fake.store.delete("res.partner", 9)
        assert erp.load("partners").rows_read < 50
        assert erp.gone("partners") == {"9"}
        # The session ends in between.
        fake.dialect.expire()
        assert erp.load("partners").status in {"committed", "unchanged"}


FAULTS = (
    "429_seconds", "429_date", "500", "503", "cut_body", "cut_chunked", "reset", "gzip", "html", "error_in_200",
    "repeated_page", "expired_token", "export_fails",
)  # fmt: skip
CHANGES = {"changed": 0.3, "moved": 0.3, "inserted": 0.2, "deleted": 0.2}


def full(fake, empty, count, key=lambda number: number):
    """Fill a fake with records that have every field the preset asks for, and let new ones have them too."""
    collection = fake.dialect.collection
    begin = fake.clock.now - timedelta(days=3)
    for number in range(1, count + 1):
        moment = begin + timedelta(seconds=number // 40)
        content = empty | {"Name": f"N{number}", "name": f"N{number}"}
        fake.store.put(collection, key(number), content, created_at=moment, updated_at=moment)
    invented = iter(range(count + 1_000_000, 10_000_000))
    fake.change.invent = lambda chance: (key(next(invented)), empty | {"Name": "new", "name": "new"})


def hubspot_case(home, fake):
    fake.dialect.fill(700, 1)
    return Preset(home, fake, "hubspot", fake.dialect.token, token=..., base_url=fake.url), "contacts", "id"


def zendesk_case(home, fake):
    fake.dialect.page_limit = 120
    fake.dialect.fill(700, 1)
    fake.clock.advance(120)
    return Preset(home, fake, "zendesk", API_TOKEN, url=fake.url, email=EMAIL, token=...), "tickets", "id"


def intercom_case(home, fake):
    fake.dialect.fill(700, 1)
    return Preset(home, fake, "intercom", fake.dialect.token, token=..., url=fake.url), "conversations", "id"


def odoo_case(home, fake):
    empty = dict.fromkeys((*PARTNER, "email", "phone", "country_id")) | {"is_company": False, "active": True}
    full(fake, empty, 2_300)
    given = {"url": fake.url, "database": DATABASE, "login": LOGIN, "password": ...}
    return Preset(home, fake, "odoo", PASSWORD, {"partners": {}}, **given), "partners", "id"


def salesforce_case(home, fake):
    full(fake, dict.fromkeys(CONTACT.split()), 4_300, lambda number: record_id("003", number))
    return salesforce(home, fake, "salesforce"), "contacts", "Id"


def salesforce_bulk_case(home, fake):
    full(fake, dict.fromkeys(CONTACT.split()), 300, lambda number: record_id("003", number))
    return salesforce(home, fake, "salesforce_bulk"), "contacts", "Id"


CASES = {
    "hubspot": hubspot_case, "zendesk": zendesk_case, "intercom": intercom_case, "odoo": odoo_case,
    "salesforce": salesforce_case, "salesforce_bulk": salesforce_bulk_case,
}  # fmt: skip


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize("name", CASES)
def test_whatever_goes_wrong_nothing_is_missing_or_nothing_is_loaded(tmp_path, name, seed):
    plan = FaultPlan(rates=dict.fromkeys(FAULTS, 0.03) | CHANGES, seed=seed)
    with serve(name.removesuffix("_bulk"), faults=plan) as fake:
        source, stream, key = CASES[name](tmp_path, fake)
        committed = 0
        for _ in range(3):
            before = fake.store.event
            # The first page of yesterday's load, as the first of today's, nobody could tell from a quiet day.
            fake._before.clear()
            try:
                source.load(stream)
            except SourceError:
                continue
            committed += 1
            lived = fake.store.present(fake.dialect.collection, before, fake.store.event)
            if name == "zendesk":
                # It does not show what changed within the last minute; the next load has it.
                lived = {one: versions for one, versions in lived.items() if len(versions) == 1}
            missing = {str(one) for one in lived} - source.keys(stream, key)
            assert not missing, f"{len(missing)} of {len(lived)}, such as {sorted(missing)[:3]}"
        assert committed, plan.met
        plan.calm()
        fake.clock.advance(3600)
        source.load(stream)
        now = {str(record.key) for record in fake.store.records(fake.dialect.collection)}
        assert now <= source.keys(stream, key)
