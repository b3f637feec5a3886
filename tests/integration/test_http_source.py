"""The ``http`` kind over a real server on loopback: every way of paging, signing in and packing, declared in YAML."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml

from orchestration.settings import Settings
from orchestration.sources.config import ConfigError, lasting_columns, load_source
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import LoadRecord, extract
from orchestration.sources.http import client as http_client
from orchestration.sources.landing import Landing
from tests.fakes.faults import FaultPlan
from tests.fakes.rest_yaml import API_KEY, EXPORT, OAUTH, PACKED, SESSION, by_keyset, by_token, write_secrets
from tests.fakes.server import Fake, serve

ROWS = 730


class Bench:
    """A source YAML over a fake, and its loads."""

    def __init__(self, home: Path, fake: Fake) -> None:
        self.fake = fake
        self.settings = Settings(home=home, sources_dir=home / "sources")
        self.landing = Landing(self.settings.landing_dir)
        (home / "sources").mkdir(parents=True, exist_ok=True)
        write_secrets(home, fake)
        self.path = home / "sources" / "shop.yaml"
        self.connection: dict = {"base_url": fake.url, "auth": API_KEY}

    def load(self, origin: dict, window: tuple[str, str] | None = None, stream: str = "items", **more) -> LoadRecord:
        """Write the YAML and load the stream once, by the fake's clock."""
        streams = {
            stream: {
                "from": origin,
                "to": "customer",
                "primary_key": ["id"],
                "fields": {"email": "email", "updated_at": "updated_at"},
            }
            | more
        } | getattr(self, "others", {})
        streams = {name: {k: v for k, v in entry.items() if v is not None} for name, entry in streams.items()}
        raw = {"source": "shop", "type": "http", "connection": self.connection, "streams": streams}
        self.path.write_text(yaml.safe_dump(raw))
        return extract(
            load_source(self.path),
            stream,
            settings=self.settings,
            run_id="run",
            now=self.fake.clock.now,
            window=window,
        )

    def rows(self, stream: str = "items") -> pl.DataFrame:
        """Everything landed, the newest load of each row last."""
        loads = self.landing.manifests("shop", stream)
        return pl.concat([self.landing.scan(load).collect() for load in loads], how="diagonal")

    def keys(self) -> set[int]:
        return set(self.rows().filter(~pl.col("_deleted"))["id"].cast(pl.Int64))


WAITS: list[float] = []


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    WAITS.clear()
    monkeypatch.setattr(http_client, "sleep", WAITS.append)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with serve("rest", rows=ROWS, seed=1) as fake:
        yield Bench(tmp_path, fake)


TOKEN = by_token(limit="100")
KEYSET = by_keyset(100)
PAGINGS = {
    "token": TOKEN,
    "next": {
        "request": {"path": "/next/items", "params": {"limit": "100"}},
        "records": {"path": "data"},
        "paging": {"kind": "link", "next": "links.next"},
    },
    "link": {"request": {"path": "/link/items", "params": {"limit": "100"}}, "paging": {"kind": "link"}},
    "page": {
        "request": {"path": "/page/items"},
        "records": {"path": "data"},
        "paging": {
            "kind": "page",
            "size": 100,
            "param": "page",
            "size_param": "per_page",
            "total": "total",
            "reconcile": "total",
        },
    },
    "offset": {
        "request": {"path": "/offset/items"},
        "records": {"path": "results"},
        "paging": {
            "kind": "offset",
            "size": 100,
            "param": "offset",
            "size_param": "limit",
            "reconcile": "reread",
        },
    },
    "keyset": KEYSET,
    "ndjson": {"request": {"path": "/ndjson/items"}, "records": {"format": "ndjson"}},
    "csv": {"request": {"path": "/csv/items"}, "records": {"format": "csv"}},
    "packed": PACKED,
    "export": EXPORT,
}


@pytest.mark.parametrize("name", PAGINGS)
def test_every_paging_lands_every_record_once(bench: Bench, name: str) -> None:
    record = bench.load(PAGINGS[name])
    again = 2 if name == "offset" else 1
    assert record.status == "committed"
    assert bench.keys() == set(range(1, ROWS + 1))
    assert record.rows_read == ROWS * again


def test_values_keep_the_text_they_were_sent_with(bench: Bench) -> None:
    bench.load(TOKEN)
    row = bench.rows().filter(pl.col("id") == "1").row(0, named=True)
    shown = bench.fake.dialect.shown(bench.fake.store.get("items", 1))
    assert row["score"] == str(shown["score"])
    assert row["created_at"] == shown["created_at"]
    nobody = bench.rows().filter(pl.col("id") == "7").row(0, named=True)
    assert nobody["email"] is None


@pytest.mark.parametrize(
    "auth",
    [
        {"kind": "bearer", "token": {"file": "../key"}},
        {"kind": "param", "name": "api_key", "value": {"file": "../key"}},
        {"kind": "basic", "user": "reader", "password": {"file": "../password"}},
        OAUTH,
        {
            "kind": "oauth2",
            "grant": "refresh_token",
            "token_url": "/oauth/token",
            "client_id": "client",
            "client": "basic",
            "client_secret": {"file": "../client"},
            "refresh_token": {"file": "../refresh"},
        },
        SESSION,
    ],
    ids=["bearer", "param", "basic", "client_credentials", "refresh_token", "session"],
)
def test_every_way_of_signing_in(bench: Bench, auth: dict) -> None:
    bench.connection["auth"] = auth
    if auth["kind"] in {"oauth2", "session"}:
        bench.fake.faults = FaultPlan(at={4: "expired_token"})
    bench.load(TOKEN)
    assert bench.keys() == set(range(1, ROWS + 1))


def test_an_increment_asks_from_the_cursor_less_its_lag(bench: Bench) -> None:
    cursor = {"field": "updated_at", "lag": "10m"}
    first = bench.load(KEYSET, cursor=cursor)
    assert first.kind == "full"
    bench.fake.clock.advance(3600)
    bench.fake.store.put("items", 5, email="new@example.org")
    bench.fake.clock.advance(60)
    second = bench.load(KEYSET, cursor=cursor)
    assert second.kind == "incremental"
    assert second.rows_landed is not None
    assert second.rows_landed < 20
    assert bench.rows().filter(pl.col("id") == "5")["email"].to_list()[-1] == "new@example.org"


def test_a_cursor_that_the_records_do_not_show_is_the_begin_of_the_scan(bench: Bench) -> None:
    origin = TOKEN | {
        "request": {"path": "/token/items", "params": {"limit": "100", "since": "{{ window.start }}"}},
    }
    cursor = {"field": "since", "format": "scan", "lag": "1h"}
    begin = bench.fake.clock.now
    first = bench.load(origin, cursor=cursor)
    assert first.cursor_to == begin.isoformat()
    bench.fake.clock.advance(86400)
    bench.fake.store.put("items", 5, email="new@example.org")
    second = bench.load(origin, cursor=cursor)
    assert second.cursor_from == (begin - timedelta(hours=1)).isoformat()
    assert second.rows_landed is not None
    assert second.rows_landed < 10


def test_a_load_without_news_says_so(bench: Bench) -> None:
    bench.load(TOKEN)
    assert bench.load(TOKEN).status == "unchanged"


def test_the_budget_of_a_day_ends_a_load_and_the_next_goes_on(bench: Bench) -> None:
    bench.connection["budget"] = {"per_day": 4}
    first = bench.load(KEYSET, cursor={"field": "updated_at"})
    assert first.missing_share == 1.0
    assert first.cursor_to is None
    assert len(bench.keys()) == 400
    with pytest.raises(SourceError, match="4 requests a day is used up"):
        bench.load(KEYSET, cursor={"field": "updated_at"})
    bench.connection["budget"] = {"per_day": 100}
    last = bench.load(KEYSET, cursor={"field": "updated_at"})
    assert last.missing_share is None
    assert last.rows_landed == ROWS - 400
    assert bench.keys() == set(range(1, ROWS + 1))
    assert last.cursor_to is not None


@pytest.mark.parametrize("workers", [1, 4])
def test_slices_are_read_side_by_side(bench: Bench, workers: int) -> None:
    bench.connection["budget"] = {"concurrency": workers}
    begin = (bench.fake.clock.now - timedelta(days=40)).isoformat()
    record = bench.load(
        {
            "request": {
                "path": "/window/items",
                "params": {"from": "{{ window.start }}", "to": "{{ window.end }}"},
            },
            "records": {"path": "rows"},
            "paging": {
                "kind": "offset",
                "size": 50,
                "param": "offset",
                "size_param": "limit",
                "total": "total",
                "reconcile": "total",
            },
            "slices": {"by": "10d", "over": 100},
        },
        cursor={"field": "created_at", "start": begin},
    )
    assert bench.keys() == set(range(1, ROWS + 1))
    assert record.rows_read == ROWS


def test_children_of_a_parent_stream(bench: Bench) -> None:
    for number in range(1, 6):
        bench.fake.store.put("notes", number, {"item_id": 1 + number % 2, "text": f"note {number}"})
    bench.others = {}  # type: ignore[attr-defined]
    bench.load(TOKEN)
    items = yaml.safe_load(bench.path.read_text())["streams"]["items"]
    bench.others = {"items": items}  # type: ignore[attr-defined]
    bench.load(
        {
            "request": {"path": "/items/{{ parent.item }}/notes"},
            "records": {"path": "notes"},
            "parent": {"stream": "items", "fields": {"item": "id"}},
        },
        stream="notes",
        to="comment",
        fields={"comment_text": "text", "commented_at": "text", "parent_id": "parent.item"},
    )
    source = load_source(bench.path)
    assert lasting_columns(source, "items") == ["id"], "retention leaves what children are asked by"
    assert lasting_columns(source, "notes") == []
    rows = bench.rows("notes")
    assert sorted(zip(rows["id"], rows["parent.item"], strict=True)) == [(str(n), str(1 + n % 2)) for n in range(1, 6)]


def test_a_key_scan_finds_what_is_gone(bench: Bench) -> None:
    deletes = {"strategy": "key_scan"}
    bench.load(TOKEN, deletes=deletes)
    bench.fake.store.delete("items", 3)
    bench.load(TOKEN, deletes=deletes)
    gone = bench.rows().filter(pl.col("_deleted"))
    assert gone["id"].to_list() == ["3"]


def test_a_loop_and_a_repeated_page_are_noticed(bench: Bench) -> None:
    bench.fake.faults = FaultPlan(at={3: "repeated_page", 5: "error_in_200", 7: "html", 8: "cut_body", 9: "500"})
    bench.connection["errors"] = [{"path": "error", "message": "error.message", "action": "retry"}]
    bench.load(TOKEN)
    assert bench.keys() == set(range(1, ROWS + 1))
    bench.fake.faults = FaultPlan(rates={"cursor_loop": 1.0})
    bench.fake.store.put("items", 9999, {"name": "x"})
    with pytest.raises(SourceError, match=r"leads back|second time"):
        bench.load(TOKEN)


def test_retry_after_is_honoured_in_both_forms(bench: Bench) -> None:
    bench.fake.faults = FaultPlan(at={1: "429_seconds", 3: "429_date"}, retry_after=7)
    bench.load(TOKEN)
    assert WAITS == [7.0, 7.0]


def test_a_secret_is_never_shown(bench: Bench) -> None:
    bench.connection["auth"] = {"kind": "param", "name": "api_key", "value": {"file": "../wrong"}}
    (bench.settings.home / "wrong").write_text("secret-that-is-wrong")
    with pytest.raises(SourceError) as caught:
        bench.load(TOKEN)
    assert "secret-that-is-wrong" not in str(caught.value)
    assert "401" in str(caught.value)


SCAN = {"deletes": {"strategy": "key_scan"}}


@pytest.mark.parametrize(
    ("origin", "more", "said"),
    [
        (TOKEN, {"cursor": {"field": "updated_at"}} | SCAN, "does not bring all keys"),
        (TOKEN | {"paging": TOKEN["paging"] | {"resume": True}}, SCAN, "does not bring all keys"),
        (TOKEN | {"keys": TOKEN | {"paging": TOKEN["paging"] | {"resume": True}}}, SCAN, "out of 'keys'"),
        (TOKEN | {"slices": {"by": "1d"}}, {}, "has no window to slice"),
        (TOKEN | {"slices": {"by": "1d"}}, {"cursor": {"field": "updated_at"}}, "need the first day"),
        (TOKEN, {"cursor": {"field": "updated_at", "start": "soon"}}, "'soon' is no date"),
        (KEYSET | {"paging": {"kind": "keyset", "fields": ["updated_at"]}}, {}, "whole primary key"),
    ],
)
def test_what_would_lose_rows_is_refused_before_a_request(bench: Bench, origin: dict, more: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        bench.load(origin, **more)
    assert bench.fake.requests == 0


def test_all_keys_of_an_incremental_stream_are_asked_for_on_their_own(bench: Bench) -> None:
    origin = KEYSET | {"keys": TOKEN}
    more = {"cursor": {"field": "updated_at", "lag": "10m"}, "deletes": {"strategy": "key_scan"}}
    bench.load(origin, **more)
    bench.fake.clock.advance(86400)
    bench.fake.store.delete("items", 3)
    bench.fake.store.put("items", 4, email="x@example.org")
    second = bench.load(origin, **more)
    assert second.kind == "incremental"
    gone = bench.rows().filter(pl.col("_deleted"))
    assert gone["id"].to_list() == ["3"]


def test_another_host_gets_nothing(bench: Bench) -> None:
    origin = TOKEN | {"request": {"path": "http://127.0.0.2:1/items"}}
    with pytest.raises(SourceError, match="allow_hosts"):
        bench.load(origin)


def test_a_path_that_leads_nowhere_is_no_empty_answer(bench: Bench) -> None:
    with pytest.raises(SourceError, match=r"nothing at records.path 'things'; it holds 'items', 'next_token'"):
        bench.load(TOKEN | {"records": {"path": "things"}})
    assert bench.landing.manifests("shop", "items") == []


def test_a_declared_field_that_is_gone_fails_the_load(bench: Bench) -> None:
    with pytest.raises(SourceError, match="mail_address"):
        bench.load(TOKEN, fields={"email": "mail_address"})
