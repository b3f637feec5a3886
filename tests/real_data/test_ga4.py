"""Google Analytics 4 in two shapes: flat as a loader lands it, nested as Google itself exports it."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def captured(data):
    """The one whole event of Google's public sample in a connector's transcript (the others are cut short)."""
    lines = (data / "api_payloads/estuary_snapshots/ga4_bigquery_public_sample_capture.txt").read_text().splitlines()
    begin, end = lines.index("["), lines.index("]")
    event = json.loads("\n".join(lines[begin : end + 1]))[1]
    return {key: value for key, value in event.items() if key != "_meta"}


@pytest.fixture(scope="module")
def night(run_night, captured):
    def deliver(home):
        (home / "ga4").mkdir()
        (home / "ga4" / "events.jsonl").write_text(json.dumps(captured) + "\n")

    return run_night("ga4", "UTC", deliver)


def test_nested_parameters_become_columns(night, captured):
    parameters = {entry["key"]: entry["value"] for entry in captured["event_params"]}
    event = night.clean("web_event").filter(source="ga4_nested").row(0, named=True)
    assert event["occurred_at"] == datetime(2021, 1, 31, 0, 0, 0, 657906)
    assert event["event_name"] == captured["event_name"]
    assert event["anonymous_id"] == captured["user_pseudo_id"]
    assert event["utm_medium"] == parameters["medium"]["string_value"]
    assert event["utm_source"] == parameters["source"]["string_value"]
    assert str(parameters["ga_session_id"]["int_value"]) in event["source_session_id"]
    assert event["page_path"] == "/Google+Redesign/Shop+by+Brand/YouTube"
    assert (event["country"], event["browser"], event["device_category"]) == ("US", "Chrome", "desktop")
    assert night.one("select count(*) from fct_session where source = 'ga4_nested'") == 1


def test_flat_export_gives_sessions_of_the_source(night):
    sessions = night.rows("select n_events, country, has_purchase from fct_session where source = 'ga4_flat'")
    assert sorted(sessions, key=str) == [
        (1, "GB", False),
        (1, "US", False),
        (1, "US", False),
        (1, "US", True),
        (2, "US", False),
    ]
    # Two cookies, one login: one person.
    assert night.one("select count(distinct person_id) from fct_session where source = 'ga4_flat'") == 3
    assert night.one("select count(distinct visitor_key) from fct_session where source = 'ga4_flat'") == 4


def test_no_gate_complains(night):
    assert night.complaints() == set()
