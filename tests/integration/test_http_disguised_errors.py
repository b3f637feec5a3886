"""Errors that come as status 200 in the shape of an answer are no records: a load fails, or asks again."""

from __future__ import annotations

import pytest
import yaml

from orchestration.settings import Settings
from orchestration.sources.config import load_source
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import extract
from orchestration.sources.http import client as http_client
from orchestration.sources.landing import Landing
from tests.fakes import FaultPlan, serve


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(http_client, "sleep", lambda seconds: None)


def load(home, fake, origin, **more):
    (home / "key").write_text(fake.dialect.token)
    connection = {
        "base_url": fake.url,
        "auth": {"kind": "header", "name": "X-Api-Key", "value": {"file": "key"}},
        "retry": {"attempts": 3, "base_seconds": 0},
    }
    fields = {"email": "email", "updated_at": "updated_at"}
    stream = {"from": origin, "to": "customer", "primary_key": ["id"], "fields": fields} | more
    path = home / "shop.yaml"
    path.write_text(
        yaml.safe_dump({"source": "shop", "type": "http", "connection": connection, "streams": {"items": stream}})
    )
    settings = Settings(home=home, sources_dir=home)
    record = extract(load_source(path), "items", settings=settings, run_id="run", now=fake.clock.now)
    landing = Landing(settings.landing_dir)
    return record, landing.scan(landing.manifests("shop", "items")[-1]).collect()


LIST = {"request": {"path": "/link/items", "params": {"limit": "10"}}, "paging": {"kind": "link"}}
LINES = {
    "request": {"path": "/ndjson/items", "params": {"country": "{{ each.country }}"}},
    "records": {"format": "ndjson"},
    "each": {"country": ["CN", "NO", "MT"]},
}


def test_an_error_object_in_place_of_a_list_is_no_record(tmp_path):
    with serve("rest", rows=30, faults=FaultPlan(at={2: "error_in_200"})) as fake:
        record, rows = load(tmp_path, fake, LIST)
    assert fake.requests == 4
    assert record.rows_landed == 30 and "error.code" not in rows.columns


@pytest.mark.parametrize("origin", [LIST, LINES], ids=["list", "lines"])
def test_an_error_that_stays_fails_the_load(tmp_path, origin):
    with (
        serve("rest", rows=30, faults=FaultPlan(at=dict.fromkeys(range(2, 9), "error_in_200"))) as fake,
        pytest.raises(SourceError, match=r"none of the page's records has 'id' \(primary_key\), but error"),
    ):
        load(tmp_path, fake, origin)
    assert Landing(tmp_path / "landing").manifests("shop", "items") == []


def test_a_page_for_people_is_no_file(tmp_path):
    with serve("rest", rows=30, faults=FaultPlan(at={2: "html"})) as fake:
        record, _ = load(tmp_path, fake, LINES)
    assert fake.requests == 4
    assert (record.rows_landed, record.rows_rejected) == (30, 0)
    with (
        serve("rest", rows=30, faults=FaultPlan(rates={"html": 1.0})) as fake,
        pytest.raises(SourceError, match="a page for people, where a file was asked for"),
    ):
        load(tmp_path, fake, {"request": {"path": "/csv/items"}, "records": {"format": "csv"}})


def test_lines_that_end_within_one_were_cut_short(tmp_path):
    with (
        serve("rest", rows=30, faults=FaultPlan(at={2: "cut_unsaid"})) as fake,
        pytest.raises(SourceError, match="end in the middle of line") as caught,
    ):
        load(tmp_path, fake, LINES)
    assert caught.value.transient
    assert Landing(tmp_path / "landing").manifests("shop", "items") == []


DAYS = {
    "request": {"path": "/window/items", "params": {"from": "{{ window.start }}", "to": "{{ window.end }}"}},
    "records": {"path": "rows"},
    "slices": {"by": "10d"},
}


def test_the_answer_of_the_slice_before_is_asked_for_again(tmp_path):
    with serve("rest", rows=60, faults=FaultPlan(at={2: "repeated_page"})) as fake:
        more = {"cursor": {"field": "created_at", "start": "2026-04-03T00:00:00Z"}}
        record, rows = load(tmp_path, fake, DAYS, **more)
    assert fake.requests == 5
    assert record.rows_landed == rows["id"].n_unique() == 60


def test_slices_that_hold_the_same_are_believed_when_they_say_it_again(tmp_path):
    with serve("rest", rows=0) as fake:
        for number in (1, 2):
            fake.store.put("items", number, {"email": "x"}, updated_at=fake.clock.now)
        origin = DAYS | {"request": {"path": "/token/items", "params": {"x": "{{ window.start }}"}}}
        origin |= {"records": {"path": "items"}}
        more = {"cursor": {"field": "created_at", "start": "2026-04-25T00:00:00Z"}}
        record, rows = load(tmp_path, fake, origin | {"slices": {"by": "5d"}}, **more)
    assert fake.requests == 3
    assert (record.rows_landed, rows["id"].n_unique()) == (4, 2)


@pytest.mark.parametrize("form", ["ndjson", "json"])
def test_the_answer_for_another_value_of_each_is_asked_for_again(tmp_path, form):
    origin = LINES
    if form == "json":
        request = LINES["request"] | {"path": "/token/items"}
        origin = LINES | {"request": request, "records": {"path": "items"}}
    with serve("rest", rows=30, faults=FaultPlan(at={2: "repeated_page"})) as fake:
        record, rows = load(tmp_path, fake, origin)
    assert fake.requests == 4
    assert record.rows_landed == rows["id"].n_unique() == 30
    assert rows["country"].to_list() == rows["each.country"].to_list()
