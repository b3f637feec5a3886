"""SQLite, read by the standard library in one read-only transaction; every value as text.

Does not belong here: which rows are wanted (``sql``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from orchestration.sources.backfill import instant, require_times, without_zone
from orchestration.sources.errors import SourceError
from orchestration.sources.kinds import ReadRequest
from orchestration.sources.sql import INSIDE, SqlConnection, Window, mend_cursor, require_time, unknown_table

CATALOGUE = """
    SELECT m.name AS "table", p.name AS "column", lower(p.type) AS "type",
        CASE WHEN p.pk > 0 THEN 'true' ELSE 'false' END AS "is_key", printf('%05d', p.cid) AS "position"
    FROM sqlite_master m, pragma_table_info(m.name) p
    WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%'
"""
"""Asks for the tables that may be read, with their columns."""
_ROWS = 50_000


def connect(request: ReadRequest, dsn: str) -> SqliteDatabase:
    """Open the file of ``sqlite:///path``; a relative path starts at the YAML's folder.

    Raises:
        SourceError: the file does not exist or is no database.
    """
    path = request.source.expand(dsn.partition("://")[2].removeprefix("/"), request.settings.home)
    if not path.is_file():
        raise SourceError(
            f"{request.name}: database file {path} does not exist; correct connection.dsn in {request.source.path} "
            "(sqlite:////absolute/path, sqlite:///{home}/path, or relative to the YAML file)"
        )
    return SqliteDatabase(request, f"{path.resolve().as_uri()}?mode=ro")


class SqliteDatabase:
    """One snapshot of one stream's table or query."""

    def __init__(self, request: ReadRequest, uri: str) -> None:
        self._request = request
        config: SqlConnection = request.source.connection
        origin = request.config.origin
        self._table = str(origin.table or "").rpartition(".")[2]
        self._relation = _quoted(self._table) if origin.table else f"(\n{origin.query.strip().rstrip(';')}\n)"
        self._columns: dict[str, str] = {}
        self._sample: Any = None
        with self._errors():
            self._connection = sqlite3.connect(uri, uri=True, timeout=config.connect_timeout_seconds)
            # Text that is no UTF-8 must not fail the whole query.
            self._connection.text_factory = lambda data: str(data, "utf-8", "backslashreplace")
            self._connection.execute("BEGIN")

    def describe(self) -> dict[str, str]:
        """Columns with their declared types; those of a query have none."""
        with self._errors():
            if self._table and self._table not in self._tables():
                raise unknown_table(self._request, self._tables())
            cursor = self._connection.execute(f"SELECT * FROM {self._relation} LIMIT 0")
            names = [column[0] for column in cursor.description]
            declared = {
                row[1]: str(row[2]).lower()
                for row in (
                    self._connection.execute(f"PRAGMA table_info({_quoted(self._table)})") if self._table else ()
                )
            }
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SourceError(
                f"{self._request.name}: the query gives {', '.join(twice)} more than once; name them apart with AS"
            )
        self._columns = {name: declared.get(name, "") for name in names}
        return dict(self._columns)

    def check_window(self, window: Window) -> None:
        """Raise where the cursor is neither a number nor an ISO time, or the lag does not fit it."""
        column = _quoted(str(window.field))
        sample = self._one(f"SELECT max({column}) FROM {self._relation} WHERE {column} IS NOT NULL")
        if sample is None:
            return
        if isinstance(sample, str) and _moment(sample) is None:
            raise mend_cursor(self._request, self._request.config, f"a text such as {sample!r}")
        self._sample = sample
        if window.bounds is not None:
            require_times(self._request, window.bounds, isinstance(sample, str))
        require_time(
            self._request, window, isinstance(sample, str), "a time" if isinstance(sample, str) else "a number"
        )

    def lower_bound(self, window: Window) -> str | None:
        """The lower bound with the lag taken off."""
        if window.bounds is not None:
            return window.bounds[0]
        return None if window.lower is None else str(self._lower(window))

    def latest(self, window: Window) -> str | None:
        """The largest cursor value that is not in the future."""
        column = _quoted(str(window.field))
        conditions, values = [f"{column} IS NOT NULL"], []
        for bound in (self._now(timedelta(0)), self._now(window.settle)):
            if bound is not None:
                conditions.append(f"{column} <= ?")
                values.append(bound)
        found = self._one(f"SELECT max({column}) FROM {self._relation} WHERE {' AND '.join(conditions)}", values)
        return None if found is None else _as_text(found)

    def rows(self, window: Window) -> Iterator[pl.DataFrame]:
        """All columns as text."""
        condition, values = self._condition(window)
        names = list(self._columns)
        listed = ", ".join(map(_quoted, names))
        yield from self._fetch(f"SELECT {listed} FROM {self._relation} WHERE {condition}", values, names)

    def keys(self, key: Sequence[str], window: Window) -> Iterator[pl.DataFrame]:
        """Key columns of all rows, and whether each row is in the window."""
        condition, values = self._condition(window)
        listed = ", ".join(map(_quoted, key))
        query = f"SELECT {listed}, coalesce(({condition}), 0) FROM {self._relation}"
        for frame in self._fetch(query, values, [*key, INSIDE]):
            yield frame.with_columns(pl.col(INSIDE) == "1")

    def close(self) -> None:
        """End the snapshot."""
        self._connection.close()

    def _condition(self, window: Window) -> tuple[str, list[Any]]:
        if window.field is None:
            return "1", []
        column = _quoted(window.field)
        if window.bounds is not None:
            return f"{column} >= ? AND {column} < ?", [self._bound(bound) for bound in window.bounds]
        conditions, values = ["1"], []
        if window.lower is not None:
            conditions.append(f"{column} >= ?")
            values.append(self._lower(window))
        if (settled := self._now(window.settle)) is not None:
            # A row from the future never settles; it is read every time, as one without a date is.
            conditions.append(f"({column} <= ? OR {column} > ?)")
            values += [settled, self._now(timedelta(0))]
        return f"({column} IS NULL OR ({' AND '.join(conditions)}))", values

    def _bound(self, bound: str) -> Any:
        """A bound of a backfill, an instant in the column's own way of writing."""
        moment, sample = instant(bound), self._sample
        if moment is None or not isinstance(sample, str):
            return _typed(bound)
        zone = getattr(_moment(sample), "tzinfo", None)
        local = moment.astimezone(zone) if zone else datetime.fromisoformat(without_zone(self._request, bound))
        return _like(local, sample)

    def _lower(self, window: Window) -> Any:
        value = _typed(str(window.lower))
        if not window.lag:
            return value
        if isinstance(window.lag, timedelta):
            moment = _moment(str(window.lower))
            return value if moment is None else _like(moment - window.lag, str(window.lower))
        return value - window.lag

    def _now(self, settle: timedelta | None) -> str | None:
        """The present minus ``settle`` in the column's own way of writing; None for numbers."""
        if settle is None or not isinstance(self._sample, str):
            return None
        sample = _moment(self._sample)
        now = self._request.now.replace(tzinfo=ZoneInfo("UTC"))
        if sample is None or sample.tzinfo is None:
            local = now.astimezone(ZoneInfo(self._request.source.timezone)).replace(tzinfo=None)
            return _like(local - settle, self._sample)
        return _like(now.astimezone(sample.tzinfo) - settle, self._sample)

    def _fetch(self, query: str, values: Sequence[Any], names: list[str]) -> Iterator[pl.DataFrame]:
        with self._errors():
            cursor = self._connection.execute(query, values)
            while rows := cursor.fetchmany(_ROWS):
                yield pl.DataFrame(
                    [_text_series(name, column) for name, column in zip(names, zip(*rows, strict=True), strict=True)]
                )

    def _one(self, query: str, values: Sequence[Any] = ()) -> Any:
        with self._errors():
            return self._connection.execute(query, values).fetchone()[0]

    def _tables(self) -> list[str]:
        found = self._connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
        return [row[0] for row in found]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        request = self._request
        try:
            yield
        except sqlite3.OperationalError as error:
            busy = "locked" in str(error) or "busy" in str(error)
            raise SourceError(
                f"{request.name}: {request.config.origin.label} cannot be read ({error}); "
                + ("try again when its writer has finished" if busy else f"correct it in {request.source.path}"),
                busy,
            ) from error
        except sqlite3.Error as error:
            raise SourceError(
                f"{request.name}: the database is damaged or no SQLite file ({error}); restore it from a backup"
            ) from error


def _text_series(name: str, values: Sequence[Any]) -> pl.Series:
    if {type(value) for value in values} <= {str, type(None)}:
        return pl.Series(name, values, dtype=pl.String)
    return pl.Series(name, [None if value is None else _as_text(value) for value in values], dtype=pl.String)


def _as_text(value: Any) -> str:
    """Numbers in their shortest exact form, bytes in hex as PostgreSQL writes them."""
    return "\\x" + value.hex() if isinstance(value, bytes) else str(value)


def _typed(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _like(moment: datetime, sample: str) -> str:
    """``moment`` written as ``sample`` is, so that both compare as texts; seconds are rounded down."""
    if len(sample) == 10:
        return moment.date().isoformat()
    fraction = sample.partition(".")[2]
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    text = moment.replace(tzinfo=None).isoformat(sep=sample[10], timespec="microseconds")
    text = text[: 19 + (digits + 1 if digits else 0)]
    zone = sample[19 + (digits + 1 if digits else 0) :]
    return text + zone


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


__all__ = ["SqliteDatabase", "connect"]
