"""The part of SOQL that an extraction uses: columns, conditions, order, limit.

Belongs here: text of a query to a plan over plain dictionaries. Does not belong here: where the records come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<time>\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d))|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z_][\w.]*(?:\(\))?)|(?P<sign><=|>=|!=|<>|[=<>(),]))"
)
RESERVED = {"SELECT", "FROM", "WHERE", "ORDER", "BY", "LIMIT", "AND", "OR", "NOT", "ASC", "DESC", "NULLS", "IN", "LIKE"}
Row = Mapping[str, Any]


class QueryError(Exception):
    """The query cannot be read; the text is Salesforce's kind of message."""


@dataclass
class Query:
    """A query that was read.

    Attributes:
        columns: What is selected.
        table: Object that is read.
        fits: Whether a row is wanted.
        order: Column and whether it goes down, the first one first.
        limit: At most so many rows.
        names: Every column that the query names.
    """

    columns: list[str]
    table: str
    fits: Callable[[Row], bool]
    order: list[tuple[str, bool]]
    limit: int | None
    names: set[str]

    def run(self, rows: list[Row]) -> list[Row]:
        """The rows that are wanted, in their order; nulls come first."""
        found = [row for row in rows if self.fits(row)]
        for name, is_down in reversed(self.order):
            found.sort(key=lambda row: (row[name] is not None, row[name]), reverse=is_down)
        return found if self.limit is None else found[: self.limit]


def read_time(text: str) -> datetime:
    """A time as SOQL writes it."""
    return datetime.fromisoformat(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text.replace("Z", "+00:00")))


def read_query(text: str) -> Query:
    """Read a query.

    Raises:
        QueryError: it cannot be read.
    """
    return _Reader(text).query()


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.names: set[str] = set()
        position, text = 0, text.rstrip()
        while position < len(text):
            match = TOKEN.match(text, position)
            if match is None:
                raise QueryError(f"unexpected token: '{text[position : position + 10].strip()}'")
            kind = match.lastgroup or ""
            self.tokens.append((kind, match[kind]))
            position = match.end()

    def peek(self) -> str:
        return self.tokens[0][1].upper() if self.tokens else ""

    def take(self, *expected: str) -> str:
        if not self.tokens or (expected and self.peek() not in expected):
            raise QueryError(f"unexpected token: '{self.peek() or '<EOF>'}'")
        return self.tokens.pop(0)[1]

    def found(self, word: str) -> bool:
        if self.peek() == word:
            self.take()
            return True
        return False

    def name(self) -> str:
        if not self.tokens or self.tokens[0][0] != "word" or self.peek() in RESERVED:
            raise QueryError(f"unexpected token: '{self.peek() or '<EOF>'}'")
        name = self.take()
        self.names.add(name)
        return name

    def query(self) -> Query:
        self.take("SELECT")
        columns = [self.name()]
        while self.found(","):
            columns.append(self.name())
        self.take("FROM")
        table = self.take()
        fits: Callable[[Row], bool] = lambda row: True  # noqa: E731
        if self.found("WHERE"):
            fits = self.either()
        order: list[tuple[str, bool]] = []
        if self.found("ORDER"):
            self.take("BY")
            while True:
                name = self.name()
                is_down = self.peek() in {"ASC", "DESC"} and self.take().upper() == "DESC"
                if self.found("NULLS"):
                    self.take("FIRST", "LAST")
                order.append((name, is_down))
                if not self.found(","):
                    break
        limit = int(self.take()) if self.found("LIMIT") else None
        if self.tokens:
            raise QueryError(f"unexpected token: '{self.peek()}'")
        return Query(columns, table, fits, order, limit, self.names - {"count()", "COUNT()"})

    def either(self) -> Callable[[Row], bool]:
        terms = [self.both()]
        while self.found("OR"):
            terms.append(self.both())
        return terms[0] if len(terms) == 1 else lambda row: any(term(row) for term in terms)

    def both(self) -> Callable[[Row], bool]:
        terms = [self.one()]
        while self.found("AND"):
            terms.append(self.one())
        return terms[0] if len(terms) == 1 else lambda row: all(term(row) for term in terms)

    def one(self) -> Callable[[Row], bool]:
        if self.found("NOT"):
            inner = self.one()
            return lambda row: not inner(row)
        if self.found("("):
            inner = self.either()
            self.take(")")
            return inner
        name = self.name()
        operator = self.take("=", "!=", "<>", "<", "<=", ">", ">=", "IN", "NOT", "LIKE").upper()
        if operator == "NOT":
            self.take("IN")
            operator = "NOT IN"
        if operator.endswith("IN"):
            self.take("(")
            values = [self.value()]
            while self.found(","):
                values.append(self.value())
            self.take(")")
            return lambda row: (_same(name, row[name]) in [_same(name, one) for one in values]) == (operator == "IN")
        value = self.value()
        return lambda row: _compare(name, row[name], operator, value)

    def value(self) -> Any:
        kind, text = self.tokens.pop(0) if self.tokens else ("", "")
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", text[1:-1])
        if kind == "time":
            return read_time(text)
        if kind == "number":
            return float(text) if "." in text else int(text)
        if text.upper() in {"TRUE", "FALSE"}:
            return text.upper() == "TRUE"
        if text.upper() == "NULL":
            return None
        raise QueryError(f"unexpected token: '{text or '<EOF>'}'")


def _same(name: str, value: Any) -> Any:
    """Ids are compared by their first 15 characters; other text without regard to case."""
    if not isinstance(value, str):
        return value
    return value[:15] if name.endswith("Id") else value.lower()


def _compare(name: str, held: Any, operator: str, value: Any) -> bool:
    left, right = _same(name, held), _same(name, value)
    if operator == "=":
        return bool(left == right)
    if operator in {"!=", "<>"}:
        return bool(left != right)
    if left is None or right is None:
        return False
    if operator == "LIKE":
        return re.fullmatch(re.escape(right).replace("%", ".*").replace("_", "."), left) is not None
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])
