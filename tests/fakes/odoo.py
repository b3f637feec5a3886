"""Odoo over JSON-RPC: ``/web/session/authenticate`` and ``/web/dataset/call_kw``, and ``/jsonrpc`` with a password.

As Odoo does: ``write_date`` in whole seconds without a zone, shared by many rows; ``false`` for null; a many2one as
``[id, name]``; rows that are not ``active`` only with ``active_test`` false or a condition on it; every error with
status 200.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.server import Answer, Dialect, Request, route
from tests.fakes.store import Record

DATABASE, LOGIN, PASSWORD, UID = "company", "reader", "reader-key", 7
TEXT_FIELDS = ("email", "phone", "street")


class Odoo(Dialect):
    collection = "res.partner"
    content_faults = ("html", "error_in_200", "repeated_page")
    keeps_fractions = False
    """Whether the database keeps fractions of a second that it compares by but does not show, as older ones do."""

    def fill(self, rows: int, seed: int) -> None:
        chance = random.Random(seed)
        begin = (self.now - timedelta(days=40)).replace(microsecond=0)
        for number in range(1, rows + 1):
            # Imports write many rows within one second.
            moment = begin + timedelta(hours=number // 40)
            self.store.put("res.partner", number, self._content(number, chance), created_at=moment, updated_at=moment)

    def _content(self, number: int, chance: random.Random) -> dict[str, Any]:
        country = chance.choice((None, (48, "China"), (165, "Norway")))
        return {
            "name": f"Partner {number}",
            "email": None if number % 5 == 0 else f"p{number}@example.net",
            "phone": None,
            "street": "",
            "country_id": country,
            "is_company": number % 3 == 0,
            "active": number % 11 != 0,
            "credit": round(chance.random() * 100, 2),
        }

    def invent(self, chance: random.Random) -> tuple[Any, dict]:
        self.invented += 1
        return 1_000_000 + self.invented, self._content(self.invented, chance)

    def _result(self, request: Request, result: Any, headers: dict[str, str] | None = None) -> Answer:
        return Answer({"jsonrpc": "2.0", "id": request.json.get("id"), "result": result}, headers=headers or {})

    def _error(self, request: Request, name: str, message: str, code: int = 200) -> Answer:
        error = {
            "code": code,
            "message": "Odoo Session Expired" if code == 100 else "Odoo Server Error",
            "data": {"name": name, "debug": "Traceback …", "message": message, "arguments": [message]},
        }
        return Answer({"jsonrpc": "2.0", "id": request.json.get("id"), "error": error})

    def error_in_200(self, request: Request) -> Answer:
        return self._error(request, "psycopg2.errors.SerializationFailure", "could not serialize access")

    @route("POST", "/web/session/authenticate")
    def authenticate(self, request: Request) -> Answer:
        asked = request.json.get("params", {})
        if (asked.get("db"), asked.get("login"), asked.get("password")) != (DATABASE, LOGIN, PASSWORD):
            return self._error(request, "odoo.exceptions.AccessDenied", "Access Denied")
        cookie = f"session_id={self.issue(7200)}; HttpOnly; Path=/"
        return self._result(request, {"uid": UID, "db": DATABASE, "username": LOGIN}, {"Set-Cookie": cookie})

    @route("POST", "/web/dataset/call_kw(?:/.*)?")
    def call_kw(self, request: Request) -> Answer:
        cookies = dict(part.strip().partition("=")[::2] for part in request.headers.get("Cookie", "").split(";"))
        if not self.holds(cookies.get("session_id", "")):
            return self._error(request, "odoo.http.SessionExpiredException", "Session expired", 100)
        asked = request.json["params"]
        return self._call(request, asked["model"], asked["method"], asked.get("args") or [], asked.get("kwargs") or {})

    @route("POST", "/jsonrpc")
    def rpc(self, request: Request) -> Answer:
        asked = request.json.get("params", {})
        service, method, args = asked.get("service"), asked.get("method"), asked.get("args") or []
        if service == "common" and method in {"login", "authenticate"}:
            return self._result(request, UID if list(args[:3]) == [DATABASE, LOGIN, PASSWORD] else False)
        if service != "object" or list(args[:3]) != [DATABASE, UID, PASSWORD]:
            return self._error(request, "odoo.exceptions.AccessDenied", "Access Denied")
        model, name, positional, *named = args[3:]
        return self._call(request, model, name, positional, named[0] if named else {})

    def _call(self, request: Request, model: str, method: str, args: list, named: dict[str, Any]) -> Answer:
        if model not in {"res.partner"}:
            return self._error(request, "builtins.KeyError", f"'{model}'")
        names = ("domain", "fields", "offset", "limit", "order") if method == "search_read" else ("domain",)
        asked = dict(zip(names, args, strict=False)) | named
        try:
            found = self._found(model, asked)
            if method == "search_count":
                return self._result(request, len(found))
            page = self._page(found, asked)
            if method == "search":
                return self._result(request, [record.key for record in page])
            if method == "search_read":
                fields = asked.get("fields") or [*self._columns(page)]
                rows = [{name: self.shown(record, name) for name in ("id", *fields)} for record in page]
                return self._result(request, rows)
        except KeyError as error:
            return self._error(request, "builtins.ValueError", f"Invalid field {error} on model '{model}'")
        return self._error(request, "builtins.AttributeError", f"no method {method}")

    def _page(self, found: list, asked: dict[str, Any]) -> list:
        begin = asked.get("offset") or 0
        limit = self.size(asked.get("limit") or len(found))
        return found[begin : begin + limit]

    @staticmethod
    def _columns(found: list[Record]) -> list[str]:
        return [*(found[0].content if found else ()), "create_date", "write_date"]

    def _found(self, model: str, asked: dict[str, Any]) -> list[Record]:
        domain = asked.get("domain") or []
        takes_all = (asked.get("context") or {}).get("active_test") is False or any(
            rule[0] == "active" for rule in domain if isinstance(rule, list)
        )
        found = [
            record
            for record in self.store.records(model)
            if (takes_all or record["active"]) and self._fits(record, list(domain))
        ]
        for part in reversed((asked.get("order") or "id").split(",")):
            name, *direction = part.split()
            found.sort(
                key=lambda record: self.value(record, name), reverse=[word.lower() for word in direction] == ["desc"]
            )
        return found

    def _fits(self, record: Record, domain: list) -> bool:
        """Whether a record fits a domain in prefix notation; terms that stand alone are joined by and."""

        def term() -> bool:
            head = domain.pop(0)
            if head == "&":
                left, right = term(), term()
                return left and right
            if head == "|":
                left, right = term(), term()
                return left or right
            if head == "!":
                return not term()
            return self._holds(record, *head)

        fits = True
        while domain:
            fits = term() and fits
        return fits

    def _holds(self, record: Record, name: str, operator: str, value: Any) -> bool:
        held = self.value(record, name)
        if name in {"write_date", "create_date"} and isinstance(value, str):
            value = value if "." in value else f"{value}.000000"
        if operator == "in":
            return held in value
        if operator == "not in":
            return held not in value
        if operator in {"=", "!="}:
            return (held == value or (value is False and held in (None, ""))) == (operator == "=")
        if held is None or value is False:
            return False
        return {"<": held < value, "<=": held <= value, ">": held > value, ">=": held >= value}[operator]

    def value(self, record: Record, name: str) -> Any:
        """What is compared: times as text, a many2one by its id."""
        if name in {"write_date", "create_date"}:
            moment = record.updated_at if name == "write_date" else record.created_at
            return f"{moment if self.keeps_fractions else moment.replace(microsecond=0):%Y-%m-%d %H:%M:%S.%f}"
        if name == "id":
            return record.key
        held = record.content[name]
        return held[0] if isinstance(held, tuple) else held

    def shown(self, record: Record, name: str) -> Any:
        """What is sent: ``false`` for null, a pair for a many2one."""
        if name in record.content and isinstance(record[name], tuple):
            return list(record[name])
        if name in {"write_date", "create_date"}:
            return second(record.updated_at if name == "write_date" else record.created_at)
        held = self.value(record, name)
        return False if held is None or (held == "" and name in TEXT_FIELDS) else held


def second(moment: datetime) -> str:
    """A time as Odoo writes it: UTC, whole seconds, no zone."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


DIALECT = Odoo
