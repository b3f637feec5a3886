"""Typeform: responses of a form, the newest first.

As Typeform does: ``before`` takes a token of a response and goes on behind it, and is refused together with a time
window; ``since`` and ``until`` both count in, to the second; at most 1,000 a page; answers of the last minutes may be
missing (``delay``).
"""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fakes.rest import whole
from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

FORM = "u6nXL7"
SCORE, REASON, CHOICES = "aScore123", "aReason45", "aChoice67"


class Typeform(Dialect):
    collection = "responses"
    token = "tfp_static"
    content_faults = ("repeated_page", "html", "error_in_200")
    delay = timedelta(0)
    """Responses younger than this are not shown yet."""

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = self.now - timedelta(days=15)
        for number in range(1, rows + 1):
            moment = begin + timedelta(seconds=chance.randrange(14 * 86400))
            self.store.put("responses", _token(number), self._content(number, chance), updated_at=moment)

    def _content(self, number: int, chance: random.Random) -> dict[str, Any]:
        return {
            "score": chance.randrange(11),
            "reason": chance.choice(("Great, thanks", "太慢了", None)),
            "choices": chance.sample(["price", "speed", "people"], chance.randrange(1, 3)),
            "hidden": {"customer": f"C{number:05d}"},
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return _token(1_000_000 + self.invented), self._content(self.invented, chance)

    def handle(self, request: Request) -> Answer:
        if request.bearer != self.token and not self.holds(request.bearer):
            return self._error(403, "AUTHENTICATION_FAILED", "Authentication credentials not found on the Request")
        return super().handle(request)

    def _error(self, status: int, code: str, text: str) -> Answer:
        return Answer({"code": code, "description": text}, status)

    def status_error(self, status: int) -> Answer:
        code = "RATE_LIMIT_EXCEEDED" if status == 429 else "INTERNAL_SERVER_ERROR"
        return self._error(status, code, "Rate limit exceeded" if status == 429 else "Internal error")

    def over_quota(self) -> Answer:
        return self.status_error(429)

    def not_found(self, request: Request) -> Answer:
        return self._error(404, "FORM_NOT_FOUND", "No form was found")

    def error_in_200(self, request: Request) -> Answer:
        return Answer(self.status_error(500).body)

    @route("GET", "/forms")
    def forms(self, request: Request) -> Answer:
        form = {"id": FORM, "title": "Relationship", "last_updated_at": "2026-04-01T08:00:00Z"}
        return Answer({"total_items": 1, "page_count": 1, "items": [form]})

    @route("GET", "/forms/([^/]+)/responses")
    def responses(self, request: Request, form: str) -> Answer:
        asked = request.query
        if form != FORM:
            return self.not_found(request)
        window = {"since", "until"} & set(asked)
        tokens = {"before", "after"} & set(asked)
        if tokens and (window or "sort" in asked or len(tokens) > 1):
            return self._error(400, "VALIDATION_ERROR", "before/after cannot be used with since, until or sort")
        size = whole(asked.get("page_size"), 25)
        if not 1 <= size <= 1000:
            return self._error(400, "VALIDATION_ERROR", "page_size must be between 1 and 1000")
        size = self.size(size)
        found = [
            record
            for record in reversed(self.store.records("responses", _place, name="place"))
            if record.updated_at <= self.now - self.delay
        ]
        if tokens:
            name = tokens.pop()
            known = self.store.current.get("responses", {}).get(asked[name])
            if known is None:
                return self._error(400, "VALIDATION_ERROR", "token is not known")
            place = _place(known)
            if name == "before":
                found = [record for record in found if _place(record) < place]
            else:
                # The page that follows the token, and within it the newest first.
                found = [record for record in found if _place(record) > place][-size:]
        try:
            if "since" in asked:
                lower = _moment(asked["since"])
                found = [record for record in found if _second(record) >= lower]
            if "until" in asked:
                upper = _moment(asked["until"])
                found = [record for record in found if _second(record) <= upper]
        except ValueError:
            return self._error(400, "VALIDATION_ERROR", "since and until are times to the second")
        body = {"total_items": len(found), "page_count": -(-len(found) // size)}
        return Answer(body | {"items": [self.shown(record) for record in found[:size]]})

    def shown(self, record: Record) -> dict[str, Any]:
        """A response as the API shows it: a list of answers, one key by its type."""
        answers: list[dict[str, Any]] = [
            {"field": {"id": SCORE, "type": "nps", "ref": "score"}, "type": "number", "number": record["score"]},
            {
                "field": {"id": CHOICES, "type": "multiple_choice", "ref": "choices"},
                "type": "choices",
                "choices": {"labels": record["choices"]},
            },
        ]
        if record["reason"] is not None:
            field = {"id": REASON, "type": "long_text", "ref": "reason"}
            answers.append({"field": field, "type": "text", "text": record["reason"]})
        return {
            "landing_id": record.key,
            "token": record.key,
            "response_id": record.key,
            "response_type": "completed",
            "landed_at": f"{record.updated_at - timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}",
            "submitted_at": f"{record.updated_at:%Y-%m-%dT%H:%M:%SZ}",
            "metadata": {"user_agent": "Mozilla/5.0", "platform": "other", "network_id": "n1", "browser": "default"},
            "hidden": record["hidden"],
            "calculated": {"score": 0},
            "answers": answers,
        }


def _token(number: int) -> str:
    return hashlib.md5(f"response {number}".encode()).hexdigest()


def _place(record: Record) -> tuple[datetime, str]:
    return record.updated_at, record.key


def _second(record: Record) -> datetime:
    return record.updated_at.replace(microsecond=0)


def _moment(text: str) -> datetime:
    if text.isdigit():
        return datetime.fromtimestamp(int(text), UTC)
    return datetime.strptime(text.removesuffix("Z"), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)


DIALECT = Typeform
