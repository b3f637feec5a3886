"""Salesforce: OAuth, REST ``query`` and ``queryAll`` with a part of SOQL, Bulk 2.0 query jobs.

As Salesforce does: ids of 18 characters that are found by 15; a locator holds the ids that the query gave, 200 to
2,000 a page, and is void with the session's data after two days; deleted records come with ``queryAll`` alone; a job's
result ends with the header ``Sforce-Locator: null``; errors are a list; a used up day is a 403.
"""

from __future__ import annotations

import csv
import io
import random
import re
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.rest import CLIENT, REFRESH_TOKEN, stamp, whole
from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.soql import Query, QueryError, read_query
from tests.fakes.store import Record

OBJECTS = {"Account": "001", "Contact": "003", "Opportunity": "006"}
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SUFFIXES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
VERSION = r"/services/data/v\d+\.\d"


def record_id(prefix: str, number: int) -> str:
    """An id of 18 characters: 15 that tell case, 3 that say which letters are capitals."""
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = DIGITS[digit] + digits
    short = prefix + "bm" + digits.rjust(10, "0")
    chunks = (short[begin : begin + 5] for begin in (0, 5, 10))
    return short + "".join(SUFFIXES[sum(1 << place for place, one in enumerate(c) if one.isupper())] for c in chunks)


class Salesforce(Dialect):
    collection = "Contact"
    content_faults = ("repeated_page", "cursor_loop", "html", "error_in_200")
    lifetime = timedelta(days=2)

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = self.now - timedelta(days=90)
        for number in range(1, max(1, rows // 10) + 1 if rows else 0):
            key = record_id("001", number)
            content = {"Name": f"Account {number}", "Industry": None}
            self.store.put("Account", key, content, created_at=begin, updated_at=begin + timedelta(hours=number))
        for number in range(1, rows + 1):
            created = begin + timedelta(seconds=chance.randrange(80 * 86400))
            updated = created + timedelta(milliseconds=chance.randrange(9 * 86400_000))
            content = self._contact(number, chance)
            self.store.put("Contact", record_id("003", number), content, created_at=created, updated_at=updated)

    def _contact(self, number: int, chance: random.Random) -> dict[str, Any]:
        return {
            "FirstName": chance.choice(("Ana", "Bo", None)),
            "LastName": f"O'Hara {number}",
            "Email": None if number % 6 == 0 else f"c{number}@example.org",
            "AccountId": record_id("001", 1 + number % 5),
            "LeadSource": chance.choice(("Web", "Phone", None)),
            "Score__c": float(chance.randrange(100)),
            "HasOptedOutOfEmail": number % 4 == 0,
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return record_id("003", 10_000_000 + self.invented), self._contact(self.invented, chance)

    def family(self, request: Request) -> str:
        return re.sub(r"/query(?:All)?(?:/.*)?$", "/query", request.path)

    def handle(self, request: Request) -> Answer:
        if not request.path.startswith("/services/oauth2/") and not self.holds(request.bearer):
            return self._error(401, "INVALID_SESSION_ID", "Session expired or invalid")
        return super().handle(request)

    def _error(self, status: int, code: str, message: str) -> Answer:
        return Answer([{"message": message, "errorCode": code}], status)

    def status_error(self, status: int) -> Answer:
        if status == 429:
            return self._error(429, "TOO_MANY_REQUESTS", "Too many requests")
        return self._error(status, "SERVER_UNAVAILABLE" if status == 503 else "UNKNOWN_EXCEPTION", "An error occurred")

    def over_quota(self) -> Answer:
        return self._error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")

    def not_found(self, request: Request) -> Answer:
        return self._error(404, "NOT_FOUND", "The requested resource does not exist")

    def error_in_200(self, request: Request) -> Answer:
        return Answer(self._error(200, "UNKNOWN_EXCEPTION", "An unexpected error occurred").body)

    @route("POST", "/services/oauth2/token")
    def oauth(self, request: Request) -> Answer:
        form = request.form
        if CLIENT not in ((form.get("client_id"), form.get("client_secret")), request.basic):
            return Answer({"error": "invalid_client", "error_description": "invalid client credentials"}, 400)
        grant = form.get("grant_type")
        if grant == "refresh_token" and form.get("refresh_token") != REFRESH_TOKEN:
            return Answer({"error": "invalid_grant", "error_description": "expired access/refresh token"}, 400)
        if grant not in {"client_credentials", "refresh_token"}:
            return Answer({"error": "unsupported_grant_type"}, 400)
        token = {"access_token": self.issue(7200), "instance_url": self.url, "token_type": "Bearer"}
        return Answer(token | {"id": f"{self.url}/id/00Dbm/005bm", "issued_at": str(int(self.now.timestamp() * 1000))})

    def _row(self, record: Record) -> dict[str, Any]:
        """What can be asked of a record, times as such."""
        return {
            "Id": record.key,
            **record.content,
            "IsDeleted": record.is_deleted,
            "CreatedDate": _millisecond(record.created_at),
            "LastModifiedDate": _millisecond(record.updated_at).replace(microsecond=0),
            "SystemModstamp": _millisecond(record.updated_at),
        }

    def _run(self, text: str, with_deleted: bool) -> tuple[Query, list[dict[str, Any]]]:
        query = read_query(text)
        if query.table not in OBJECTS:
            raise QueryError(f"sObject type '{query.table}' is not supported.")
        rows = [
            self._row(record) for record in self.store.records(query.table, deleted=None if with_deleted else False)
        ]
        if rows and (unknown := query.names - set(rows[0])):
            raise QueryError(f"No such column '{min(unknown)}' on entity '{query.table}'.")
        return query, query.run(rows)

    @route("GET", VERSION + "/(query|queryAll)/?")
    def query(self, request: Request, way: str) -> Answer:
        try:
            query, rows = self._run(request.query.get("q", ""), way == "queryAll")
        except QueryError as error:
            code = "INVALID_FIELD" if "column" in str(error) else "MALFORMED_QUERY"
            return self._error(400, code, str(error))
        if query.columns[0].lower() == "count()":
            return Answer({"totalSize": len(rows), "done": True, "records": []})
        options = re.search(r"batchSize=(\d+)", request.headers.get("Sforce-Query-Options", ""))
        size = self.size(min(2000, max(200, int(options[1]))) if options else 2000)
        locator = f"0r8bm{len(self.store.current.get('locators', {})):010d}AAA"
        held = {"ids": [row["Id"] for row in rows], "size": size, "columns": query.columns, "table": query.table}
        self.store.put("locators", locator, held | {"way": way})
        return self._page(request, locator, 0)

    @route("GET", VERSION + r"/(?:query|queryAll)/(\w+)-(\d+)")
    def more(self, request: Request, locator: str, begin: str) -> Answer:
        held = self.store.get("locators", locator)
        if held is None or self.now - held.created_at > self.lifetime:
            return self._error(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(request, locator, int(begin))

    def _page(self, request: Request, locator: str, begin: int) -> Answer:
        held = self.store.current["locators"][locator]
        ids, size, table, way = held["ids"], held["size"], held["table"], held["way"]
        version = re.match(VERSION, request.path)[0]
        records = []
        for key in ids[begin : begin + size]:
            record = self.store.current[table][key]
            if way == "query" and record.is_deleted:
                continue
            row = self._row(record)
            url = f"{version}/sobjects/{table}/{key}"
            chosen = {name: _shown(row[name]) for name in held["columns"]}
            records.append({"attributes": {"type": table, "url": url}, **chosen})
        body: dict[str, Any] = {"totalSize": len(ids), "done": begin + size >= len(ids), "records": records}
        if not body["done"]:
            body["nextRecordsUrl"] = f"{version}/{way}/{locator}-{begin + size}"
        return Answer(body)

    @route("POST", VERSION + "/jobs/query")
    def start_job(self, request: Request) -> Answer:
        asked = request.json
        try:
            query, rows = self._run(asked.get("query", ""), asked.get("operation") == "queryAll")
        except QueryError as error:
            return self._error(400, "API_ERROR", str(error))
        job = f"750bm{len(self.store.current.get('jobs', {})):010d}AAA"
        held = {"columns": query.columns, "rows": rows, "asked": asked, "polls": 0, "table": query.table}
        self.store.put("jobs", job, held | {"fails": "export_fails" in request.faults})
        return Answer(self._job(job, "UploadComplete"))

    def _job(self, job: str, state: str) -> dict[str, Any]:
        record = self.store.current["jobs"][job]
        asked, moment = record["asked"], f"{record.created_at:%Y-%m-%dT%H:%M:%S.000+0000}"
        known = {"id": job, "operation": asked["operation"], "object": record["table"], "state": state}
        return known | {"createdDate": moment, "contentType": "CSV", "lineEnding": "LF", "columnDelimiter": "COMMA"}

    @route("GET", VERSION + r"/jobs/query/(\w+)")
    def poll_job(self, request: Request, job: str) -> Answer:
        record = self.store.get("jobs", job)
        if record is None:
            return self.not_found(request)
        polls = record["polls"] + 1
        self.store.put("jobs", job, polls=polls)
        if polls < 3:
            return Answer(self._job(job, ("UploadComplete", "InProgress")[polls - 1]))
        if record["fails"]:
            return Answer(self._job(job, "Failed") | {"errorMessage": "InternalServerError : retries exceeded"})
        return Answer(self._job(job, "JobComplete") | {"numberRecordsProcessed": len(record["rows"]), "retries": 0})

    @route("GET", VERSION + r"/jobs/query/(\w+)/results")
    def results(self, request: Request, job: str) -> Answer:
        record = self.store.get("jobs", job)
        if record is None or record["polls"] < 3 or record["fails"]:
            return self._error(400, "INVALIDJOBSTATE", "Results are not available")
        size = self.size(whole(request.query.get("maxRecords"), 50_000))
        begin = whole(request.query.get("locator", "").removeprefix("loc"), 0)
        rows = record["rows"][begin : begin + size]
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(record["columns"])
        writer.writerows([_in_csv(row[name]) for name in record["columns"]] for row in rows)
        end = begin + size
        locator = f"loc{end}" if end < len(record["rows"]) else "null"
        headers = {"Content-Type": "text/csv", "Sforce-Locator": locator, "Sforce-NumberOfRecords": str(len(rows))}
        return Answer(text.getvalue().encode(), headers=headers)

    def loop(self, request: Request, answer: Answer) -> Answer:
        if isinstance(answer.body, dict) and "records" in answer.body:
            return Answer(
                answer.body | {"done": False, "nextRecordsUrl": answer.body.get("nextRecordsUrl", request.path)}
            )
        return answer


def _millisecond(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _shown(value: Any) -> Any:
    return stamp(value).replace("Z", "+0000") if isinstance(value, datetime) else value


def _in_csv(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return stamp(value) if isinstance(value, datetime) else str(value)


DIALECT = Salesforce
