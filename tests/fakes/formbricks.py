"""Formbricks v2: responses by ``limit`` and ``skip``.

As Formbricks does: newest first unless asked otherwise, at most 250 a page, ``meta.total`` beside them; ``startDate``
and ``endDate`` both count in, on ``createdAt`` or the field that ``filterDateField`` names.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from tests.fakes.rest import read_stamp, stamp, whole
from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

SURVEY = "cm0survey0000000000000001"


class Formbricks(Dialect):
    collection = "responses"
    token = "fb-static"
    content_faults = ("repeated_page", "html", "error_in_200")

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = self.now - timedelta(days=8)
        for number in range(1, rows + 1):
            created = begin + timedelta(milliseconds=chance.randrange(7 * 86400_000))
            updated = created + timedelta(seconds=chance.randrange(3600))
            times = {"created_at": created, "updated_at": updated}
            self.store.put("responses", f"cm0r{number:021d}", self._content(number, chance), **times)

    def _content(self, number: int, chance: random.Random) -> dict[str, Any]:
        data = {"nps": chance.randrange(11), "why": chance.choice(("Fine", "慢"))}
        return {"finished": number % 5 != 0, "contactId": None, "data": data}

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return f"cm0z{self.invented:021d}", self._content(self.invented, chance)

    def handle(self, request: Request) -> Answer:
        if request.headers.get("x-api-key") != self.token:
            return self._error(401, "Unauthorized")
        return super().handle(request)

    def _error(self, status: int, message: str) -> Answer:
        return Answer({"error": {"code": status, "message": message}}, status)

    def status_error(self, status: int) -> Answer:
        return self._error(status, "Too Many Requests" if status == 429 else "Internal Server Error")

    def over_quota(self) -> Answer:
        return self.status_error(429)

    def not_found(self, request: Request) -> Answer:
        return self._error(404, "Not Found")

    def error_in_200(self, request: Request) -> Answer:
        return Answer(self._error(500, "Internal Server Error").body)

    @route("GET", "/api/v2/management/responses")
    def responses(self, request: Request) -> Answer:
        asked = request.query
        size, begin = whole(asked.get("limit"), 50), whole(asked.get("skip"), 0)
        if not 1 <= size <= 250:
            return self._error(400, "limit must be between 1 and 250")
        size = self.size(size)
        name = asked.get("sortBy", "createdAt")
        found = self.store.records("responses", _by(name), name=name)
        moment = _by(asked.get("filterDateField", "createdAt"))
        try:
            lower, upper = (read_stamp(asked[one]) if asked.get(one) else None for one in ("startDate", "endDate"))
        except ValueError:
            return self._error(400, "dates are ISO 8601")
        found = [
            record
            for record in found
            if (lower is None or moment(record)[0] >= lower)
            and (upper is None or moment(record)[0] <= upper)
            and asked.get("surveyId", SURVEY) == SURVEY
        ]
        if asked.get("order", "desc") == "desc":
            found.reverse()
        rows = [self.shown(record) for record in found[begin : begin + size]]
        return Answer({"data": rows, "meta": {"total": len(found), "limit": size, "offset": begin}})

    def shown(self, record: Record) -> dict[str, Any]:
        """A response as the API shows it."""
        return {
            "id": record.key,
            "createdAt": stamp(record.created_at),
            "updatedAt": stamp(record.updated_at),
            "surveyId": SURVEY,
            "displayId": None,
            "contactId": record["contactId"],
            "finished": record["finished"],
            "endingId": None,
            "data": record["data"],
            "variables": {},
            "ttc": {"nps": 1200},
            "meta": {"source": "link", "url": "https://shop.example/survey"},
            "contactAttributes": None,
            "singleUseId": None,
            "language": "default",
        }


def _by(name: str):
    """Order by one of the two times, in milliseconds as shown, and key."""

    def place(record: Record) -> tuple:
        moment = record.updated_at if name == "updatedAt" else record.created_at
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000), record.key

    return place


DIALECT = Formbricks
