"""Zendesk: incremental exports by cursor and by time, ticket events, satisfaction ratings.

As Zendesk does: what changed in the last minute is not shown yet; a cursor goes on for ever and ``end_of_stream`` says
that there is no more now; a page by time holds all records of its last second and the next begins with that second
again; deleted tickets come with the status ``deleted``; users of a page lie beside its tickets when asked.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tests.fakes.rest import whole
from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

EMAIL, API_TOKEN = "admin@example.com", "zd-token"
MINUTE = timedelta(seconds=60)


class Zendesk(Dialect):
    collection = "tickets"
    token = "zd-oauth"
    content_faults = ("repeated_page", "cursor_loop", "html", "error_in_200")

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = (self.now - timedelta(days=30)).replace(microsecond=0)
        users = max(1, rows // 4) if rows else 0
        for number in range(1, users + 1):
            moment = begin + timedelta(minutes=number)
            content = {"name": f"User {number}", "email": f"u{number}@example.net", "role": "end-user"}
            self.store.put("users", 20_000 + number, content, created_at=moment, updated_at=moment)
        for number in range(1, rows + 1):
            created = begin + timedelta(seconds=chance.randrange(28 * 86400))
            updated = created + timedelta(seconds=chance.randrange(86400))
            content = self._ticket(number, chance) | {"requester_id": 20_001 + chance.randrange(users)}
            self.store.put("tickets", number, content, created_at=created, updated_at=updated)
            changed = {"status": content["status"], "previous_value": "new"}
            event = {"ticket_id": number, "child_events": [{"id": number * 10, "event_type": "Change", **changed}]}
            self.store.put("ticket_events", 700_000 + number, event, created_at=updated, updated_at=updated)
            if number % 3 == 0:
                score = chance.choice(("good", "bad", "offered"))
                rating = {"ticket_id": number, "score": score, "comment": chance.choice((None, "Thank you"))}
                rating["requester_id"] = content["requester_id"]
                self.store.put("ratings", 500_000 + number, rating, created_at=updated, updated_at=updated)

    def _ticket(self, number: int, chance: random.Random) -> dict[str, Any]:
        return {
            "subject": f"Printer {number} on fire",
            "status": chance.choice(("new", "open", "pending", "solved", "closed")),
            "priority": chance.choice((None, "low", "high")),
            "tags": chance.sample(["vip", "fr", "bug"], chance.randrange(3)),
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return 900_000 + self.invented, self._ticket(self.invented, chance) | {"requester_id": 20_001}

    def handle(self, request: Request) -> Answer:
        known = request.basic == (f"{EMAIL}/token", API_TOKEN) or request.bearer == self.token
        if not known and not self.holds(request.bearer):
            return Answer({"error": "Couldn't authenticate you"}, 401)
        return super().handle(request)

    def status_error(self, status: int) -> Answer:
        if status == 429:
            return Answer(
                {"error": "APIRateLimitExceeded", "description": "Number of allowed API requests exceeded"}, 429
            )
        return Answer({"error": "InternalError", "description": "please try again"}, status)

    def over_quota(self) -> Answer:
        return self.status_error(429)

    def not_found(self, request: Request) -> Answer:
        return Answer({"error": "InvalidEndpoint", "description": "Not found"}, 404)

    def error_in_200(self, request: Request) -> Answer:
        return Answer({"error": "InternalError", "description": "please try again"})

    def _settled(self, kind: str, deleted: bool | None) -> list[Record]:
        limit = self.now - MINUTE
        found = self.store.records(kind, _place, name="place", deleted=deleted)
        return [record for record in found if record.updated_at <= limit]

    def _too_recent(self, text: str | None) -> Answer | None:
        if text is None or not text.isdigit():
            return Answer({"error": "InvalidValue", "description": "start_time is needed, in seconds"}, 400)
        if datetime.fromtimestamp(int(text), UTC) > self.now - MINUTE:
            text = "Too recent start_time. Use a start_time older than 60 seconds"
            return Answer({"error": "StartTimeTooRecent", "description": text}, 400)
        return None

    @route("GET", r"/api/v2/incremental/(tickets|users)/cursor(?:\.json)?")
    def by_cursor(self, request: Request, kind: str) -> Answer:
        asked = request.query
        size = self.size(min(1000, max(1, whole(asked.get("per_page"), 1000))))
        found = self._settled(kind, None)
        if "cursor" in asked:
            second, _, key = base64.b64decode(asked["cursor"]).decode().partition("||")
            place = (datetime.fromtimestamp(float(second), UTC), int(key))
            found = [record for record in found if _place(record) > place]
        elif error := self._too_recent(asked.get("start_time")):
            return error
        else:
            begin = datetime.fromtimestamp(int(asked["start_time"]), UTC)
            place = (begin, 0)
            found = [record for record in found if record.updated_at >= begin]
        page = found[:size]
        second, key = _place(page[-1]) if page else place
        cursor = base64.b64encode(f"{second.timestamp()}||{key}".encode()).decode()
        kept = {name: value for name, value in asked.items() if name in {"include", "per_page"}}
        body = {
            kind: [self.shown(kind, record) for record in page],
            "after_cursor": cursor,
            "after_url": f"{self.url}{request.path}?{urlencode({'cursor': cursor} | kept)}",
            "before_cursor": None,
            "before_url": None,
            "end_of_stream": len(page) == len(found),
        }
        if kind == "tickets" and "users" in asked.get("include", "").split(","):
            keys = sorted({record["requester_id"] for record in page})
            users = (self.store.get("users", key) for key in keys)
            body["users"] = [self.shown("users", user) for user in users if user]
        return Answer(body)

    @route("GET", r"/api/v2/incremental/(tickets|ticket_events)(?:\.json)?")
    def by_time(self, request: Request, kind: str) -> Answer:
        asked = request.query
        if error := self._too_recent(asked.get("start_time")):
            return error
        begin = datetime.fromtimestamp(int(asked["start_time"]), UTC)
        found = [record for record in self._settled(kind, None) if _second(record) >= begin]
        # A page that held but the second it begins with would lead on to itself.
        size = max(self.size(1000), sum(_second(record) == begin for record in found) + 1)
        page = found[:size]
        if page:
            page += [record for record in found[len(page) :] if _second(record) == _second(page[-1])]
        end = int(_second(page[-1]).timestamp()) if page else None
        kept = {name: value for name, value in asked.items() if name == "include"}
        link = f"{self.url}{request.path}?{urlencode({'start_time': end} | kept)}" if page else None
        body = {
            kind: [self.shown(kind, record) for record in page],
            "count": len(page),
            "end_time": end,
            "next_page": link,
            "end_of_stream": len(page) == len(found),
        }
        return Answer(body)

    @route("GET", r"/api/v2/satisfaction_ratings(?:\.json)?")
    def ratings(self, request: Request) -> Answer:
        asked = request.query
        found = self.store.records("ratings", lambda record: record.key)
        for name, fits in (("start_time", datetime.__ge__), ("end_time", datetime.__le__)):
            if asked.get(name):
                bound = datetime.fromtimestamp(int(asked[name]), UTC)
                found = [record for record in found if fits(record.created_at, bound)]
        if asked.get("score", "").startswith("received"):
            found = [record for record in found if record["score"] in {"good", "bad"}]
        if "page[size]" in asked:
            size = min(100, whole(asked["page[size]"], 100))
            after = int(base64.b64decode(asked["page[after]"])) if asked.get("page[after]") else 0
            found = [record for record in found if record.key > after]
            page = found[:size]
            cursor = base64.b64encode(str(page[-1].key).encode()).decode() if page else None
            more = len(found) > len(page)
            link = f"{self.url}{request.path}?{urlencode(asked | {'page[after]': cursor})}" if more else None
            meta = {"has_more": more, "after_cursor": cursor, "before_cursor": None}
            body: dict[str, Any] = {"meta": meta, "links": {"next": link, "prev": None}}
        else:
            number = max(1, whole(asked.get("page"), 1))
            page = found[(number - 1) * 100 : number * 100]
            is_last = number * 100 >= len(found)
            link = None if is_last else f"{self.url}{request.path}?{urlencode(asked | {'page': str(number + 1)})}"
            body = {"count": len(found), "next_page": link, "previous_page": None}
        return Answer({"satisfaction_ratings": [self.shown("ratings", record) for record in page]} | body)

    def shown(self, kind: str, record: Record) -> dict[str, Any]:
        """A record as the API shows it."""
        times = {"created_at": _iso(record.created_at), "updated_at": _iso(record.updated_at)}
        if kind == "ticket_events":
            moment = int(record.updated_at.timestamp())
            known = {"id": record.key, "timestamp": moment, "created_at": times["updated_at"], "event_type": "Audit"}
            return known | {"updater_id": -1, "via": "Web form", "system": {}} | dict(record.content)
        found = {"id": record.key, **record.content, **times}
        if kind == "tickets":
            found |= {"url": f"{self.url}/api/v2/tickets/{record.key}.json", "via": {"channel": "web"}}
            found |= {"custom_fields": [], "satisfaction_rating": {"score": "unoffered"}}
            found["generated_timestamp"] = int(record.updated_at.timestamp())
            if record.is_deleted:
                found["status"] = "deleted"
        elif kind == "users":
            found["active"] = not record.is_deleted
        return found

    def loop(self, request: Request, answer: Answer) -> Answer:
        if "cursor" not in request.query:
            return answer
        cursor = request.query["cursor"]
        link = f"{self.url}{request.path}?{urlencode({'cursor': cursor})}"
        return Answer(answer.body | {"after_cursor": cursor, "after_url": link, "end_of_stream": False})


def _place(record: Record) -> tuple[datetime, int]:
    return record.updated_at, record.key


_second: Callable[[Record], datetime] = lambda record: record.updated_at.replace(microsecond=0)  # noqa: E731


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


DIALECT = Zendesk
