"""A REST API of nobody in particular: every way of paging, signing in and packing rows that unseen systems have.

| path | paging |
|---|---|
| ``/token/items`` | ``token``, answered as ``next_token`` |
| ``/next/items`` | address of the next page in ``links.next`` |
| ``/link/items`` | address of the next page in the header ``Link`` |
| ``/page/items`` | ``page``, ``per_page``; ``pages``, ``total`` |
| ``/offset/items`` | ``offset``, ``limit``; ``total`` |
| ``/keyset/items`` | ``since``, ``after_id``: what lies behind (``updated_at``, ``id``) |
| ``/window/items`` | ``from``, ``to`` over ``created_at``, ``offset``; ``total`` of the window |
| ``/ndjson/items``, ``/csv/items``, ``/packed/items`` | none: lines of JSON, CSV, base64 of CSV inside JSON |
| ``/exports`` | start, poll, file: a zip of CSV |
| ``/items/<id>/notes`` | children, all at once |
| ``/oauth/token``, ``/login`` | tokens of an hour of the clock |

``since`` (inclusive) narrows each list by ``updated_at``, ``country`` most of them. Lists by token, link and page go by
``id``; by offset and keyset by (``updated_at``, ``id``).
"""

from __future__ import annotations

import base64
import csv
import io
import random
import zipfile
from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

CLIENT = ("client", "client-secret")
USER = ("reader", "reader-secret")
REFRESH_TOKEN = "refresh-token"
FIELDS = ("id", "name", "email", "country", "score", "created_at", "updated_at")
NAMES = ("Ada", "Bo", "Chen", "Dalia", "Émile", "Fatou", "Ġorġ", "Hiro")


def stamp(moment: datetime) -> str:
    """ISO with milliseconds and ``Z``."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def read_stamp(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def by_stamp(record: Record) -> tuple[datetime, Any]:
    """Stamp as it is shown, in milliseconds, and key: what a client can say of its last row."""
    return record.updated_at.replace(microsecond=record.updated_at.microsecond // 1000 * 1000), record.key


def by_creation(record: Record) -> tuple[datetime, Any]:
    return record.created_at, record.key


def whole(text: str | None, default: int) -> int:
    """A number from a query, the default where there is none."""
    return int(text) if text and text.isdigit() else default


class Rest(Dialect):
    collection = "items"
    content_faults = ("repeated_page", "cursor_loop", "empty_page", "html", "error_in_200")
    max_limit = 1000

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = self.now - timedelta(days=30)
        for number in range(1, rows + 1):
            created = begin + timedelta(seconds=chance.randrange(29 * 86400), milliseconds=chance.randrange(1000))
            updated = created + timedelta(seconds=chance.randrange(80000))
            self.store.put("items", number, self._content(number, chance), created_at=created, updated_at=updated)

    def _content(self, number: int, chance: random.Random) -> dict[str, Any]:
        name = chance.choice(NAMES)
        return {
            "name": name,
            "email": f"{name.lower()}.{number}@example.org" if number % 7 else None,
            "country": chance.choice(("CN", "NO", "MT")),
            "score": chance.randrange(11),
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        number = 1_000_000 + self.invented
        return number, self._content(number, chance)

    def handle(self, request: Request) -> Answer:
        if request.path not in {"/oauth/token", "/login"} and not self._is_known(request):
            return Answer({"error": {"code": "unauthorised", "message": "token is missing or void"}}, 401)
        return super().handle(request)

    def _is_known(self, request: Request) -> bool:
        token = request.bearer or request.headers.get("X-Session", "")
        static = request.headers.get("X-Api-Key") or request.query.get("api_key") or request.bearer
        return static == self.token or self.holds(token) or request.basic == USER

    @route("POST", "/oauth/token")
    def oauth(self, request: Request) -> Answer:
        form = request.form or request.json
        client = (form.get("client_id"), form.get("client_secret"))
        if CLIENT not in (client, request.basic):
            return Answer({"error": "invalid_client"}, 401)
        if form.get("grant_type") == "refresh_token" and form.get("refresh_token") != REFRESH_TOKEN:
            return Answer({"error": "invalid_grant"}, 400)
        if form.get("grant_type") not in {"client_credentials", "refresh_token"}:
            return Answer({"error": "unsupported_grant_type"}, 400)
        return Answer({"access_token": self.issue(3600), "token_type": "Bearer", "expires_in": 3600})

    @route("POST", "/login")
    def login(self, request: Request) -> Answer:
        if (request.json.get("user"), request.json.get("password")) != USER:
            return Answer({"error": {"code": "login", "message": "wrong user or password"}}, 401)
        return Answer({"session": self.issue(3600)})

    def shown(self, record: Record) -> dict[str, Any]:
        """A record as the API shows it."""
        return {
            "id": record.key,
            **record.content,
            "created_at": stamp(record.created_at),
            "updated_at": stamp(record.updated_at),
        }

    def _chosen(self, request: Request, name: str, order: Callable[[Record], Any]) -> Sequence[Record]:
        found = self.store.records("items", order, name=name)
        if since := request.query.get("since"):
            found = [record for record in found if record.updated_at >= read_stamp(since)]
        if country := request.query.get("country"):
            found = [record for record in found if record["country"] == country]
        return found

    def _limit(self, request: Request, name: str = "limit", default: int = 100) -> int:
        return self.size(max(1, min(self.max_limit, whole(request.query.get(name), default))))

    def _address(self, request: Request, **changes: Any) -> str:
        return f"{self.url}{request.path}?{urlencode(request.query | {k: str(v) for k, v in changes.items()})}"

    def _after(self, request: Request) -> tuple[list[dict], str | None]:
        """A page by id behind the opaque token, and the token of the next page."""
        found = self._chosen(request, "key", lambda record: record.key)
        last = int(base64.b64decode(request.query["token"]).split(b":")[0]) if request.query.get("token") else 0
        begin = bisect_left(found, last + 1, key=lambda record: record.key)
        page = found[begin : begin + self._limit(request)]
        is_last = begin + len(page) >= len(found)
        return [self.shown(record) for record in page], None if is_last else self._token(page[-1].key)

    @staticmethod
    def _token(key: Any, nonce: int = 0) -> str:
        return base64.b64encode(f"{key}:{nonce}".encode()).decode()

    @route("GET", "/token/items")
    def by_token(self, request: Request) -> Answer:
        rows, token = self._after(request)
        return Answer({"items": rows, "next_token": token})

    @route("GET", "/next/items")
    def by_next(self, request: Request) -> Answer:
        rows, token = self._after(request)
        return Answer({"data": rows, "links": {"next": token and self._address(request, token=token)}})

    @route("GET", "/link/items")
    def by_link(self, request: Request) -> Answer:
        rows, token = self._after(request)
        link = f'<{self._address(request)}>; rel="self"'
        if token:
            link += f', <{self._address(request, token=token)}>; rel="next"'
        return Answer(rows, headers={"Link": link})

    @route("GET", "/page/items")
    def by_page(self, request: Request) -> Answer:
        found = self._chosen(request, "key", lambda record: record.key)
        size, page = self._limit(request, "per_page"), max(1, whole(request.query.get("page"), 1))
        rows = [self.shown(record) for record in found[(page - 1) * size : page * size]]
        return Answer({"data": rows, "page": page, "pages": -(-len(found) // size), "total": len(found)})

    @route("GET", "/offset/items")
    def by_offset(self, request: Request) -> Answer:
        found = self._chosen(request, "stamp", by_stamp)
        begin = whole(request.query.get("offset"), 0)
        rows = [self.shown(record) for record in found[begin : begin + self._limit(request)]]
        return Answer({"results": rows, "total": len(found), "offset": begin})

    @route("GET", "/keyset/items")
    def by_keyset(self, request: Request) -> Answer:
        found = self.store.records("items", by_stamp, name="stamp")
        begin = 0
        if since := request.query.get("since"):
            after = whole(request.query.get("after_id"), -1)
            begin = bisect_left(found, (read_stamp(since), after + 1), key=by_stamp)
        rows = [self.shown(record) for record in found[begin : begin + self._limit(request)]]
        return Answer({"items": rows})

    @route("GET", "/window/items")
    def by_window(self, request: Request) -> Answer:
        lower, upper = request.query.get("from"), request.query.get("to")
        if not lower or not upper:
            return Answer({"error": {"code": "window", "message": "from and to are needed"}}, 400)
        found = [
            record
            for record in self.store.records("items", by_creation, name="creation")
            if read_stamp(lower) <= record.created_at < read_stamp(upper)
        ]
        begin = whole(request.query.get("offset"), 0)
        rows = [self.shown(record) for record in found[begin : begin + self._limit(request)]]
        return Answer({"rows": rows, "total": len(found)})

    def _table(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, FIELDS, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(self.shown(record) for record in self.store.records("items"))
        return text.getvalue()

    @route("GET", "/ndjson/items")
    def ndjson(self, request: Request) -> Answer:
        lines = [Answer(self.shown(record)).sent()[0] for record in self._chosen(request, "key", lambda item: item.key)]
        return Answer(b"".join(line + b"\n" for line in lines), headers={"Content-Type": "application/x-ndjson"})

    @route("GET", "/csv/items")
    def plain_csv(self, request: Request) -> Answer:
        return Answer(self._table().encode(), headers={"Content-Type": "text/csv; charset=utf-8"})

    @route("GET", "/packed/items")
    def packed(self, request: Request) -> Answer:
        return Answer({"status": "OK", "content": base64.b64encode(self._table().encode()).decode()})

    @route("GET", r"/items/(\d+)/notes")
    def notes(self, request: Request, key: str) -> Answer:
        if self.store.get("items", int(key)) is None:
            return self.not_found(request)
        notes = [note for note in self.store.records("notes") if note["item_id"] == int(key)]
        return Answer({"notes": [{"id": note.key, **note.content} for note in notes]})

    @route("POST", "/exports")
    def start_export(self, request: Request) -> Answer:
        job = f"job-{len(self.store.current.get('jobs', {})) + 1}"
        content = {"file": self._table(), "polls": 0, "fails": "export_fails" in request.faults}
        self.store.put("jobs", job, content)
        return Answer({"job": job, "state": "queued"}, 202)

    @route("GET", "/exports/([^/]+)")
    def poll_export(self, request: Request, job: str) -> Answer:
        record = self.store.get("jobs", job)
        if record is None:
            return self.not_found(request)
        polls = record["polls"] + 1
        self.store.put("jobs", job, polls=polls)
        if polls == 1:
            return Answer({"job": job, "state": "running", "percent": 40})
        if polls == 2 or record["fails"]:
            state = "failed" if polls > 2 else "running"
            return Answer({"job": job, "state": state, "percent": 99})
        return Answer({"job": job, "state": "done", "percent": 100, "file": f"{self.url}/exports/{job}/file"})

    @route("GET", "/exports/([^/]+)/file")
    def export_file(self, request: Request, job: str) -> Answer:
        record = self.store.get("jobs", job)
        if record is None or record["polls"] < 3 or record["fails"]:
            return self.not_found(request)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("items.csv", record["file"])
        return Answer(packed.getvalue(), headers={"Content-Type": "application/zip"})

    def loop(self, request: Request, answer: Answer) -> Answer:
        token = request.query.get("token") or self._token(0)
        body, link = answer.body, self._address(request, token=token)
        if request.path == "/token/items":
            return Answer(body | {"next_token": token})
        if request.path == "/next/items":
            return Answer(body | {"links": {"next": link}})
        if request.path == "/link/items":
            return Answer(body, headers={"Link": f'<{link}>; rel="next"'})
        return answer

    def empty(self, request: Request) -> Answer:
        answer = self.handle(request)
        if answer.status != 200 or not request.path.startswith(("/token/", "/next/", "/link/")):
            return answer
        last, nonce = ("0", "0")
        if request.query.get("token"):
            last, nonce = base64.b64decode(request.query["token"]).decode().split(":")
        token = self._token(last, int(nonce) + 1)
        link = self._address(request, token=token)
        if request.path == "/token/items":
            return Answer({"items": [], "next_token": token})
        if request.path == "/next/items":
            return Answer({"data": [], "links": {"next": link}})
        return Answer([], headers={"Link": f'<{link}>; rel="next"'})


DIALECT = Rest
