"""APIs that nobody here has seen, each read with YAML alone: two nights, and every record arrives.

An API is a function from a call to an answer, shown by one small server. Belongs here: dialects that no preset speaks
and what they must not lose. Does not belong here: faults of the wire (``tests/property/test_http_under_fire.py``).
"""

from __future__ import annotations

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
from orchestration.sources.config import load_source
from orchestration.sources.extract import LoadRecord, extract
from orchestration.sources.http import client as http_client
from orchestration.sources.landing import Landing

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
