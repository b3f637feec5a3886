"""SurveyMonkey v3: surveys, details, responses in bulk.

As SurveyMonkey does: 500 requests a day for an app of one's own, told in ``X-Ratelimit-App-Global-Day-…``; pages by
number, at most 100 responses each, with ``total`` and ``links.next``; ``start_modified_at`` counts in and
``end_modified_at`` does not.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tests.fakes.rest import whole
from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

SURVEY = "405000001"
SCORE_QUESTION, REASON_QUESTION = "820001", "820002"
ERRORS = {401: ("1011", "Authorization Error"), 404: ("1020", "Not Found"), 429: ("1040", "Rate limit reached")}


class SurveyMonkey(Dialect):
    collection = "responses"
    token = "sm-static"
    daily_quota = 500
    content_faults = ("repeated_page", "html", "error_in_200")

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = self.now - timedelta(days=25)
        for number in range(1, rows + 1):
            created = begin + timedelta(seconds=chance.randrange(20 * 86400))
            updated = created + timedelta(seconds=chance.randrange(4 * 86400))
            key = str(118_000_000 + number)
            self.store.put("responses", key, self._content(number, chance), created_at=created, updated_at=updated)

    def _content(self, number: int, chance: random.Random) -> dict[str, Any]:
        return {
            "status": "partial" if number % 7 == 0 else "completed",
            "score": chance.randrange(11),
            "reason": chance.choice(("Helpful staff", "Too dear", None)),
            "customer": f"C{number:05d}",
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return str(119_000_000 + self.invented), self._content(self.invented, chance)

    def handle(self, request: Request) -> Answer:
        if request.bearer != self.token and not self.holds(request.bearer):
            return self._error(401, "The authorization token provided was invalid.")
        answer = super().handle(request)
        left = self.daily_quota - self.used.get(f"{self.now:%Y-%m-%d}", 0)
        midnight = (self.now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        answer.headers |= {
            "X-Ratelimit-App-Global-Day-Limit": str(self.daily_quota),
            "X-Ratelimit-App-Global-Day-Remaining": str(max(0, left)),
            "X-Ratelimit-App-Global-Day-Reset": str(int((midnight - self.now).total_seconds())),
            "X-Ratelimit-App-Global-Minute-Limit": "120",
        }
        return answer

    def _error(self, status: int, message: str) -> Answer:
        number, name = ERRORS.get(status, ("1050", "Internal Server Error"))
        docs = "https://developer.surveymonkey.com/api/v3/#error-codes"
        error = {"id": number, "name": name, "docs": docs, "message": message, "http_status_code": status}
        return Answer({"error": error}, status)

    def status_error(self, status: int) -> Answer:
        return self._error(status, "Too many requests were made, try again later." if status == 429 else "Oh bananas!")

    def over_quota(self) -> Answer:
        return self.status_error(429)

    def not_found(self, request: Request) -> Answer:
        return self._error(404, "There was an error retrieving the requested resource.")

    def error_in_200(self, request: Request) -> Answer:
        return Answer(self._error(500, "Oh bananas!").body)

    @route("GET", "/v3/surveys")
    def surveys(self, request: Request) -> Answer:
        survey = {"id": SURVEY, "title": "After purchase", "nickname": "", "href": f"{self.url}/v3/surveys/{SURVEY}"}
        return Answer({"data": [survey], "per_page": 50, "page": 1, "total": 1, "links": {"self": request.path}})

    @route("GET", f"/v3/surveys/{SURVEY}/details")
    def details(self, request: Request) -> Answer:
        rating = {"id": SCORE_QUESTION, "family": "matrix", "headings": [{"heading": "How likely?"}]}
        rating["answers"] = {"choices": [{"id": str(900 + score), "text": str(score)} for score in range(11)]}
        reason = {"id": REASON_QUESTION, "family": "open_ended", "headings": [{"heading": "Why?"}]}
        return Answer({"id": SURVEY, "title": "After purchase", "pages": [{"id": "1", "questions": [rating, reason]}]})

    @route("GET", f"/v3/surveys/{SURVEY}/responses/bulk")
    def responses(self, request: Request) -> Answer:
        asked = request.query
        size, page = whole(asked.get("per_page"), 50), max(1, whole(asked.get("page"), 1))
        if size > 100:
            return self._error(400, "per_page must be at most 100")
        size = self.size(size)
        is_by_change = asked.get("sort_by") == "date_modified"
        found = self.store.records("responses", _by_change if is_by_change else _by_id, name=f"change {is_by_change}")
        try:
            lower, upper = (_moment(asked.get(name)) for name in ("start_modified_at", "end_modified_at"))
        except ValueError:
            return self._error(400, "times are YYYY-MM-DDTHH:MM:SS")
        found = [
            record
            for record in found
            if (lower is None or record.updated_at >= lower) and (upper is None or record.updated_at < upper)
        ]
        if asked.get("sort_order") == "DESC":
            found.reverse()
        last = max(1, -(-len(found) // size))
        links = {"self": self._address(request, page)}
        if page < last:
            links |= {"next": self._address(request, page + 1), "last": self._address(request, last)}
        rows = [self.shown(record) for record in found[(page - 1) * size : page * size]]
        return Answer({"data": rows, "per_page": size, "page": page, "total": len(found), "links": links})

    def _address(self, request: Request, page: int) -> str:
        return f"{self.url}{request.path}?{urlencode(request.query | {'page': str(page)})}"

    def shown(self, record: Record) -> dict[str, Any]:
        """A response as the API shows it: pages of questions of answers."""
        questions = [{"id": SCORE_QUESTION, "answers": [{"choice_id": str(900 + record["score"]), "row_id": "899"}]}]
        if record["reason"] is not None:
            questions.append({"id": REASON_QUESTION, "answers": [{"text": record["reason"]}]})
        return {
            "id": record.key,
            "survey_id": SURVEY,
            "collector_id": "4001",
            "recipient_id": "",
            "response_status": record["status"],
            "date_created": f"{record.created_at:%Y-%m-%dT%H:%M:%S+00:00}",
            "date_modified": f"{record.updated_at:%Y-%m-%dT%H:%M:%S+00:00}",
            "total_time": 77,
            "ip_address": "203.0.113.7",
            "custom_variables": {"customer": record["customer"]},
            "href": f"{self.url}/v3/surveys/{SURVEY}/responses/{record.key}",
            "pages": [{"id": "1", "questions": questions}],
        }


def _by_id(record: Record) -> str:
    return record.key


def _by_change(record: Record) -> tuple[datetime, str]:
    return record.updated_at, record.key


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


DIALECT = SurveyMonkey
