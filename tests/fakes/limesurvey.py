"""LimeSurvey's RemoteControl 2 over JSON-RPC.

As LimeSurvey does: everything is status 200 with ``error`` null, a failure is a ``result`` of ``{"status": text}``;
answers come as base64 of CSV or JSON under question codes; a partial answer has no ``submitdate`` and its row changes
when it goes on.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from datetime import timedelta
from typing import Any

from tests.fakes.odoo import second
from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

USER, PASSWORD, SURVEY = "reader", "reader-secret", 123456
CODES = ("id", "submitdate", "lastpage", "startlanguage", "startdate", "datestamp", "token", "NPS", "WHY")
LABELS = {"NPS": "How likely is it?", "WHY": "Why?", "id": "Response ID", "submitdate": "Date submitted"}


class LimeSurvey(Dialect):
    collection = "responses"
    content_faults = ("html", "error_in_200")
    is_active = True
    """Whether the survey has a table of responses."""

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = (self.now - timedelta(days=10)).replace(microsecond=0)
        for number in range(1, rows + 1):
            created = begin + timedelta(minutes=10 * number)
            updated = created + timedelta(seconds=60 + chance.randrange(500))
            content = self._content(number, chance)
            self.store.put("responses", number, content, created_at=created, updated_at=updated)

    def _content(self, number: int, chance: random.Random) -> dict[str, Any]:
        is_partial = number % 6 == 0
        return {
            "is_partial": is_partial,
            "token": f"t{number:06d}",
            "NPS": str(chance.randrange(11)),
            "WHY": "" if is_partial else chance.choice(('so "quick"', "Zeile 1\nZeile 2", "很好; 谢谢", "")),
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return max(self.store.current.get("responses", {0: None})) + 1, self._content(self.invented, chance)

    def finish(self, number: int, why: str) -> None:
        """A person goes on with a partial answer and sends it."""
        self.store.put("responses", number, is_partial=False, WHY=why)

    def error_in_200(self, request: Request) -> Answer:
        return self._result(request, {"status": "No permission"})

    def _result(self, request: Request, result: Any) -> Answer:
        return Answer({"id": request.json.get("id"), "result": result, "error": None})

    @route("POST", "/(?:index.php/)?admin/remotecontrol")
    def rpc(self, request: Request) -> Answer:
        method, asked = request.json.get("method"), request.json.get("params") or []
        if isinstance(asked, dict):
            asked = list(asked.values())
        if method == "get_session_key":
            is_known = list(asked[:2]) == [USER, PASSWORD]
            return self._result(request, self.issue(7200) if is_known else {"status": "Invalid user name or password"})
        if not asked or not self.holds(asked[0]):
            return self._result(request, {"status": "Invalid session key"})
        if method == "release_session_key":
            self.issued.pop(asked[0])
            return self._result(request, "OK")
        if method == "list_surveys":
            survey = {"sid": str(SURVEY), "surveyls_title": "Relationship", "startdate": None, "expires": None}
            return self._result(request, [survey | {"active": "Y" if self.is_active else "N"}])
        if method == "list_questions":
            known = [{"sid": str(SURVEY), "title": code, "question": LABELS[code]} for code in ("NPS", "WHY")]
            return self._result(request, known)
        if method == "export_responses":
            return self._result(request, self._export(*asked[1:]))
        return self._result(request, {"status": f"Method {method} does not exist"})

    def _export(
        self,
        survey: Any,
        form: str = "csv",
        language: str | None = None,
        completion: str = "all",
        heading: str = "code",
        answers: str = "short",
        first: int | None = None,
        last: int | None = None,
        fields: list[str] | None = None,
        *_: Any,
    ) -> Any:
        if str(survey) != str(SURVEY):
            return {"status": "Error: Invalid survey ID"}
        if not self.is_active:
            return {"status": "No Data, survey table does not exist."}
        found = [
            record
            for record in self.store.records("responses")
            if (first is None or record.key >= int(first)) and (last is None or record.key <= int(last))
            if completion == "all" or record["is_partial"] == (completion == "incomplete")
        ]
        if not self.store.records("responses"):
            return {"status": "No Data, could not get max id."}
        names = [code for code in CODES if not fields or code in fields]
        rows = [{name: self.shown(record)[name] for name in names} for record in found]
        if form == "json":
            text = json.dumps({"responses": rows}, ensure_ascii=False)
        else:
            file = io.StringIO()
            writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerow(LABELS.get(name, name) if heading == "full" else name for name in names)
            writer.writerows(list(row.values()) for row in rows)
            text = "\ufeff" + file.getvalue()
        return base64.b64encode(text.encode()).decode()

    def shown(self, record: Record) -> dict[str, str]:
        """A response under its codes; a partial one has no date of its end."""
        return {
            "id": str(record.key),
            "submitdate": "" if record["is_partial"] else second(record.updated_at),
            "lastpage": "1" if record["is_partial"] else "2",
            "startlanguage": "en",
            "startdate": second(record.created_at),
            "datestamp": second(record.updated_at),
            "token": record["token"],
            "NPS": record["NPS"],
            "WHY": record["WHY"],
        }


DIALECT = LimeSurvey
