"""Qualtrics v3: surveys, and responses by export: start, poll, file.

As Qualtrics does: ``startDate`` counts in and ``endDate`` does not, both on the recorded date; the file is a zip with
one CSV whose header has three rows; previews are exported like answers, with ``Status`` 1; a job runs over the
responses that were there when it began.
"""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

SURVEY = "SV_0001"
COLUMNS = (
    ("StartDate", "Start Date", "startDate"),
    ("EndDate", "End Date", "endDate"),
    ("Status", "Response Type", "status"),
    ("IPAddress", "IP Address", "ipAddress"),
    ("Progress", "Progress", "progress"),
    ("Duration (in seconds)", "Duration (in seconds)", "duration"),
    ("Finished", "Finished", "finished"),
    ("RecordedDate", "Recorded Date", "recordedDate"),
    ("ResponseId", "Response ID", "_recordId"),
    ("ExternalReference", "External Data Reference", "externalDataReference"),
    ("DistributionChannel", "Distribution Channel", "distributionChannel"),
    ("UserLanguage", "User Language", "userLanguage"),
    ("Q1", "How likely are you to recommend us,\nto a friend or colleague?", "QID1"),
    ("Q2", "Why?", "QID2_TEXT"),
)
POLLS = ((0.0, "inProgress"), (57.0, "inProgress"), (99.0, "inProgress"), (100.0, "complete"))
REQUEST_ID = "7c2cbe8f-1f0d-4d63-a3d8-f6d1c6d9b0a1"


class Qualtrics(Dialect):
    collection = "responses"
    token = "qualtrics-token"
    content_faults = ("html", "error_in_200")

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = self.now - timedelta(days=20)
        self.store.put("surveys", SURVEY, {"name": "Relationship"})
        for number in range(1, rows + 1):
            moment = begin + timedelta(seconds=chance.randrange(19 * 86400))
            self.store.put("responses", f"R_{number:07d}", self._content(number, chance), updated_at=moment)

    def _content(self, number: int, chance: random.Random) -> dict[str, Any]:
        return {
            "status": "1" if number % 25 == 0 else "0",
            "finished": "0" if number % 8 == 0 else "1",
            "duration": str(30 + chance.randrange(400)),
            "externalDataReference": f"C{number:05d}",
            "userLanguage": chance.choice(("EN", "ZH-S", "NO")),
            "QID1": str(chance.randrange(11)),
            "QID2_TEXT": chance.choice(("Fast, friendly", 'they said "soon"', "Zwei\nZeilen", "送货很快", "")),
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return f"R_new{self.invented:04d}", self._content(self.invented, chance)

    def handle(self, request: Request) -> Answer:
        token = request.headers.get("X-API-TOKEN", "")
        if token != self.token and not self.holds(request.bearer):
            return self._error(401, "AUTH_6.0", "Unauthorized")
        return super().handle(request)

    def _meta(self, status: str) -> dict[str, Any]:
        return {"requestId": REQUEST_ID, "httpStatus": status}

    def _error(self, status: int, code: str, message: str) -> Answer:
        meta = self._meta(f"{status} - {message}") | {"error": {"errorCode": code, "errorMessage": message}}
        return Answer({"meta": meta}, status)

    def status_error(self, status: int) -> Answer:
        message = "Too Many Requests" if status == 429 else "Internal Server Error"
        return self._error(status, "QAPI_429" if status == 429 else "ISE_1", message)

    def over_quota(self) -> Answer:
        return self._error(429, "RL_1", "Too Many Requests")

    def not_found(self, request: Request) -> Answer:
        return self._error(404, "RR_1", "Not Found")

    def error_in_200(self, request: Request) -> Answer:
        return Answer(self._error(500, "ISE_1", "Internal Server Error").body)

    def _result(self, result: dict[str, Any]) -> Answer:
        return Answer({"result": result, "meta": self._meta("200 - OK")})

    @route("GET", "/API/v3/surveys")
    def surveys(self, request: Request) -> Answer:
        found = [
            {"id": survey.key, "name": survey["name"], "isActive": True, "lastModified": _iso(survey.updated_at)}
            for survey in self.store.records("surveys")
        ]
        return self._result({"elements": found, "nextPage": None})

    @route("POST", "/API/v3/surveys/([^/]+)/export-responses")
    def start(self, request: Request, survey: str) -> Answer:
        asked = request.json
        if self.store.get("surveys", survey) is None:
            return self.not_found(request)
        if asked.get("format") not in {"csv", "json", "ndjson", "tsv"}:
            return self._error(400, "EXP_1", "format is needed")
        try:
            lower, upper = (_moment(asked.get(name)) for name in ("startDate", "endDate"))
        except ValueError:
            return self._error(400, "EXP_2", "dates are ISO 8601 with a zone")
        chosen = [
            record
            for record in self.store.records("responses", lambda record: (record.updated_at, record.key), name="stamp")
            if (lower is None or record.updated_at >= lower) and (upper is None or record.updated_at < upper)
            # Without exportResponsesInProgress the file holds recorded responses, whole or not.
        ]
        progress = f"ES_{len(self.store.current.get('exports', {})) + 1:04d}"
        content = {"survey": survey, "rows": chosen, "polls": 0, "fails": "export_fails" in request.faults}
        self.store.put("exports", progress, content)
        return self._result({"progressId": progress, "percentComplete": 0.0, "status": "inProgress"})

    @route("GET", "/API/v3/surveys/([^/]+)/export-responses/([^/]+)")
    def poll(self, request: Request, survey: str, progress: str) -> Answer:
        record = self.store.get("exports", progress)
        if record is None or record["survey"] != survey:
            return self.not_found(request)
        percent, status = POLLS[min(record["polls"], len(POLLS) - 1)]
        self.store.put("exports", progress, polls=record["polls"] + 1)
        if status == "complete" and record["fails"]:
            return self._result({"percentComplete": 99.0, "status": "failed"})
        result = {"percentComplete": percent, "status": status}
        if status == "complete":
            result["fileId"] = f"file-{progress}"
        return self._result(result)

    @route("GET", "/API/v3/surveys/([^/]+)/export-responses/file-([^/]+)/file")
    def file(self, request: Request, survey: str, progress: str) -> Answer:
        record = self.store.get("exports", progress)
        if record is None or record["fails"] or record["polls"] < len(POLLS):
            return self.not_found(request)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("Relationship.csv", csv_text(record["rows"]))
        return Answer(packed.getvalue(), headers={"Content-Type": "application/zip"})


def csv_text(records: list[Record]) -> str:
    """The file: three header rows, quoted as Qualtrics quotes, then a line a response."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _, _ in COLUMNS])
    writer.writerow([label for _, label, _ in COLUMNS])
    zone = {"startDate", "endDate", "recordedDate"}
    writer.writerow(
        json.dumps({"ImportId": name} | ({"timeZone": "Z"} if name in zone else {}), separators=(",", ":"))
        for _, _, name in COLUMNS
    )
    for record in records:
        end = record.updated_at
        known = {
            "startDate": f"{end - timedelta(seconds=int(record['duration'])):%Y-%m-%d %H:%M:%S}",
            "endDate": f"{end:%Y-%m-%d %H:%M:%S}",
            "recordedDate": f"{end:%Y-%m-%d %H:%M:%S}",
            "_recordId": record.key,
            "ipAddress": "203.0.113.9",
            "progress": "100" if record["finished"] == "1" else "60",
            "distributionChannel": "preview" if record["status"] == "1" else "anonymous",
        } | dict(record.content)
        writer.writerow([known.get(name, "") for _, _, name in COLUMNS])
    return text.getvalue()


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


DIALECT = Qualtrics
