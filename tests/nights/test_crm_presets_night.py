"""Two presets side by side, HubSpot as the CRM and Zendesk as the help desk, from their APIs to the marts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestration.sources.http import client as http_client
from tests.fakes import Clock, serve
from tests.fakes.zendesk import API_TOKEN, EMAIL

CRM = """\
source: crm
type: hubspot
connection: {{token: {{file: hubspot.key}}, base_url: "{url}"}}
streams:
  contacts: {{required: true}}
  companies: {{required: true}}
"""
SUPPORT = """\
source: support
type: zendesk
connection: {{url: "{url}", email: {email}, token: {{file: zendesk.key}}}}
streams:
  tickets: {{required: true}}
  users: {{required: true}}
  ticket_events: {{required: true}}
  ratings: {{required: true}}
"""

MARTS = ["fct_ticket", "mart_csat"]


def test_customers_tickets_and_satisfaction_reach_the_marts_and_what_is_deleted_leaves_them(
    new_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "sleep", lambda seconds: None)
    bench = new_bench(sources={})
    clock = Clock(bench.clock)
    with serve("hubspot", rows=120, clock=clock) as crm, serve("zendesk", rows=300, clock=clock) as support:
        bench.source("crm", CRM.format(url=crm.url))
        bench.source("support", SUPPORT.format(url=support.url, email=EMAIL))
        (bench.home / "sources" / "hubspot.key").write_text(crm.dialect.token)
        (bench.home / "sources" / "zendesk.key").write_text(API_TOKEN)
        night = bench.night(until=MARTS)
        assert night.result.success, night.text
        given = [record["score"] for record in support.store.records("ratings") if record["score"] != "offered"]
        assert bench.one("SELECT count(*) FROM fct_ticket WHERE source = 'support'") == 300
        found = bench.rows(
            "SELECT n, top_box_count FROM mart_csat "
            "WHERE question_id = 'score' AND period_kind = 'all' AND breakdown = 'total'"
        )
        assert found == [(len(given), given.count("good"))]
        assert bench.clean("customer").filter(source="crm").height == 120

        support.store.delete("tickets", 7)
        crm.store.delete("contacts", 110)
        clock.now = bench.clock
        night = bench.night(until=MARTS)
        assert night.result.success, night.text
        assert bench.one("SELECT count(*) FROM fct_ticket WHERE source = 'support'") == 299
        left = set(bench.clean("customer").filter(source="crm")["source_id"])
        assert left == {str(number) for number in range(101, 221)} - {"110"}
