"""PostHog: events by ``next`` link, persons by offset.

As PostHog does: events come newest first, and ``next`` asks for what lies ``before`` the last one's time, to the
microsecond, so that events of one and the same microsecond are cut apart by the end of a page.
"""

from __future__ import annotations

import random
import uuid
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tests.fakes.rest import read_stamp, whole
from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

PROJECT = "42"


class PostHog(Dialect):
    collection = "events"
    token = "phx_static"
    content_faults = ("repeated_page", "cursor_loop", "html", "error_in_200")

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = self.now - timedelta(days=3)
        for number in range(1, rows + 1):
            moment = begin + timedelta(microseconds=chance.randrange(2 * 86400 * 10**6))
            key, content = self._event(number, chance)
            self.store.put("events", key, content, updated_at=moment)
        for number in range(1, rows // 5 + 1):
            person = {"distinct_ids": [f"d{number}"], "properties": {"email": f"p{number}@example.org"}}
            self.store.put("persons", str(uuid.UUID(int=number)), person, updated_at=begin)

    def _event(self, number: int, chance: random.Random) -> tuple[str, dict[str, Any]]:
        content = {
            "event": chance.choice(("$pageview", "order placed")),
            "distinct_id": f"d{1 + chance.randrange(50)}",
            "properties": {"$current_url": "https://shop.example/", "amount": number, "$lib": "web"},
        }
        return str(uuid.UUID(int=chance.getrandbits(128), version=4)), content

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return self._event(self.invented, chance)

    def handle(self, request: Request) -> Answer:
        if request.bearer != self.token and not self.holds(request.bearer):
            return self._error(401, "authentication_error", "authentication_failed", "Invalid personal API key.")
        return super().handle(request)

    def _error(self, status: int, kind: str, code: str, detail: str) -> Answer:
        return Answer({"type": kind, "code": code, "detail": detail, "attr": None}, status)

    def status_error(self, status: int) -> Answer:
        if status == 429:
            return self._error(429, "throttled_error", "throttled", "Request was throttled.")
        return self._error(status, "server_error", "error", "A server error occurred.")

    def over_quota(self) -> Answer:
        return self.status_error(429)

    def not_found(self, request: Request) -> Answer:
        return self._error(404, "invalid_request", "not_found", "Endpoint not found.")

    def error_in_200(self, request: Request) -> Answer:
        return Answer(self.status_error(500).body)

    @route("GET", f"/api/projects/{PROJECT}/events/?")
    def events(self, request: Request) -> Answer:
        asked = request.query
        try:
            after, before = (read_stamp(asked[name]) if asked.get(name) else None for name in ("after", "before"))
        except ValueError:
            return self._error(400, "validation_error", "invalid_input", "after and before are ISO times")
        size = self.size(min(1000, max(1, whole(asked.get("limit"), 100))))
        found = [
            record
            for record in reversed(self.store.records("events", _place, name="place"))
            if (after is None or record.updated_at > after) and (before is None or record.updated_at < before)
        ]
        page = found[:size]
        link = None
        if len(found) > size:
            link = f"{self.url}{request.path}?{urlencode(asked | {'before': page[-1].updated_at.isoformat()})}"
        return Answer({"next": link, "results": [self.shown(record) for record in page]})

    @route("GET", f"/api/projects/{PROJECT}/persons/?")
    def persons(self, request: Request) -> Answer:
        size, begin = whole(request.query.get("limit"), 100), whole(request.query.get("offset"), 0)
        found = self.store.records("persons")
        page = found[begin : begin + size]
        query = urlencode(request.query | {"offset": str(begin + size), "limit": str(size)})
        link = f"{self.url}{request.path}?{query}" if begin + size < len(found) else None
        rows = [{"id": one.key, "uuid": one.key, **one.content, "created_at": _iso(one.created_at)} for one in page]
        return Answer({"next": link, "previous": None, "count": len(found), "results": rows})

    def shown(self, record: Record) -> dict[str, Any]:
        """An event as the API shows it."""
        person = {"distinct_ids": [record["distinct_id"]], "properties": {}}
        known = {"id": record.key, "distinct_id": record["distinct_id"], "properties": record["properties"]}
        return known | {
            "event": record["event"],
            "timestamp": _iso(record.updated_at),
            "person": person,
            "elements": [],
        }

    def loop(self, request: Request, answer: Answer) -> Answer:
        if "before" not in request.query:
            return answer
        return Answer(answer.body | {"next": f"{self.url}{request.path}?{urlencode(request.query)}"})


def _place(record: Record) -> tuple[datetime, str]:
    return record.updated_at, record.key


def _iso(moment: datetime) -> str:
    return moment.isoformat()


DIALECT = PostHog
