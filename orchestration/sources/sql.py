"""Streams of SQL databases: what to read of a table tonight, and which records it lost.

Belongs here: the window of an increment, the key scan, what every database shares. Does not belong here: how one
database is asked (``postgresql``, ``mysql``, ``sqlite``).

The lower bound is the cursor minus ``lag``, inclusive; rows without a cursor value are read every time. The cursor
moves to the largest value that is not in the future, so that one wrong date far ahead hides nothing.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import polars as pl
from pydantic import field_validator, model_validator

from orchestration.contracts.mapping import StrictModel
from orchestration.sources.config import Secret, StreamConfig
from orchestration.sources.errors import SourceError, suggest
from orchestration.sources.kinds import Batch, Delivery, ReadRequest, SourceKind
from orchestration.sources.landing import META_SCHEMA
from orchestration.sources.pii import protect
from orchestration.sources.vanished import landed_keys, vanished_rows

DIALECTS: Mapping[str, str] = {
    "postgresql": "orchestration.sources.postgresql",
    "postgres": "orchestration.sources.postgresql",
    "mysql": "orchestration.sources.mysql",
    "mariadb": "orchestration.sources.mysql",
    "sqlite": "orchestration.sources.sqlite",
}
"""Scheme of a DSN to the module whose ``Database`` asks it."""
INSIDE = "_inside"


class SqlConnection(StrictModel):
    """``connection`` of a source of type ``sql``.

    Attributes:
        dsn: ``postgresql://user@host/database``, ``mysql://user@host/database`` or ``sqlite:///path``; as a text it may
            hold no password.
        password: Where the password stands, if not in the DSN.
        statement_timeout_seconds: A query that runs longer fails; 0 for none.
        connect_timeout_seconds: A server that does not answer in time is down.
    """

    dsn: str | Secret
    password: Secret | None = None
    statement_timeout_seconds: float = 3600
    connect_timeout_seconds: int = 10

    @field_validator("dsn")
    @classmethod
    def _no_literal_password(cls, value: str | Secret) -> str | Secret:
        if isinstance(value, str):
            parts = urlsplit(value)
            if parts.password or "password" in parse_qs(parts.query) or re.search(r"\bpassword\s*=", value):
                raise ValueError(
                    "a password in the file would be read by everybody who can read it; write dsn: {env: NAME}, or the "
                    "dsn without the password and password: {env: NAME}"
                )
            _dialect(value)
        return value

    @field_validator("password", mode="before")
    @classmethod
    def _only_a_reference(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("is written out; write {env: NAME} or {file: path} and put the password there")
        return value


class SqlOrigin(StrictModel):
    """``from`` of a stream: a table as ``schema.table``, spelled exactly, or a query."""

    table: str | None = None
    query: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> SqlOrigin:
        if (self.table is None) == (self.query is None):
            raise ValueError("give exactly one of 'table' and 'query'")
        return self

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"table {self.table}" if self.table else "query"


@dataclass(frozen=True)
class Window:
    """Which rows to read.

    Attributes:
        field: Cursor column; None reads everything.
        lower: Lower bound, inclusive, before the lag is taken off; None for no bound.
        lag: Taken off ``lower``.
        settle: Rows younger than this wait.
        bounds: Both bounds of a backfill, instead of all others; such rows alone are read.
    """

    field: str | None = None
    lower: str | None = None
    lag: timedelta | float = timedelta(0)
    settle: timedelta | None = None
    bounds: tuple[str, str] | None = None


class Database(Protocol):
    """One open database, read only, one snapshot for all that is asked."""

    def describe(self) -> dict[str, str]:
        """Columns of the stream with their types as the database names them ('' where it does not say)."""

    def check_window(self, window: Window) -> None:
        """Raise ``SourceError`` where the cursor column cannot be used."""

    def lower_bound(self, window: Window) -> str | None:
        """The lower bound with the lag taken off."""

    def latest(self, window: Window) -> str | None:
        """The largest cursor value in the window that is not in the future."""

    def rows(self, window: Window) -> Iterator[pl.DataFrame]:
        """All columns of the rows in the window, as text."""

    def keys(self, key: Sequence[str], window: Window) -> Iterator[pl.DataFrame]:
        """The key columns of all rows, as text, and ``_inside`` (Boolean): whether the row is in the window."""

    def close(self) -> None:
        """Give the connection back."""


def read(request: ReadRequest) -> Delivery:
    """What is new in the stream since the cursor, or all of it.

    Raises:
        SourceError: transient where the database is down; otherwise names what to mend.
    """
    connection: SqlConnection = request.source.connection
    dsn = request.source.reveal(connection.dsn, request.settings.home)
    module = importlib.import_module(_dialect(dsn))
    database: Database = module.connect(request, dsn)
    try:
        return _read(request, database)
    except BaseException:
        database.close()
        raise


def _read(request: ReadRequest, database: Database) -> Delivery:
    types = database.describe()
    if reserved := [name for name in types if name in META_SCHEMA or name == INSIDE]:
        raise SourceError(
            f"{request.name}: {request.config.origin.label} has columns named {', '.join(reserved)}, which the landing "
            "uses itself; rename them by a query"
        )
    window, kind = _window(request, types)
    lower = None
    if window.field is not None and window.field in types:
        database.check_window(window)
        lower = database.lower_bound(window)
    delivery = Delivery(
        kind=kind,
        columns=tuple(types),
        source_types={name: kind_ for name, kind_ in types.items() if kind_},
        cursor_from=lower,
        cursor_field=window.field,
        close=database.close,
    )
    if request.window is None and window.field is not None and window.field in types:
        previous = request.previous
        before = previous.cursor_to if previous and previous.cursor_field == window.field and kind != "full" else None
        delivery.cursor_to = database.latest(window) or before
    delivery.batches = _batches(request, database, window, delivery)
    return delivery


def _window(request: ReadRequest, types: Mapping[str, str]) -> tuple[Window, Any]:
    cursor = request.config.cursor
    if request.window is not None:
        if cursor is None:
            raise SourceError(f"{request.name}: a backfill needs a cursor in {request.source.path}; add one")
        return Window(field=cursor.field, bounds=request.window), "backfill"
    if cursor is None:
        return Window(), "full"
    previous = request.previous
    is_known = (
        previous is not None
        and previous.cursor_to is not None
        and previous.cursor_field == cursor.field
        and previous.config_hash == request.config.config_hash
        # A column mapped since then has no values in what was landed before it came.
        and all(name in previous.columns for name in request.config.declared_columns())
    )
    if not is_known or previous is None:
        return Window(field=cursor.field, lag=cursor.lag, settle=cursor.settle), "full"
    return Window(cursor.field, previous.cursor_to, cursor.lag, cursor.settle), "incremental"


def _batches(request: ReadRequest, database: Database, window: Window, delivery: Delivery) -> Iterator[Batch]:
    gone: pl.DataFrame | None = None
    deletes = request.config.deletes
    if deletes.strategy == "key_scan" and request.window is None and isinstance(request.config.primary_key, list):
        key = request.config.primary_key
        actions = request.config.pii_actions()
        found = [
            request.screen(protect(keys, actions, request.settings.hmac_key, request.name))
            for keys in database.keys(key, window)
        ]
        present = pl.concat(found) if found else pl.DataFrame(schema=dict.fromkeys(key, pl.String))
        landed = landed_keys(request)
        gone = vanished_rows(request, present, max_share=deletes.max_vanish_share, landed=landed)
        if delivery.kind == "incremental" and window.settle is None:
            # Present, outside of the window and never landed alive: committed later than the lag, or restored with
            # an old date. Only reading everything brings them.
            unseen = present.filter(~pl.col(INSIDE)).join(
                landed.filter(~pl.col("_deleted")), on=key, how="anti", nulls_equal=True
            )
            if unseen.height:
                window = Window(field=window.field)
                delivery.kind, delivery.cursor_from = "full", None
    for rows in database.rows(window):
        yield Batch(rows)
    if gone is not None and gone.height:
        yield Batch(gone, is_final=True)


def unknown_table(request: ReadRequest, known: Sequence[str]) -> SourceError:
    """The error for a table that does not exist, with the nearest that does."""
    table = str(request.config.origin.table)
    return SourceError(
        f"{request.name}: table {table!r} does not exist, or may not be seen; {suggest(table, known, 'tables')} "
        "Correct "
        f"streams.{request.stream}.from in {request.source.path}"
    )


def require_time(request: ReadRequest, window: Window, is_time: bool, kind: str) -> None:
    """Fail where ``lag`` and the cursor's type do not fit together.

    Raises:
        SourceError: a duration for a number, or a number for a time.
    """
    lag = window.lag
    wrong = (is_time and isinstance(lag, float) and lag != 0) or (not is_time and isinstance(lag, timedelta) and lag)
    if wrong or (window.settle is not None and not is_time):
        fitting = "a duration such as 15m" if is_time else "a number such as 1000 (and no settle)"
        raise SourceError(
            f"{request.name}: cursor {window.field!r} is {kind or 'a number'}, so lag is {fitting}; correct "
            f"streams.{request.stream}.cursor in {request.source.path}"
        )


def mend_cursor(request: ReadRequest, config: StreamConfig, kind: str) -> SourceError:
    """The error for a cursor column of a type that has no order of change."""
    field = config.cursor.field if config.cursor else ""
    return SourceError(
        f"{request.name}: cursor {field!r} is {kind}; a cursor is a date, a time or a number. Cast it in a query "
        f"(from: {{query: …}}), or take the cursor out of streams.{request.stream} in {request.source.path}"
    )


def _dialect(dsn: str) -> str:
    scheme = dsn.partition("://")[0].lower()
    if scheme not in DIALECTS:
        # The text itself may hold a secret and is not shown.
        raise ValueError(f"is no DSN of a known database: begin with {' or '.join(f'{name}://' for name in DIALECTS)}")
    return DIALECTS[scheme]


KIND = SourceKind(
    name="sql",
    connection=SqlConnection,
    origin=SqlOrigin,
    read=read,
    deletes=("none", "soft_flag", "tombstone", "key_scan"),
    has_cursor=True,
    has_position=False,
)
