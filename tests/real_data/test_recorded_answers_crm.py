"""Answers of HubSpot, Salesforce, Zendesk and Intercom that others recorded, read by the presets into contract rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from orchestration.contracts import CONTRACTS
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.settings import PROJECT_ROOT
from orchestration.sources.config import parse_source
from orchestration.sources.http.records import frame, read_json, rows
from orchestration.sources.presets import preset

pytestmark = pytest.mark.real_data
PAYLOADS = PROJECT_ROOT.parent / "shared" / "data" / "api_payloads"
# A change's time was taken out of what was recorded.
HIDDEN = "redacted"


def recorded(name: str, stream: str) -> list[dict[str, Any]]:
    """Records of one stream in a connector's transcript."""
    lines = read_json((PAYLOADS / "estuary_snapshots" / f"{name}_native_capture.json").read_bytes())
    found = [record for place, record in lines if place == f"acmeCo/{stream}"]
    assert found
    return [{key: None if value == HIDDEN else value for key, value in record.items()} for record in found]


def contract(kind: str, stream: str, table: str, found: list[dict[str, Any]], parent: dict[str, str] | None = None):
    """Rows of a contract and of the quarantine."""
    chosen = preset(kind)
    given = {key: {"env": "X"} if it.secret else str(it.example) for key, it in chosen.options.items() if it.required}
    raw = {"source": "s", "type": kind, "connection": given, "streams": {name: {} for name in chosen.source["streams"]}}
    config = parse_source(raw, Path("s.yaml"))
    declared = config.streams[stream]
    flat = list(rows(found, declared.origin.records, {"_parent": parent or {}}))
    landed = frame(flat, {f"parent.{name}": value for name, value in (parent or {}).items()}).with_columns(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("_load_row"),
        pl.lit(None, pl.String).alias("_file"),
        pl.lit(None, pl.Int64).alias("_row"),
        pl.lit(False).alias("_deleted"),
    )
    context = NormaliseContext("s", stream, "l", datetime(2026, 5, 1, tzinfo=UTC), "UTC", declared.primary_key)
    kept, rejects = normalise(CONTRACTS[table], landed.lazy(), declared.tables[table], context).collect()
    return kept.to_dicts(), rejects.to_dicts()


def test_salesforce_account():
    (row,), rejects = contract("salesforce", "accounts", "account", recorded("salesforce", "Account"))
    assert (row["source_id"], row["name"], row["is_deleted"]) == (
        "001bm00000NMK67AAH",
        "Sample Account for Entitlements",
        False,
    )
    assert rejects == []


@pytest.mark.parametrize(
    ("kind", "stream", "table"),
    [("contacts", "contacts", "customer"), ("companies", "companies", "account"), ("deals", "deals", "opportunity"),
     ("tickets", "tickets", "ticket")],
)  # fmt: skip
def test_hubspot_pages(kind, stream, table):
    page = read_json((PAYLOADS / "hubspot_dlt_mock" / f"mock_{kind}_data.json").read_bytes())
    kept, rejects = contract("hubspot", stream, table, page["results"])
    assert rejects == []
    assert {row["source_id"] for row in kept} == {str(record["id"]) for record in page["results"]}
    assert all(row["updated_at"] and not row["quality_flags"] for row in kept)


def test_hubspot_contact_with_every_property():
    kept, rejects = contract("hubspot", "contacts", "customer", recorded("hubspot", "contacts"))
    maria = next(row for row in kept if row["source_id"] == "72810357568")
    assert (maria["email"], maria["account_id"], maria["city"]) == ("emailmaria@hubspot.com", "25177527565", "Brisbane")
    assert rejects == []


def test_hubspot_deal_with_every_property():
    (deal,), rejects = contract("hubspot", "deals", "opportunity", recorded("hubspot", "deals"))
    assert (deal["status"], deal["stage"], float(deal["value_amount"])) == ("open", "appointmentscheduled", 43.0)
    assert rejects == []


def test_zendesk_tickets_and_users():
    kept, rejects = contract("zendesk", "tickets", "ticket", recorded("zendesk", "tickets"))
    assert rejects == []
    assert [(row["source_id"], row["status"], row["channel"], row["priority"]) for row in kept] == [
        ("1", "open", "sample_ticket", "normal")
    ]
    # The agent that was recorded is no customer.
    users = recorded("zendesk", "users")
    assert contract("zendesk", "users", "customer", users) == ([], [])
    (row,), _ = contract("zendesk", "users", "customer", [users[0] | {"role": "end-user"}])
    assert row["full_name"] == users[0]["name"]


def test_zendesk_comment_rating_and_organization():
    (said,), _ = contract(
        "zendesk", "ticket_comments", "comment", recorded("zendesk", "ticket_comments"),
        {"id": "12", "requester_id": "28835719437332"},
    )  # fmt: skip
    assert said["comment_text"] == "Can I still cancel my order?"
    (company,), _ = contract("zendesk", "organizations", "account", recorded("zendesk", "organizations"))
    assert company["name"] == "Estuary"
    events, rejects = contract("zendesk", "replies", "ticket_event", recorded("zendesk", "ticket_metric_events"))
    assert (events, rejects) == ([], [])


def test_intercom_conversation_contact_part_and_company():
    (ticket,), rejects = contract("intercom", "conversations", "ticket", recorded("intercom", "conversations"))
    assert rejects == []
    assert (ticket["customer_id"], ticket["status"], ticket["subject"]) == ("67570a878b6e26fe4ce6a894", "open", "Title")
    assert contract("intercom", "conversations", "response", recorded("intercom", "conversations")) == ([], [])
    (person,), rejects = contract("intercom", "contacts", "customer", recorded("intercom", "contacts"))
    assert (person["account_id"], person["has_marketing_consent"]) == ("675c3ce414462dde5a790bb6", True)
    assert rejects == []
    part = recorded("intercom", "conversation_parts")
    (event,), _ = contract("intercom", "conversation_parts", "ticket_event", part, {"id": "1"})
    assert (event["event_name"], event["actor_kind"]) == ("replied", "agent")
    (company,), _ = contract("intercom", "companies", "account", recorded("intercom", "companies"))
    assert company["name"] == "ProjectMap"
