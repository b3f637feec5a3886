"""APIs that nobody here has seen, each read with YAML alone: two nights, and every record arrives.

An API is a function from a call to an answer, shown by one small server. Belongs here: dialects that no preset speaks
and what they must not lose. Does not belong here: faults of the wire (``tests/property/test_http_under_fire.py``).
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from orchestration.settings import Settings
from orchestration.sources.config import ConfigError, load_source
from orchestration.sources.errors import SourceError
from orchestration.sources.extract import LoadRecord, extract
from orchestration.sources.http import client as http_client
from orchestration.sources.landing import Landing
from orchestration.sources.plan import plan

BEGIN = datetime(2026, 3, 10, 2, tzinfo=UTC)


@dataclass
class Call:
    """A request as an API sees it."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass
class Reply:
    """An answer that is more than JSON."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False


Api = Callable[[Call], Any]


class Unseen:
    """One API on loopback, the YAML of a source over it, and its loads."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, sources_dir=home / "sources")
        self.landing = Landing(self.settings.landing_dir)
        self.path = home / "sources" / "shop.yaml"
        self.path.parent.mkdir(parents=True)
        self.now = BEGIN
        self.skew = timedelta(0)
        self.calls: list[Call] = []
        self.api: Api = lambda call: None
        unseen = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args: Any) -> None:
                pass

            def date_time_string(self, timestamp: float | None = None) -> str:
                return format_datetime(unseen.now + unseen.skew, usegmt=True)

            def answer(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                params = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                call = Call(self.command, parts.path, params, headers, body)
                unseen.calls.append(call)
                reply = unseen.api(call)
                if not isinstance(reply, Reply):
                    body = json.dumps(reply, ensure_ascii=False).encode()
                    reply = Reply(body, headers={"Content-Type": "application/json"})
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.chunked:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for begin in range(0, len(reply.body), 7):
                        some = reply.body[begin : begin + 7]
                        self.wfile.write(f"{len(some):x}\r\n".encode() + some + b"\r\n")
                    self.wfile.write(b"0\r\n\r\n")
                    return
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            do_GET = do_POST = do_HEAD = do_DELETE = answer

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def load(self, yaml: str, stream: str = "items") -> LoadRecord:
        """Write the YAML and load one stream by the clock ``now``."""
        self.path.write_text(yaml.replace("URL", self.url))
        return extract(load_source(self.path), stream, settings=self.settings, run_id="run", now=self.now, window=None)

    def night(self, yaml: str, stream: str = "items") -> LoadRecord:
        """The load of the next night."""
        self.now += timedelta(days=1)
        return self.load(yaml, stream)

    def rows(self, stream: str = "items") -> pl.DataFrame:
        """Everything landed, the newest load of each row last."""
        loads = self.landing.manifests("shop", stream)
        return pl.concat([self.landing.scan(load).collect() for load in loads], how="diagonal")

    def latest(self, *key: str, stream: str = "items") -> pl.DataFrame:
        """The last row of each key, those that are gone left out."""
        found = self.rows(stream).unique(list(key or ["id"]), keep="last", maintain_order=True)
        return found.filter(~pl.col("_deleted"))

    def ids(self, stream: str = "items", name: str = "id") -> set[str]:
        return set(self.latest(name, stream=stream)[name])


WAITS: list[float] = []


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    WAITS.clear()
    monkeypatch.setattr(http_client, "sleep", WAITS.append)


@pytest.fixture
def unseen(tmp_path: Path) -> Iterator[Unseen]:
    server = Unseen(tmp_path)
    yield server
    server.close()


def source(stream: str, connection: str = "", more: str = "") -> str:
    """A source YAML around the lines of a stream's ``from``, of ``connection`` and of the stream."""

    def at(depth: int, text: str) -> str:
        return "".join(f"{' ' * depth}{line}\n" for line in text.strip("\n").splitlines())

    return (
        "source: shop\ntype: http\nconnection:\n  base_url: URL\n"
        + at(2, connection)
        + "streams:\n  items:\n    to: customer\n"
        + at(4, more or "primary_key: [id]\nfields: {email: email}")
        + "    from:\n"
        + at(6, stream)
    )


def records(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": number, "email": f"n{number}@example.org", **more} for number in range(1, count + 1)]


def test_graphql_with_nested_edges_and_errors_in_200(unseen: Unseen) -> None:
    orders = [{"id": f"gid-{n}", "lines": n % 3, "updatedAt": f"2026-03-0{1 + n % 8}T10:00:00Z"} for n in range(23)]
    calls = iter(range(1000))

    def api(call: Call) -> Any:
        if next(calls) % 4 == 2:
            return {"data": None, "errors": [{"message": "THROTTLED"}]}
        given = call.json["variables"]
        rows = [o for o in orders if not given.get("since") or o["updatedAt"] >= given["since"]]
        begin = int(given.get("after") or 0)
        edges = [
            {
                "cursor": str(begin + at + 1),
                "node": {
                    "id": o["id"],
                    "updatedAt": o["updatedAt"],
                    "lines": {"edges": [{"node": {"sku": f"s{line}"}} for line in range(o["lines"])]},
                },
            }
            for at, o in enumerate(rows[begin : begin + 5])
        ]
        more = begin + 5 < len(rows)
        end = edges[-1]["cursor"] if edges else None
        return {"data": {"orders": {"edges": edges, "pageInfo": {"hasNextPage": more, "endCursor": end}}}}

    unseen.api = api
    text = source(
        """
request:
  method: POST
  path: /graphql
  json:
    query: "query($after: String, $since: String) { orders }"
    variables: {after: "{{ page.token }}", since: "{{ window.start }}"}
records:
  path: data.orders.edges[].node
  pick: {skus: "lines.edges[].node.sku"}
paging: {kind: token, next: data.orders.pageInfo.endCursor, more: data.orders.pageInfo.hasNextPage}
errors:
  - {path: errors, message: "errors[0].message", bad: THROTTLED, action: retry}
  - {path: errors, message: "errors[0].message"}
""",
        more="primary_key: [id]\nfields: {email: id, updated_at: updatedAt}\ncursor: {field: updatedAt, lag: 1d}",
    )
    assert unseen.load(text).rows_landed == 23
    assert set(unseen.latest()["skus"]) == {"[]", '["s0"]', '["s0","s1"]'}
    orders.append({"id": "gid-new", "lines": 1, "updatedAt": "2026-03-10T10:00:00Z"})
    unseen.night(text)
    assert unseen.ids() == {o["id"] for o in orders}


def test_search_by_post_with_the_cursor_in_the_body_as_it_came(unseen: Unseen) -> None:
    """Elasticsearch: the token is a list of numbers and texts, and goes back as one."""
    docs = [{"id": f"d{n}", "at": 10**18 + n // 4} for n in range(50)]

    def api(call: Call) -> Any:
        given = call.json
        assert given["size"] == 8
        after = given.get("search_after")
        assert after is None or isinstance(after[0], int)
        rows = [d for d in docs if d["at"] >= given["from"]] if "from" in given else docs
        rows = [d for d in rows if after is None or [d["at"], d["id"]] > after]
        rows = sorted(rows, key=lambda d: (d["at"], d["id"]))[:8]
        return {"hits": {"hits": [{"_source": d, "sort": [d["at"], d["id"]]} for d in rows]}}

    unseen.api = api
    text = source(
        """
request:
  method: POST
  path: /docs/_search
  json: {size: 8, search_after: "{{ page.token | from_json }}", from: "{{ window.start }}"}
records: {path: "hits.hits[]._source"}
paging: {kind: token, next: "hits.hits[-1].sort"}
""",
        more="primary_key: [id]\nfields: {email: id}\ncursor: {field: at, format: number}",
    )
    assert unseen.load(text).rows_landed == 50
    docs += [{"id": "e1", "at": docs[-1]["at"]}, {"id": "e2", "at": docs[-1]["at"] + 1}]
    unseen.night(text)
    assert unseen.ids() == {d["id"] for d in docs}


def test_messages_newest_first_by_latest_and_oldest(unseen: Unseen) -> None:
    """Slack: ``latest`` is exclusive, times are seconds with six decimals."""
    start = int(BEGIN.timestamp()) - 5 * 86400
    messages = [{"ts": f"{start + n * 3600}.{n:06d}", "text": f"héllo {n} ✓"} for n in range(100)]

    def api(call: Call) -> Any:
        latest, oldest = float(call.params.get("latest", "inf")), float(call.params.get("oldest", "0"))
        rows = [m for m in reversed(messages) if oldest < float(m["ts"]) < latest]
        return {"ok": True, "messages": rows[:15], "has_more": len(rows) > 15}

    unseen.api = api
    text = source(
        """
request: {path: /history, params: {latest: "{{ last.ts }}", oldest: "{{ window.start | epoch if window.start }}"}}
records: {path: messages}
paging: {kind: keyset, fields: [ts], newest_first: true}
errors: [{path: ok, ok: "true", message: error}]
""",
        more="primary_key: [ts]\nfields: {email: text}\ncursor: {field: ts, format: epoch, lag: 1h}",
    )
    assert unseen.load(text).rows_landed == 100
    messages.append({"ts": f"{int(unseen.now.timestamp()) + 60}.000001", "text": "neu"})
    assert unseen.night(text).kind == "incremental"
    assert unseen.ids(name="ts") == {m["ts"] for m in messages}


@pytest.mark.parametrize(
    "said",
    [
        'more: "!last"',
        'more: "number < totalPages"',
        'more: "totalPages > number"',
        'more: "number != totalPages"',
        "pages: pageCount",
        "total: totalElements",
        "",
    ],
)
def test_pages_from_zero_that_say_their_end_in_many_ways(unseen: Unseen, said: str) -> None:
    people = records(115)

    def api(call: Call) -> Any:
        page, size = int(call.params["page"]), int(call.params["size"])
        rows = people[page * size : (page + 1) * size]
        pages = -(-len(people) // size)
        return {
            "content": rows,
            "last": page + 1 >= pages,
            "number": page,
            "totalPages": pages - 1,
            "pageCount": pages,
            "totalElements": len(people),
        }

    unseen.api = api
    text = source(
        f"""
request: {{path: /people}}
records: {{path: content}}
paging:
  kind: page
  first: 0
  size: 10
  param: page
  size_param: size
  reconcile: reread
  {said}
"""
    )
    unseen.load(text)
    assert len(unseen.ids()) == 115
    people.append({"id": 999, "email": "neu@example.org"})
    unseen.night(text)
    assert len(unseen.ids()) == 116


def test_numbers_are_compared_as_numbers_in_paths(unseen: Unseen) -> None:
    unseen.api = lambda call: {
        "code": 0,
        "items": [{"id": n, "type": n % 2, "email": f"{n}@example.org"} for n in range(1, 12)],
        "rank": [{"n": 9}, {"n": 10}],
    }
    text = source(
        """
request: {path: /items}
records:
  path: "items[?type == `1` && id > `2`]"
errors:
  - {path: "code != `0`"}
  - {path: "max(rank[].n) == `9`"}
"""
    )
    unseen.load(text)
    assert unseen.ids() == {"3", "5", "7", "9", "11"}


@pytest.mark.parametrize("reconcile", ["reread", "total"])
def test_offset_where_the_server_gives_fewer_than_asked(unseen: Unseen, reconcile: str) -> None:
    people = records(57)

    def api(call: Call) -> Any:
        begin = int(call.params["offset"])
        return {"rows": people[begin : begin + min(20, int(call.params["limit"]))], "total": str(len(people))}

    unseen.api = api
    total = "total: total\n  " if reconcile == "total" else ""
    text = source(
        f"""
request: {{path: /people}}
records: {{path: rows}}
paging:
  kind: offset
  size: 500
  param: offset
  size_param: limit
  {total}reconcile: {reconcile}
"""
    )
    unseen.load(text)
    assert len(unseen.ids()) == 57


def test_a_source_that_ignores_the_page_is_told(unseen: Unseen) -> None:
    people = records(30)
    unseen.api = lambda call: people
    for paging in (
        "{kind: page, size: 30, param: p, reconcile: reread}",
        "{kind: offset, size: 30, param: o, reconcile: reread}",
    ):
        with pytest.raises(SourceError, match=r"came a second time.*page\.(number|offset)"):
            unseen.load(source(f"request: {{path: /people}}\npaging: {paging}"))
    assert unseen.landing.manifests("shop", "items") == []


@pytest.mark.parametrize("form", ["relative", "query", "many", "plain_http"])
def test_links_in_every_form(unseen: Unseen, form: str) -> None:
    people = records(45)

    def api(call: Call) -> Any:
        begin = int(call.params.get("at", "0"))
        assert call.headers["authorization"] == "Bearer topsecret"
        link = {
            "relative": f"/v2/other?at={begin + 10}",
            "query": f"?at={begin + 10}",
            "many": f"{unseen.url}/v1/people?at={begin + 10}&f=a,b",
            "plain_http": f"http://inner.example.org:8080/v1/people?at={begin + 10}",
        }[form]
        rels = [f'<{link}>; title="a, b"; rel="next"'] if begin + 10 < len(people) else []
        body = json.dumps(people[begin : begin + 10]).encode()
        return Reply(body, headers={"Link": ", ".join(['<x?at=0>; rel="prev"', *rels, '<y>; rel="last"'])})

    unseen.api = api
    (unseen.path.parent / "key").write_text("topsecret\n")
    host = ", same_host: true" if form == "plain_http" else ""
    text = source(
        f"request: {{path: /v1/people}}\npaging: {{kind: link{host}}}",
        "auth: {kind: bearer, token: {file: key}}",
    )
    unseen.load(text)
    assert len(unseen.ids()) == 45


def test_a_link_to_another_host_is_told_with_both_mends(unseen: Unseen) -> None:
    unseen.api = lambda call: {"items": records(3), "next": "https://inner.example.org/people?at=3"}
    with pytest.raises(SourceError, match=r"inner\.example\.org.*allow_hosts.*same_host"):
        unseen.load(source("request: {path: /people}\nrecords: {path: items}\npaging: {kind: link, next: next}"))


def test_records_under_their_keys_and_rows_as_lists(unseen: Unseen) -> None:
    unseen.api = lambda call: {
        "people": {"a1": {"email": "a@example.org"}, "b2": {"email": "b@example.org"}},
        "cols": [{"n": "id"}, {"n": "email"}, {"n": "amount"}],
        "rows": [[12345678901234567890123, "x@example.org", 0.10000000000000000001], [2, None, -0.0]],
        "ids": ["p", "q"],
    }
    unseen.load(source("request: {path: /x}\nrecords: {path: people, keyed_by: id}"))
    assert unseen.ids() == {"a1", "b2"}
    unseen.load(source('request: {path: /x}\nrecords: {path: rows, columns: "cols[].n"}'))
    assert {"12345678901234567890123", "2"} <= unseen.ids()
    with pytest.raises(SourceError, match=r"ids\[\]\.\{id: @\}"):
        unseen.load(source("request: {path: /x}\nrecords: {path: ids}"))
    unseen.load(source('request: {path: /x}\nrecords: {path: "ids[].{id: @, email: @}"}'))
    assert {"p", "q"} <= unseen.ids()


@pytest.mark.parametrize("hours", [-3, 3])
def test_local_times_over_the_end_of_summer_and_a_clock_that_is_wrong(unseen: Unseen, hours: int) -> None:
    """Stamps as dd.mm.yyyy in local time, of whole seconds shared by many, asked for inclusively."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("Europe/Berlin")
    unseen.skew = timedelta(hours=hours)
    unseen.now = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    people: list[dict[str, Any]] = []

    def change(count: int) -> None:
        stamp = (unseen.now + unseen.skew).astimezone(zone)
        for _ in range(count):
            people.append({"id": len(people), "email": f"n{len(people)}@example.org", "at": stamp})

    def api(call: Call) -> Any:
        # A local time that there is twice means the second to this source, which is the worse of both.
        text = call.params.get("since")
        since = datetime.strptime(text, "%d.%m.%Y %H:%M:%S").replace(tzinfo=zone, fold=1) if text else None
        rows = [p for p in people if since is None or p["at"].astimezone(UTC) >= since.astimezone(UTC)]
        return [{**p, "at": p["at"].strftime("%d.%m.%Y %H:%M:%S")} for p in rows]

    unseen.api = api
    text = source(
        """
request:
  path: /people
  params: {since: "{{ window.start | date('%d.%m.%Y %H:%M:%S', 'Europe/Berlin') if window.start }}"}
""",
        more='primary_key: [id]\nfields: {email: email}\ncursor: {field: at, format: "%d.%m.%Y %H:%M:%S", lag: 1h}',
    ).replace("type: http", "type: http\ntimezone: Europe/Berlin")
    for _ in range(6):
        change(7)
        unseen.load(text)
        # Some more in the very second of the last stamp, after it was read.
        change(3)
        unseen.now += timedelta(minutes=25)
    unseen.load(text)
    assert len(unseen.ids()) == len(people)


@pytest.mark.parametrize("fraction", ["", ".000000500"])
@pytest.mark.parametrize("form", ["epoch", "epoch_ms", "iso"])
def test_cursors_of_whole_seconds_with_many_equal(unseen: Unseen, form: str, fraction: str) -> None:
    """An exclusive filter and records that come late within the second: a lag of a second or more is enough."""
    people: list[dict[str, Any]] = []

    def stamp(seconds: int) -> str | int:
        if form == "iso":
            return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f"{fraction}Z"
        return seconds if form == "epoch" else seconds * 1000

    def api(call: Call) -> Any:
        since = call.params.get("since")
        if form == "iso" and since:
            since = str(datetime.fromisoformat(since).timestamp())
        floor = float(since or 0) / (1000 if form == "epoch_ms" else 1)
        return {"items": [{**p, "at": stamp(p["at"])} for p in people if p["at"] > floor]}

    unseen.api = api
    given = "window.start" if form == "iso" else f"window.start | {form} if window.start"
    text = source(
        f"""
request: {{path: /people, params: {{since: "{{{{ {given} }}}}"}}}}
records: {{path: items}}
""",
        more=f"primary_key: [id]\nfields: {{email: email}}\ncursor: {{field: at, format: {form}, lag: 2s}}",
    )
    for _ in range(3):
        second = int(unseen.now.timestamp()) - 1
        people += [{"id": len(people) + n, "email": "a@example.org", "at": second} for n in range(20)]
        unseen.load(text)
        people += [{"id": len(people) + n, "email": "a@example.org", "at": second} for n in range(5)]
        unseen.night(text)
    assert len(unseen.ids()) == 75


def test_since_id_and_numbers_that_are_none(unseen: Unseen) -> None:
    tweets = [{"id": 10**18 + n, "email": f"n{n}@example.org"} for n in range(250)]

    def api(call: Call) -> Any:
        since, below = int(call.params.get("since_id", 0)), int(call.params.get("max_id", 10**30))
        return [t for t in reversed(tweets) if since < t["id"] < below][:40]

    unseen.api = api
    text = source(
        """
request: {path: /tweets, params: {since_id: "{{ window.start }}", max_id: "{{ last.id }}"}}
paging: {kind: keyset, fields: [id], newest_first: true}
""",
        more="primary_key: [id]\nfields: {email: email}\ncursor: {field: id, format: number}",
    )
    assert unseen.load(text).rows_landed == 250
    tweets += [{"id": 10**18 + n, "email": f"n{n}@example.org"} for n in range(250, 260)]
    assert unseen.night(text).rows_landed == 10
    assert len(unseen.ids()) == 260


def test_an_export_that_answers_202_until_it_is_packed_lines(unseen: Unseen) -> None:
    polls = iter([202, 202, 200] * 9)
    people = records(40)

    def api(call: Call) -> Any:
        if call.method == "POST":
            return Reply(json.dumps({"job": 7}).encode(), 202)
        if call.method == "HEAD":
            return Reply(status=next(polls))
        return Reply(gzip.compress(b"\n".join(json.dumps(p).encode() for p in people)))

    unseen.api = api
    text = source(
        """
export:
  start: {method: POST, path: /exports}
  values: {job: job}
  poll: {method: HEAD, path: "/exports/{{ export.job }}"}
  done_status: [200]
request: {path: "/exports/{{ export.job }}"}
records: {format: ndjson}
"""
    )
    assert unseen.load(text).rows_landed == 40
    people.pop()
    people.append({"id": 77, "email": "neu@example.org"})
    unseen.night(text)
    assert len(unseen.ids()) == 41


def test_an_export_whose_own_address_answers_202_until_it_is_the_file(unseen: Unseen) -> None:
    answers = iter([202, 202, 202, 200, 200, 200])

    def api(call: Call) -> Any:
        if (status := next(answers)) == 202:
            return Reply(b'{"state": "running"}', 202, {"Content-Type": "application/json", "Retry-After": "1"})
        return Reply(gzip.compress(b'{"id": 1, "email": "a@example.org"}\n'), status)

    unseen.api = api
    text = source(
        """
export:
  start: {path: /export.gz}
  poll: {path: /export.gz}
  done_status: [200]
request: {path: /export.gz}
records: {format: ndjson}
"""
    )
    assert unseen.load(text).rows_landed == 1
    answers = iter([202, 202, 200])
    text = source(
        """
request: {path: /export.gz}
records: {format: ndjson}
errors: [{status: 202, action: retry}]
"""
    )
    assert unseen.night(text).rows_landed == 1


@pytest.mark.parametrize("cut", ["gzip", "lines"])
def test_a_packed_file_that_is_cut_short_is_asked_for_again(unseen: Unseen, cut: str) -> None:
    whole = gzip.compress(b"\n".join(json.dumps(p).encode() for p in records(4000)))
    broken = whole[: len(whole) // 2]
    replies = iter([broken, whole])
    unseen.api = lambda call: Reply(next(replies))
    assert unseen.load(source("request: {path: /x}\nrecords: {format: ndjson}")).rows_landed == 4000
    unseen.api = lambda call: Reply(broken)
    with pytest.raises(SourceError, match="damaged"):
        unseen.night(source("request: {path: /x}\nrecords: {format: ndjson}"))


def test_a_table_with_semicolons_and_a_mark_at_its_head(unseen: Unseen) -> None:
    body = '\ufeffid;email;Straße\r\n1;a@example.org;Hauptstr. 1\r\n2;b@example.org;"Weg;2"\r\n'
    unseen.api = lambda call: Reply(body.encode(), headers={"Content-Type": "text/csv"})
    unseen.load(source('request: {path: /x}\nrecords: {format: csv, delimiter: ";"}'))
    assert unseen.ids() == {"1", "2"}
    assert set(unseen.latest()["Straße"]) == {"Hauptstr. 1", "Weg;2"}
    unseen.api = lambda call: Reply(body.replace("\ufeff", "").encode("cp1252"))
    unseen.night(source('request: {path: /x}\nrecords: {format: csv, delimiter: ";", encoding: cp1252}'))
    assert set(unseen.latest()["Straße"]) == {"Hauptstr. 1", "Weg;2"}
    with pytest.raises(SourceError, match="delimiter"):
        unseen.night(source("request: {path: /x}\nrecords: {format: csv, encoding: cp1252}"))


def budget(unseen: Unseen, per_day: int, more: str = "") -> str:
    """A connection with a budget; its count is of the real day, so ``new_day`` forgets it."""
    return f"budget: {{per_day: {per_day}{more}}}"


def new_day(unseen: Unseen) -> None:
    (unseen.landing.root / "shop" / ".requests.json").unlink(missing_ok=True)
    unseen.now += timedelta(days=1)


def pages_of(people: list[dict[str, Any]], size: int = 10) -> Api:
    """A source whose tokens are positions in the list."""

    def api(call: Call) -> Any:
        begin = int(call.params.get("token") or 0)
        more = begin + size < len(people)
        return {"items": people[begin : begin + size], "next": str(begin + size) if more else None}

    return api


PAGES = """
request: {path: /people}
records: {path: items}
paging: {kind: token, next: next, param: token}
"""
SCANNED = "primary_key: [id]\nfields: {email: email}\ndeletes: {strategy: key_scan, max_vanish_share: 0.9}"


def test_a_key_scan_over_two_days_takes_nothing_of_the_first_for_gone(unseen: Unseen) -> None:
    people = records(60)
    unseen.api = pages_of(people)
    text = source(PAGES, budget(unseen, 4), SCANNED)
    assert unseen.load(text).missing_share
    new_day(unseen)
    assert unseen.load(text).missing_share is None
    assert len(unseen.ids()) == 60
    # What is gone between is found by the next whole scan, and by no half of one.
    del people[3], people[40]
    for _ in range(4):
        new_day(unseen)
        unseen.load(text)
    assert unseen.ids() == {str(p["id"]) for p in people}


def test_the_keys_of_a_source_may_wait_for_the_next_day(unseen: Unseen) -> None:
    people = records(30, at="2026-03-01T00:00:00Z")
    unseen.api = pages_of(people)
    text = source(
        PAGES + "keys:\n  request: {path: /people}\n  records: {path: items}\n"
        "  paging: {kind: token, next: next, param: token}\n",
        budget(unseen, 4),
        SCANNED + "\ncursor: {field: at}",
    )
    first = unseen.load(text)
    assert (first.rows_landed, first.missing_share) == (30, 0.5)
    del people[3]
    new_day(unseen)
    assert unseen.load(text).missing_share is None
    assert len(unseen.ids()) == 29


def test_an_empty_answer_is_no_empty_page(unseen: Unseen) -> None:
    replies: Iterator[Any] = iter(
        [{"items": [], "next": "a"}, Reply(), {"items": records(3), "next": "b"}, Reply(b" "), {"items": records(5)}]
    )
    unseen.api = lambda call: next(replies)
    unseen.load(source(PAGES))
    assert len(unseen.ids()) == 5
    unseen.api = lambda call: Reply()
    with pytest.raises(SourceError, match=r"empty answer.*may_be_absent"):
        unseen.night(source(PAGES))
    unseen.api = lambda call: Reply(status=204)
    unseen.night(source(PAGES.replace("path: items", "path: items, may_be_absent: true")))


def test_a_plan_tells_what_is_left_of_the_day_and_reveals_no_secret(unseen: Unseen) -> None:
    unseen.api = pages_of(records(60))
    text = source(PAGES, budget(unseen, 4))
    assert unseen.load(text).missing_share
    unseen.path.write_text(text.replace("URL", "{file: away}").replace("per_day: 4", "per_day: 6"))
    calls = len(unseen.calls)
    told = plan(load_source(unseen.path), "items", settings=unseen.settings, now=unseen.now)
    assert "2 requests left today of 6" in told.note
    assert len(unseen.calls) == calls


def test_a_token_that_expired_over_night_begins_its_part_anew(unseen: Unseen) -> None:
    people = records(60)
    api = pages_of(people)
    days: list[str] = []

    def expiring(call: Call) -> Any:
        token = call.params.get("token")
        if token is not None and token not in days:
            return Reply(b'{"error": "cursor expired"}', 410)
        answer = api(call)
        days.append(answer["next"])
        return answer

    unseen.api = expiring
    text = source(PAGES, budget(unseen, 4))
    assert unseen.load(text).missing_share
    new_day(unseen)
    days.clear()
    text = source(PAGES, budget(unseen, 40))
    assert unseen.load(text).missing_share is None
    assert len(unseen.ids()) == 60


def test_a_file_whose_token_expired_over_night_is_read_from_its_first(unseen: Unseen) -> None:
    known: set[str] = set()

    def api(call: Call) -> Any:
        token = call.params.get("token", "0")
        if token != "0" and token not in known:
            return Reply(b'{"error": "cursor expired"}', 410)
        begin = int(token)
        known.add(str(begin + 10))
        rows = records(40)[begin : begin + 10]
        body = "id,email\n" + "".join(f"{row['id']},{row['email']}\n" for row in rows)
        return Reply(body.encode(), headers={"Next": str(begin + 10)} if begin < 30 else {})

    unseen.api = api
    stream = """
request: {path: /rows}
records: {format: csv}
paging: {kind: token, header: Next, param: token}
"""
    assert unseen.load(source(stream, budget(unseen, 2))).missing_share
    new_day(unseen)
    known.clear()
    assert unseen.load(source(stream, budget(unseen, 30))).missing_share is None
    assert len(unseen.ids()) == 40


def files_of(people: list[dict[str, Any]]) -> Api:
    """A source of CSV files, ten people each, whose header ``Next`` holds the position behind a file."""

    def api(call: Call) -> Any:
        begin = int(call.params.get("token", "0"))
        rows = people[begin : begin + 10]
        body = "".join(",".join(map(str, row.values())) + "\n" for row in rows)
        more = begin + 10 < len(people)
        return Reply(f"{','.join(people[0])}\n{body}".encode(), headers={"Next": str(begin + 10)} if more else {})

    return api


def test_files_go_on_where_the_last_load_ended(unseen: Unseen) -> None:
    people = records(25)
    unseen.api = files_of(people)
    text = source(
        """
request: {path: /rows}
records: {format: csv}
paging: {kind: token, header: Next, param: token, resume: true}
"""
    )
    assert unseen.load(text).rows_landed == 25
    people += [{"id": n, "email": f"n{n}@example.org"} for n in range(26, 46)]
    unseen.calls.clear()
    unseen.night(text)
    assert [call.params.get("token") for call in unseen.calls] == ["20", "30", "40"]
    assert len(unseen.ids()) == 45


def test_files_newest_first_end_with_the_first_that_is_older_than_the_window(unseen: Unseen) -> None:
    people = [
        {"id": n, "email": f"n{n}@example.org", "at": (BEGIN - timedelta(days=n + 1)).isoformat()} for n in range(60)
    ]
    unseen.api = files_of(people)
    text = source(
        """
request: {path: /rows}
records: {format: csv}
paging: {kind: token, header: Next, param: token, newest_first: true}
""",
        more="primary_key: [id]\nfields: {email: email}\ncursor: {field: at}",
    )
    assert unseen.load(text).rows_landed == 60
    people.insert(0, {"id": 60, "email": "n60@example.org", "at": BEGIN.isoformat()})
    unseen.calls.clear()
    assert unseen.night(text).kind == "incremental"
    assert [call.params.get("token") for call in unseen.calls] == [None, "10"]
    assert len(unseen.ids()) == 61


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_file_inside_of_a_text_of_json(unseen: Unseen, form: str) -> None:
    people = records(12)
    body = json.dumps({"rows": people})
    if form == "csv":
        body = "id,email\r\n" + "".join(f'{row["id"]},"{row["email"]}"\r\n' for row in people)
    unseen.api = lambda call: {"status": "OK", "data": {"content": body}}
    inner = ", inner: rows" if form == "json" else ""
    unseen.load(source(f"request: {{path: /x}}\nrecords: {{path: data.content, text: true, format: {form}{inner}}}\n"))
    assert len(unseen.ids()) == 12
    with pytest.raises(ConfigError, match="add text: true"):
        unseen.load(source("request: {path: /x}\nrecords: {path: data.content, format: csv}\n"))


def test_an_export_that_the_budget_cut_is_started_anew(unseen: Unseen) -> None:
    """The locator of a page is worth nothing in another export."""
    people, exports = records(40), []

    def api(call: Call) -> Any:
        if call.method == "POST":
            exports.append(list(people))
            return {"job": len(exports)}
        begin = int(call.params.get("locator") or 0)
        rows = exports[int(call.path.rpartition("/")[2]) - 1][begin : begin + 10]
        body = "id,email\n" + "".join(f"{r['id']},{r['email']}\n" for r in rows)
        return Reply(body.encode(), headers={"Locator": str(begin + 10) if begin + 10 < len(people) else "null"})

    unseen.api = api
    stream = """
export: {start: {method: POST, path: /jobs}, values: {job: job}}
request: {path: "/jobs/{{ export.job }}"}
records: {format: csv}
paging: {kind: token, header: Locator, param: locator, end: ["null"]}
"""
    assert unseen.load(source(stream, budget(unseen, 3))).missing_share
    new_day(unseen)
    people.reverse()
    unseen.load(source(stream, budget(unseen, 30)))
    assert len(unseen.ids()) == 40


@pytest.mark.parametrize(
    "paging",
    [
        "{kind: page, size: 10, param: page, reconcile: reread}",
        "{kind: offset, size: 10, param: at, reconcile: reread}",
        "{kind: keyset, fields: [id], size: 10}",
        "{kind: token, next: meta.next, param: t}",
        "{kind: token, header: X-Next, more: meta.more}",
        "{kind: link, next: meta.next}",
    ],
)
def test_pages_of_files_are_followed_by_headers_alone(unseen: Unseen, paging: str) -> None:
    text = f"""
request: {{path: /x, params: {{since: "{{{{ last.id }}}}"}}}}
records: {{format: csv}}
paging: {paging}
"""
    with pytest.raises(ConfigError, match=r"files.*header"):
        unseen.load(source(text))


def test_a_daily_budget_over_many_parents_side_by_side(unseen: Unseen) -> None:
    """Grandparent, parent and child; some children are not there; the budget ends twice."""
    shops = [{"id": f"s{n}", "email": "a@example.org"} for n in range(4)]

    def api(call: Call) -> Any:
        parts = call.path.strip("/").split("/")
        if parts == ["shops"]:
            return shops
        if len(parts) == 3:
            return [{"id": f"{parts[1]}-o{n}", "email": "a@example.org"} for n in range(9)]
        shop, order = parts[1], parts[3]
        if order.endswith("o3"):
            return Reply(b"gone", 404)
        at = int(call.params.get("page", 0))
        assert order.startswith(shop)
        return [{"id": f"{order}-l{at}-{n}"} for n in range(2)] if at < 2 else []

    unseen.api = api
    yaml = """
source: shop
type: http
connection:
  base_url: URL
  budget: {per_day: 45, concurrency: 4}
streams:
  shops:
    to: customer
    primary_key: [id]
    fields: {email: email}
    from: {request: {path: /shops}}
  orders:
    to: customer
    primary_key: [id]
    fields: {email: email}
    from:
      parent: {stream: shops, fields: {id: id}}
      request: {path: "/shops/{{ parent.id }}/orders"}
  items:
    to: customer
    primary_key: [id]
    fields: {email: id}
    from:
      parent: {stream: orders, fields: {id: id, shop: parent.id}}
      request: {path: "/shops/{{ parent.shop }}/orders/{{ parent.id }}/lines", params: {page: "{{ page.number }}"}}
      paging: {kind: page, first: 0, size: 2, reconcile: reread}
      errors: [{status: 404, action: skip}]
"""
    unseen.load(yaml, "shops")
    assert unseen.load(yaml, "orders").rows_landed == 36
    shares = []
    for _ in range(9):
        shares.append(unseen.load(yaml).missing_share)
        if shares[-1] is None:
            break
        new_day(unseen)
    assert shares == [*sorted(shares[:-1], reverse=True), None]
    assert len(shares) > 3
    assert len(unseen.ids()) == 4 * 8 * 4


def test_a_cookie_session_by_a_form_that_answers_with_pages(unseen: Unseen) -> None:
    """A login that leads on to a page for people; a session that ends shows the login page, with 200."""
    (unseen.path.parent / "word").write_text("geheim\n")
    sessions: list[str] = []
    people = records(30)
    served = iter(range(1000))

    def api(call: Call) -> Any:
        if call.path == "/login" and call.method == "POST":
            assert call.form == {"user": "me", "password": "geheim"}
            sessions.append(f"c{len(sessions)}")
            return Reply(b"", 302, {"Set-Cookie": f"sid={sessions[-1]}; Path=/", "Location": "/home"})
        if call.path in {"/login", "/home"}:
            return Reply(b"<html>hello</html>", 200, {"Content-Type": "text/html"})
        if next(served) == 2:
            sessions.append("ended")
        if call.headers.get("cookie") != f"sid={sessions[-1] if sessions else None}":
            return Reply(b"", 302, {"Location": "/login"})
        return pages_of(people)(call)

    unseen.api = api
    text = source(
        PAGES,
        """
auth:
  kind: session
  login: {method: POST, path: /login, form: {user: me, password: "{{ secrets.word }}"}}
  secrets: {word: {file: word}}
""",
    )
    unseen.load(text)
    assert len(unseen.ids()) == 30


def test_a_secret_at_the_end_of_an_excerpt_is_not_shown_in_part(unseen: Unseen, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("geheim-at-the-end-of-a-line")
    unseen.api = lambda call: Reply(b"x" * 290 + call.headers["x-key"].encode(), 400)
    with pytest.raises(SourceError, match=r"answered 400: x{290}\*\*\*") as caught:
        unseen.load(source(PAGES, "auth: {kind: header, name: X-Key, value: {file: ../key}}"))
    assert "geheim" not in str(caught.value)


def test_a_login_that_helps_nothing_is_no_passing_fault(unseen: Unseen) -> None:
    (unseen.path.parent / "word").write_text("geheim\n")
    logins: list[Call] = []

    def api(call: Call) -> Any:
        if call.path == "/login":
            logins.append(call)
            return {"token": f"t-{len(logins)}"}
        return Reply(b"no", 401)

    unseen.api = api
    text = source(
        PAGES,
        """
auth:
  kind: session
  login: {method: POST, path: /login, json: {password: "{{ secrets.word }}"}}
  secrets: {word: {file: word}}
  values: {token: token}
  headers: {X-Session: "{{ session.token }}"}
""",
    )
    with pytest.raises(SourceError, match="credentials are not accepted") as caught:
        unseen.load(text)
    assert not caught.value.transient
    assert len(logins) <= 3


def test_a_refresh_token_that_is_new_each_time_over_two_loads(unseen: Unseen) -> None:
    (unseen.path.parent / "refresh").write_text("r-0\n")
    (unseen.path.parent / "secret").write_text("geheim\n")
    valid = ["r-0"]

    def api(call: Call) -> Any:
        if call.path == "/token":
            if call.form["refresh_token"] != valid[-1]:
                return Reply(b'{"error": "invalid_grant"}', 400)
            valid.append(f"r-{len(valid)}")
            return {"access_token": f"a-{valid[-1]}", "expires_in": 3600, "refresh_token": valid[-1]}
        assert call.headers["authorization"] == f"Bearer a-{valid[-1]}"
        assert call.headers["x-app"] == "geheim"
        return records(3)

    unseen.api = api
    text = source(
        "request: {path: /people}",
        """
headers: {X-App: {file: secret}}
auth:
  kind: oauth2
  grant: refresh_token
  token_url: /token
  client_id: me
  client_secret: {file: secret}
  refresh_token: {file: refresh}
""",
    )
    unseen.load(text)
    unseen.night(text)
    assert valid == ["r-0", "r-1", "r-2"]
    assert len(unseen.ids()) == 3


def test_tombstones_of_a_second_path(unseen: Unseen) -> None:
    people, gone = records(6, at="2026-03-01"), []
    unseen.api = lambda call: gone if call.path == "/deleted" else people
    text = source(
        'each: {path: [people, deleted]}\nrequest: {path: "/{{ each.path }}"}',
        more="primary_key: [id]\nfields: {email: email}\n"
        "deletes: {strategy: tombstone, field: each.path, values: [deleted]}\noptional: [email]",
    )
    unseen.load(text)
    gone.append({"id": people.pop()["id"]})
    unseen.night(text)
    assert len(unseen.ids()) == 5


def test_a_redirect_to_signed_storage_with_no_credentials(unseen: Unseen, tmp_path: Path) -> None:
    storage = Unseen(tmp_path / "storage")
    (unseen.path.parent / "key").write_text("topsecret\n")
    table = "".join(f"{n},n{n}@example.org\n" for n in range(500))

    def file(call: Call) -> Any:
        assert "authorization" not in call.headers and "topsecret" not in str(call.params)
        assert call.params == {"X-Sig": "a/b+c=="}
        return Reply(f"id,email\n{table}".encode(), chunked=True)

    storage.api = file
    unseen.api = lambda call: Reply(
        status=302, headers={"Location": storage.url + "/f?X-Sig=a%2Fb%2Bc%3D%3D", "Set-Cookie": "a=b"}
    )
    connection = "auth: {kind: bearer, token: {file: key}}"
    stream = "request: {path: /file}\nrecords: {format: csv}"
    with pytest.raises(SourceError, match="allow_hosts"):
        unseen.load(source(stream, connection))
    unseen.load(source(stream, f'{connection}\nallow_hosts: ["{storage.url.removeprefix("http://")}"]'))
    assert len(unseen.ids()) == 500
    storage.close()


def test_429_without_retry_after_and_a_body_in_pieces(unseen: Unseen) -> None:
    statuses = iter([429, 429, 503, 200])
    body = json.dumps([{"id": 1, "email": "ü@example.org"}], ensure_ascii=False).encode("latin-1")

    def api(call: Call) -> Any:
        status = next(statuses)
        kind = "application/json; charset=iso-8859-1"
        return Reply(body if status == 200 else b"slow down", status, {"Content-Type": kind}, chunked=True)

    unseen.api = api
    unseen.load(source("request: {path: /x}"))
    assert set(unseen.latest()["email"]) == {"ü@example.org"}
    assert WAITS == [1, 2, 4]


def test_a_key_in_a_link_is_in_no_manifest_and_no_message(unseen: Unseen) -> None:
    secret = "t0p/s3cr+t"
    (unseen.path.parent / "key").write_text(f"{secret}\n")
    people = records(60)

    def api(call: Call) -> Any:
        assert call.params["api_key"] == secret
        begin = int(call.params.get("at", "0"))
        link = f"{unseen.url}/people?api_key=t0p%2Fs3cr%2Bt&at={begin + 10}"
        return {"items": people[begin : begin + 10], "next": link if begin + 10 < len(people) else None}

    unseen.api = api
    stream = "request: {path: /people}\nrecords: {path: items}\npaging: {kind: link, next: next}"
    auth = "auth: {kind: param, name: api_key, value: {file: key}}\n"
    assert unseen.load(source(stream, auth + budget(unseen, 3))).missing_share
    written = [path.read_text() for path in unseen.landing.root.rglob("*.json")]
    assert any("at=30" in text for text in written)
    assert not any("s3cr" in text for text in written)
    new_day(unseen)
    assert unseen.load(source(stream, auth + budget(unseen, 30))).missing_share is None
    assert len(unseen.ids()) == 60
    loop = f"{unseen.url}/people?x=1&api_key=t0p%2Fs3cr%2Bt"
    unseen.api = lambda call: {"items": [{"id": len(unseen.calls), "email": "x"}], "next": loop}
    with pytest.raises(SourceError, match="leads back") as caught:
        unseen.night(source(stream, auth))
    assert "s3cr" not in str(caught.value)
    unseen.api = lambda call: Reply(b"bad key t0p%2Fs3cr%2Bt", 403)
    with pytest.raises(SourceError, match=r"bad key \*\*\*") as caught:
        unseen.night(source(stream, auth))


def test_a_rule_that_waits_a_day_leaves_the_rest_to_the_next(unseen: Unseen) -> None:
    people = records(30)
    api = pages_of(people)
    unseen.api = lambda call: (
        Reply(b'{"error": "quota"}', 200, {"Retry-After": "7200"}) if len(unseen.calls) == 3 else api(call)
    )
    text = source(PAGES + "errors: [{path: error, bad: quota, action: retry}]")
    assert unseen.load(text).missing_share
    assert WAITS == []
    assert unseen.night(text).missing_share is None
    assert len(unseen.ids()) == 30


def test_an_increment_of_parents_may_lack_a_nested_field(unseen: Unseen) -> None:
    shops = [{"id": f"s{n}", "at": "2026-03-01", "owner": {"key": f"k{n}"}} for n in range(3)]

    def api(call: Call) -> Any:
        if call.path == "/shops":
            return [s for s in shops if s["at"] > call.params.get("since", "")]
        return [{"id": f"{call.path[1:]}-{n}"} for n in range(2)]

    unseen.api = api
    yaml = """
source: shop
type: http
connection: {base_url: URL}
streams:
  shops:
    to: customer
    primary_key: [id]
    cursor: {field: at}
    fields: {email: id}
    from: {request: {path: /shops, params: {since: "{{ window.start }}"}}}
  items:
    to: customer
    primary_key: [id]
    fields: {email: id}
    from:
      parent: {stream: shops, fields: {key: owner.key}}
      request: {path: "/{{ parent.key }}"}
"""
    unseen.load(yaml, "shops")
    unseen.load(yaml)
    shops.append({"id": "s9", "at": "2026-03-10", "owner": None})
    unseen.night(yaml, "shops")
    unseen.load(yaml)
    assert len(unseen.ids()) == 6
    with pytest.raises(SourceError, match=r"does not have; did you mean 'owner\.key'"):
        unseen.load(yaml.replace("key: owner.key", "key: owner.kay"))


def test_a_refresh_token_is_used_by_one_load_at_a_time(unseen: Unseen) -> None:
    (unseen.path.parent / "refresh").write_text("r-0\n")
    valid, under_way = ["r-0"], threading.Barrier(2)
    met: list[int] = []

    def api(call: Call) -> Any:
        if call.path != "/token":
            return records(3)
        given, now = call.form["refresh_token"], valid[-1]
        try:
            met.append(under_way.wait(timeout=0.5))
        except threading.BrokenBarrierError:
            under_way.reset()
        if given != now:
            return Reply(b'{"error": "invalid_grant"}', 400)
        valid.append(f"r-{len(valid)}")
        return {"access_token": "a", "refresh_token": valid[-1]}

    unseen.api = api
    auth = """
auth: {kind: oauth2, grant: refresh_token, token_url: /token, client_id: me, refresh_token: {file: refresh}}
"""
    text = source("request: {path: /people}", auth)
    text += text[text.index("  items:") :].replace("items:", "others:")
    unseen.path.write_text(text.replace("URL", unseen.url))
    loaded: list[int | None] = []

    def load(stream: str) -> None:
        found = extract(load_source(unseen.path), stream, settings=unseen.settings, run_id="run", now=unseen.now)
        loaded.append(found.rows_landed)

    threads = [threading.Thread(target=load, args=(stream,)) for stream in ("items", "others")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == []
    assert loaded == [3, 3]


def test_a_part_of_the_data_with_errors_beside_it_is_no_answer(unseen: Unseen) -> None:
    """GraphQL gives what it could get, and says with status 200 what it could not."""
    answer: dict[str, Any] = {"data": {"people": records(2)}, "errors": [{"message": "shard 3 is down"}]}
    unseen.api = lambda call: answer
    text = source('request: {method: POST, path: /x, json: {query: "{people}"}}\nrecords: {path: data.people}')
    with pytest.raises(SourceError, match="shard 3 is down"):
        unseen.load(text)
    answer["count"] = 2
    assert unseen.load(text).rows_landed == 2
    answer.update(errors=[])
    del answer["count"]
    assert unseen.night(text).status == "unchanged"


def test_numbers_that_are_none_and_letters_that_no_header_holds(unseen: Unseen) -> None:
    unseen.api = lambda call: Reply(b'[{"id": 1, "email": "a", "at": NaN}, {"id": 2, "email": "b", "at": 5}]')
    numbered = "primary_key: [id]\nfields: {email: email}\ncursor: {field: at, format: number}"
    assert unseen.load(source("request: {path: /x}", more=numbered)).cursor_to == "5"
    (unseen.path.parent / "key").write_text("schlüßel\n")
    with pytest.raises(SourceError, match=r"no header may hold.*connection\.auth") as caught:
        unseen.night(source("request: {path: /x}", "auth: {kind: bearer, token: {file: key}}"))
    assert "schl" not in str(caught.value)


def test_fields_that_the_landing_uses_itself_are_taken_under_other_names(unseen: Unseen) -> None:
    unseen.api = lambda call: {"items": [{"id": 1, "email": "a@example.org", "_deleted": True}]}
    with pytest.raises(SourceError, match=r"other_deleted: _deleted"):
        unseen.load(source("request: {path: /x}\nrecords: {path: items}"))
    renamed = 'records: {path: "items[].{id: id, email: email, gone: _deleted}"}'
    soft = "primary_key: [id]\nfields: {email: email}\ndeletes: {strategy: soft_flag, field: gone, values: ['true']}"
    unseen.load(source(f"request: {{path: /x}}\n{renamed}", more=soft))
    assert unseen.ids() == set()
