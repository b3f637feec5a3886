"""Intercom: search and list of contacts and conversations.

As Intercom does: ``pages.next.starting_after`` is opaque and goes on behind the last record in the order asked for; at
most 150 a page; times are seconds; a date of a contact knows ``=``, ``<`` and ``>`` alone.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.fakes.rest import whole
from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

DATES = {"created_at", "updated_at"}
REQUEST_ID = "f93ecfa8-d08a-4325-8694-89aeb89c8f85"


class Intercom(Dialect):
    collection = "conversations"
    token = "ic-static"
    content_faults = ("repeated_page", "cursor_loop", "html", "error_in_200")

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = self.now - timedelta(days=12)
        for number in range(1, rows + 1):
            created = begin + timedelta(seconds=chance.randrange(10 * 86400))
            updated = created + timedelta(seconds=chance.randrange(86400))
            times = {"created_at": created, "updated_at": updated}
            contact = {"email": f"i{number}@example.com", "name": f"Contact {number}", "role": "user"}
            self.store.put("contacts", f"{number:024x}", contact, **times)
            self.store.put("conversations", str(100_000 + number), self._conversation(number, chance), **times)

    def _conversation(self, number: int, chance: random.Random) -> dict[str, Any]:
        return {
            "title": None,
            "state": chance.choice(("open", "closed", "snoozed")),
            "contact": f"{number:024x}",
            "rating": chance.choice((None, {"rating": 1 + chance.randrange(5), "remark": "ok"})),
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return str(900_000 + self.invented), self._conversation(self.invented, chance)

    def handle(self, request: Request) -> Answer:
        if request.bearer != self.token and not self.holds(request.bearer):
            return self._error(401, "token_unauthorized", "Access Token Invalid")
        return super().handle(request)

    def _error(self, status: int, code: str, message: str) -> Answer:
        errors = [{"code": code, "message": message}]
        return Answer({"type": "error.list", "request_id": REQUEST_ID, "errors": errors}, status)

    def status_error(self, status: int) -> Answer:
        is_limit = status == 429
        answer = self._error(status, "rate_limit_exceeded" if is_limit else "server_error", "Exceeded rate limit")
        if is_limit:
            answer.headers["X-RateLimit-Reset"] = str(int(self.now.timestamp()) + 10)
        return answer

    def over_quota(self) -> Answer:
        return self.status_error(429)

    def not_found(self, request: Request) -> Answer:
        return self._error(404, "not_found", "Resource Not Found")

    def error_in_200(self, request: Request) -> Answer:
        return Answer(self._error(500, "server_error", "Server Error").body)

    @route("GET", "/(contacts|conversations)")
    def listed(self, request: Request, kind: str) -> Answer:
        asked = request.query
        return self._page(kind, self.store.records(kind), asked.get("starting_after"), asked.get("per_page"))

    @route("POST", "/(contacts|conversations)/search")
    def search(self, request: Request, kind: str) -> Answer:
        asked = request.json
        try:
            fits = self._condition(kind, asked["query"])
        except (KeyError, ValueError) as error:
            return self._error(400, "parameter_invalid", f"query: {error}")
        found = [record for record in self.store.records(kind) if fits(self.shown(kind, record))]
        sort, pages = asked.get("sort") or {}, asked.get("pagination") or {}
        name, is_down = sort.get("field", "updated_at"), sort.get("order", "descending") == "descending"
        return self._page(kind, found, pages.get("starting_after"), pages.get("per_page"), name, is_down)

    def _page(
        self, kind: str, found: list[Record], token: str | None, size: Any, name: str = "id", is_down: bool = False
    ) -> Answer:
        size = whole(str(size or ""), 20)
        if not 1 <= size <= 150:
            return self._error(400, "parameter_invalid", "per_page must be between 1 and 150")

        size = self.size(size)

        def place(row: dict[str, Any]) -> list:
            return [row[name], row["id"]]

        rows = sorted((self.shown(kind, record) for record in found), key=place, reverse=is_down)
        total, number = len(rows), 1
        if token:
            *last, number = json.loads(base64.b64decode(token))
            rows = [row for row in rows if (place(row) < last if is_down else place(row) > last)]
        page = rows[:size]
        following = None
        if len(rows) > size:
            packed = base64.b64encode(json.dumps([*place(page[-1]), number + 1]).encode()).decode()
            following = {"page": number + 1, "starting_after": packed}
        pages = {"type": "pages", "page": number, "per_page": size, "total_pages": -(-total // size)}
        if following:
            pages["next"] = following
        body = {"type": "list", "data": page} if kind == "contacts" else {"type": "conversation.list", kind: page}
        return Answer(body | {"total_count": total, "pages": pages})

    def _condition(self, kind: str, query: dict[str, Any]) -> Callable[[dict], bool]:
        operator, value = query["operator"], query["value"]
        if operator in {"AND", "OR"}:
            inner = [self._condition(kind, one) for one in value]
            if not 1 <= len(inner) <= 15:
                raise ValueError("1 to 15 filters")
            return lambda row: (all if operator == "AND" else any)(one(row) for one in inner)
        name = query["field"]
        if name in DATES:
            value = int(value)
            if kind == "contacts" and operator not in {"=", "<", ">"}:
                raise ValueError(f"{operator} is not supported for {name}")
        tests: dict[str, Callable[[Any], bool]] = {
            "=": lambda held: held == value,
            "!=": lambda held: held != value,
            "<": lambda held: held is not None and held < value,
            "<=": lambda held: held is not None and held <= value,
            ">": lambda held: held is not None and held > value,
            ">=": lambda held: held is not None and held >= value,
            "IN": lambda held: held in value,
            "NIN": lambda held: held not in value,
        }
        if operator not in tests:
            raise ValueError(f"{operator} is no operator")
        test = tests[operator]
        return lambda row: test(row.get(name))

    def shown(self, kind: str, record: Record) -> dict[str, Any]:
        """A record as the API shows it."""
        times = {"created_at": int(record.created_at.timestamp()), "updated_at": int(record.updated_at.timestamp())}
        if kind == "contacts":
            return {"type": "contact", "id": record.key, **record.content, **times, "custom_attributes": {}}
        return {
            "type": "conversation",
            "id": record.key,
            **times,
            "title": record["title"],
            "state": record["state"],
            "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": record["contact"]}]},
            "conversation_rating": record["rating"],
            "source": {"type": "conversation", "delivered_as": "customer_initiated", "body": "<p>Hello</p>"},
            "statistics": None,
        }

    def loop(self, request: Request, answer: Answer) -> Answer:
        asked = (request.json.get("pagination") or {}).get("starting_after") or request.query.get("starting_after")
        if not asked:
            return answer
        return Answer(answer.body | {"pages": answer.body["pages"] | {"next": {"page": 2, "starting_after": asked}}})


DIALECT = Intercom
