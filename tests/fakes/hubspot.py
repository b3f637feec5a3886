"""HubSpot CRM v3: objects, search, archived records, associations.

As HubSpot does: every property is text; a search's ``after`` is an offset into results that move, at most 200 a page
and 10,000 in all; a list by GET is paged by id and shows ``archived`` records only when asked.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fakes.rest import stamp, whole
from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

KINDS = ("contacts", "companies", "deals", "tickets")
MODIFIED = {"contacts": "lastmodifieddate"}
DEFAULTS = {
    "contacts": ("createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"),
    "companies": ("createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"),
    "deals": ("amount", "closedate", "createdate", "dealname", "dealstage", "hs_lastmodifieddate", "hs_object_id"),
    "tickets": ("content", "createdate", "hs_lastmodifieddate", "hs_object_id", "hs_pipeline_stage", "subject"),
}
SEARCH_LIMIT = 200
LIST_LIMIT = 100
RESULT_LIMIT = 10_000
CORRELATION = "aeb5f871-7f07-4993-9211-075dc63e7cbf"


class HubSpot(Dialect):
    collection = "contacts"
    token = "pat-eu1-static"

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = self.now - timedelta(days=60)
        companies = max(1, rows // 10) if rows else 0
        for number in range(1, companies + 1):
            moment = begin + timedelta(minutes=number)
            self.store.put(
                "companies",
                9000 + number,
                {"name": f"Company {number}", "domain": f"c{number}.example.com"},
                created_at=moment,
                updated_at=moment,
            )
        for number in range(1, rows + 1):
            created = begin + timedelta(seconds=chance.randrange(50 * 86400), milliseconds=chance.randrange(1000))
            updated = created + timedelta(milliseconds=chance.randrange(86400_000))
            content = self._contact(number, chance) | {"company": 9001 + chance.randrange(companies)}
            self.store.put("contacts", 100 + number, content, created_at=created, updated_at=updated)

    def _contact(self, number: int, chance: random.Random) -> dict[str, Any]:
        first = chance.choice(("Maria", "Brian", "Wei", "Zoë"))
        return {
            "email": f"{first.lower()}.{number}@example.com",
            "firstname": first,
            "lastname": None if number % 9 == 0 else f"Sample {number}",
            "country": chance.choice(("Norway", "China", "Malta")),
            "lifecyclestage": chance.choice(("lead", "customer")),
            "num_notes": str(chance.randrange(4)),
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return 5_000_000 + self.invented, self._contact(self.invented, chance)

    def handle(self, request: Request) -> Answer:
        if request.bearer != self.token and not self.holds(request.bearer):
            return self._error(401, "Authentication credentials not found or invalid.", "INVALID_AUTHENTICATION")
        return super().handle(request)

    def _error(self, status: int, message: str, category: str) -> Answer:
        body = {"status": "error", "message": message, "correlationId": CORRELATION, "category": category}
        return Answer(body, status)

    def status_error(self, status: int) -> Answer:
        if status == 429:
            answer = self._error(429, "You have reached your secondly limit.", "RATE_LIMITS")
            answer.body |= {"errorType": "RATE_LIMIT", "policyName": "SECONDLY"}
            return answer
        return self._error(status, "internal error", "INTERNAL_ERROR")

    def over_quota(self) -> Answer:
        answer = self._error(429, "You have reached your daily limit.", "RATE_LIMITS")
        answer.body |= {"errorType": "RATE_LIMIT", "policyName": "DAILY"}
        return answer

    def not_found(self, request: Request) -> Answer:
        return self._error(404, f"No route for {request.path}", "OBJECT_NOT_FOUND")

    def error_in_200(self, request: Request) -> Answer:
        return Answer(self._error(200, "internal error", "INTERNAL_ERROR").body)

    def properties(self, kind: str, record: Record) -> dict[str, str | None]:
        """Everything that the record says, as text."""
        return {
            **{name: value for name, value in record.content.items() if name != "company"},
            "hs_object_id": str(record.key),
            "createdate": stamp(record.created_at),
            MODIFIED.get(kind, "hs_lastmodifieddate"): stamp(record.updated_at),
        }

    def shown(self, kind: str, record: Record, names: list[str], associations: list[str] = ()) -> dict[str, Any]:
        """A record as a list shows it: default properties, or those that were asked for and three more."""
        held = self.properties(kind, record)
        chosen = {*names, "hs_object_id", "createdate", MODIFIED.get(kind, "hs_lastmodifieddate")} if names else ()
        found = {
            "id": str(record.key),
            "properties": {name: held.get(name) for name in sorted(chosen or DEFAULTS[kind])},
            "createdAt": stamp(record.created_at),
            "updatedAt": stamp(record.updated_at),
            "archived": record.is_deleted,
        }
        if record.is_deleted:
            found["archivedAt"] = stamp(record.updated_at)
        if "companies" in associations and record.get("company"):
            found["associations"] = {
                "companies": {"results": [{"id": str(record["company"]), "type": "contact_to_company"}]}
            }
        return found

    @route("GET", "/crm/v3/objects/(contacts|companies|deals|tickets)")
    def list_objects(self, request: Request, kind: str) -> Answer:
        if whole(request.query.get("limit"), 10) > LIST_LIMIT:
            return self._error(400, f"limit must be at most {LIST_LIMIT}", "VALIDATION_ERROR")
        is_archived = request.query.get("archived") == "true"
        names = _listed(request.query_lists.get("properties", []))
        associations = _listed(request.query_lists.get("associations", []))
        after = whole(request.query.get("after"), 0)
        limit = self.size(max(1, whole(request.query.get("limit"), 10)))
        found = self.store.records(kind, deleted=is_archived)
        page = [record for record in found if record.key >= after][: limit + 1]
        body: dict[str, Any] = {"results": [self.shown(kind, record, names, associations) for record in page[:limit]]}
        if len(page) > limit:
            token = str(page[limit].key)
            link = f"{self.url}{request.path}?limit={limit}&after={token}"
            body["paging"] = {"next": {"after": token, "link": link}}
        return Answer(body)

    @route("POST", "/crm/v3/objects/(contacts|companies|deals|tickets)/search")
    def search(self, request: Request, kind: str) -> Answer:
        asked = request.json
        limit, after = int(asked.get("limit") or 10), int(asked.get("after") or 0)
        if limit > SEARCH_LIMIT:
            return self._error(400, f"limit must be at most {SEARCH_LIMIT}", "VALIDATION_ERROR")
        if after + limit > RESULT_LIMIT:
            return self._error(400, f"The search cannot go past {RESULT_LIMIT} results.", "VALIDATION_ERROR")
        limit = self.size(limit)
        groups = asked.get("filterGroups") or []
        if len(groups) > 5 or any(len(group["filters"]) > 6 for group in groups):
            return self._error(400, "too many filterGroups or filters", "VALIDATION_ERROR")
        try:
            found = [record for record in self.store.records(kind) if self._fits(kind, record, groups)]
        except ValueError as error:
            return self._error(400, str(error), "VALIDATION_ERROR")
        for sort in reversed(asked.get("sorts") or [{"propertyName": "createdate", "direction": "ASCENDING"}]):
            name = sort["propertyName"] if isinstance(sort, dict) else sort.lstrip("-")
            is_down = sort.get("direction") == "DESCENDING" if isinstance(sort, dict) else sort.startswith("-")
            found.sort(key=lambda record: _comparable(name, self.properties(kind, record).get(name)), reverse=is_down)
        page = found[after : after + limit]
        results = [self.shown(kind, record, asked.get("properties") or []) for record in page]
        body: dict[str, Any] = {"total": len(found), "results": results}
        if after + limit < len(found):
            body["paging"] = {"next": {"after": str(after + limit)}}
        return Answer(body)

    def _fits(self, kind: str, record: Record, groups: list[dict]) -> bool:
        if not groups:
            return True
        held = self.properties(kind, record)
        return any(all(_holds(held.get(rule["propertyName"]), rule) for rule in group["filters"]) for group in groups)

    def loop(self, request: Request, answer: Answer) -> Answer:
        after = str(request.json.get("after") or request.query.get("after") or "1")
        return Answer(answer.body | {"paging": {"next": {"after": after}}})

    content_faults = ("repeated_page", "cursor_loop", "html", "error_in_200")


def _listed(values: list[str]) -> list[str]:
    return [name for value in values for name in value.split(",") if name]


def _comparable(name: str, text: Any) -> tuple[int, Any]:
    """Times and numbers are compared as such; what is missing comes first."""
    if text is None:
        return (0, 0.0)
    text = str(text)
    if name.endswith("date"):
        if text.isdigit():
            return (1, int(text) / 1000)
        return (1, datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC).timestamp())
    try:
        return (1, float(text))
    except ValueError:
        return (2, text.lower())


def _holds(value: Any, rule: dict[str, Any]) -> bool:
    name, operator = rule["propertyName"], rule["operator"]
    if operator == "HAS_PROPERTY":
        return value is not None
    if operator == "NOT_HAS_PROPERTY":
        return value is None
    if operator in {"IN", "NOT_IN"}:
        return (str(value).lower() in [str(one).lower() for one in rule["values"]]) == (operator == "IN")
    if operator in {"CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN"}:
        token = str(rule["value"]).strip("*").lower()
        return (token in str(value or "").lower()) == (operator == "CONTAINS_TOKEN")
    if value is None:
        return operator == "NEQ"
    left, right = _comparable(name, value), _comparable(name, rule["value"])
    if operator == "BETWEEN":
        return right <= left <= _comparable(name, rule["highValue"])
    tests = {
        "EQ": left == right,
        "NEQ": left != right,
        "LT": left < right,
        "LTE": left <= right,
        "GT": left > right,
        "GTE": left >= right,
    }
    if operator not in tests:
        raise ValueError(f"{operator} is no operator")
    return tests[operator]


DIALECT = HubSpot
