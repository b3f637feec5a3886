"""Streams of SQL databases: what to read of a table tonight, and which records it lost.

Belongs here: the window of an increment, the key scan, what every database shares. Does not belong here: how one
database is asked (``postgresql``, ``mysql``, ``sqlite``).

The lower bound is the cursor minus ``lag``, inclusive; rows without a cursor value are read every time. The cursor
moves to the largest value that is not in the future, so that one wrong date far ahead hides nothing.

With ``page_rows`` a stream is read by keyset: page after page in the order of (cursor, key), up to the cursor that the
first snapshot showed. A lost connection goes on behind the last row that came. A snapshot ends with its connection, so
what is read then is as of a later one; a row that moved beyond the cursor meanwhile is read by the next load.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any, ClassVar, Protocol, cast
from urllib.parse import parse_qs, urlsplit

import polars as pl
from pydantic import Field, field_validator, model_validator

from orchestration.contracts.mapping import StrictModel
from orchestration.sources.config import Hidden, Secret, StreamConfig
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
"""Scheme of a DSN to the module that asks such a database: its ``connect`` and ``CATALOGUE``."""
INSIDE = "_inside"
_RETRIES = 3
"""Times that a lost connection is opened anew without a row in between."""


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
    password: Hidden | None = None
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
            _module_of(value)
        return value


class SqlOrigin(StrictModel):
    """``from`` of a stream: a table as ``schema.table``, spelled exactly, or a query.

    Attributes:
        table: The table.
        query: Any query; it is asked as a subquery.
        page_rows: Rows of one statement, in the order of cursor and key; none reads all by one statement.
    """

    NOT_READING: ClassVar[frozenset[str]] = frozenset({"page_rows"})
    """Keys that do not change what is read."""

    table: str | None = None
    query: str | None = None
    page_rows: int | None = Field(default=None, ge=1)

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


class PagedDatabase(Database, Protocol):
    """A database that is read over a network, whose streams can be read page by page."""

    def page(self, keyset: Keyset, after: Sequence[str] | None) -> Iterator[pl.DataFrame]:
        """The next rows in the order of cursor and key, behind the row with the values ``after``, as text."""

    def rest(self, keyset: Keyset) -> Iterator[pl.DataFrame]:
        """The rows of the window that no page brings: without cursor value or key, or from the future."""

    def count_at(self, keyset: Keyset, values: Sequence[str]) -> int:
        """Number of rows with these values of cursor and key."""


@dataclass(frozen=True)
class Keyset:
    """What is read page by page.

    Attributes:
        window: Which rows.
        upper: Largest cursor value that a page brings, inclusive; None where there is none to page by.
        columns: The cursor and the columns of the key: what pages are ordered by.
        rows: Most rows of a page.
    """

    window: Window
    upper: str | None
    columns: tuple[str, ...]
    rows: int


@dataclass
class _Session:
    """The database of a load, opened anew where its connection is lost and pages are read.

    Attributes:
        request: The load.
        open: Opens the database.
        database: The one that is open.
        types: Its columns.
    """

    request: ReadRequest
    open: Callable[[], Database]
    database: Database
    types: dict[str, str]

    def close(self) -> None:
        """Close what is open."""
        self.database.close()

    def reopen(self) -> None:
        """Open the database anew.

        Raises:
            SourceError: it is still down (transient), or its columns are not what they were.
        """
        self.database.close()
        self.database = self.open()
        if self.database.describe() != self.types:
            raise SourceError(
                f"{self.request.name}: the columns of {self.request.config.origin.label} changed while it was read; "
                "nothing was loaded. Try again",
                True,
            )


def read(request: ReadRequest) -> Delivery:
    """What is new in the stream since the cursor, or all of it.

    Raises:
        SourceError: transient where the database is down; otherwise names what to mend.
    """
    connection: SqlConnection = request.source.connection
    dsn = request.source.reveal(connection.dsn, request.settings.home)
    module = dialect(request.name, dsn)
    if request.config.origin.page_rows and not hasattr(module, "PAGES"):
        raise SourceError(
            f"{request.name}: page_rows is for databases that are read over a network; take it out of "
            f"streams.{request.stream}.from in {request.source.path}"
        )

    def connect() -> Database:
        database: Database = module.connect(request, dsn)
        return database

    session = _Session(request, connect, connect(), {})
    try:
        return _read(request, session)
    except BaseException:
        session.close()
        raise


def _read(request: ReadRequest, session: _Session) -> Delivery:
    database = session.database
    types = session.types = database.describe()
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
        free=session.close,
    )
    if request.window is None and window.field is not None and window.field in types:
        previous = request.previous
        before = previous.cursor_to if previous and previous.cursor_field == window.field and kind != "full" else None
        delivery.cursor_to = database.latest(window) or before
    delivery.batches = _batches(request, session, window, delivery)
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
    if request.why_everything is not None or previous is None:
        return Window(field=cursor.field, lag=cursor.lag, settle=cursor.settle), "full"
    return Window(cursor.field, previous.cursor_to, cursor.lag, cursor.settle), "incremental"


def _batches(request: ReadRequest, session: _Session, window: Window, delivery: Delivery) -> Iterator[Batch]:
    database = session.database
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
    rows_of = database.rows(window) if not request.config.origin.page_rows else _pages(session, window, delivery)
    for rows in rows_of:
        yield Batch(rows)
    if gone is not None and gone.height:
        yield Batch(gone, is_final=True)


def _pages(session: _Session, window: Window, delivery: Delivery) -> Iterator[pl.DataFrame]:
    """The rows of a window page by page; a lost connection goes on behind the last row that came."""
    request = session.request
    keyset = _keyset(request, session.types, window, delivery)

    def database() -> PagedDatabase:
        return cast("PagedDatabase", session.database)

    yield from database().rest(keyset)
    after: tuple[str, ...] | None = None
    failures, is_lost = 0, False
    while keyset.upper is not None or window.bounds is not None:
        count = 0
        try:
            if is_lost:
                session.reopen()
                is_lost = False
            for rows in database().page(keyset, after):
                yield rows
                count += rows.height
                after = rows.select(keyset.columns).row(-1)
                failures = 0
            if after is None or count < keyset.rows:
                return
            if database().count_at(keyset, after) != 1:
                raise SourceError(
                    f"{request.name}: {', '.join(keyset.columns[1:])} does not name one row of "
                    f"{request.config.origin.label} ({', '.join(after)} stands for several), so its pages would lose "
                    f"rows; correct streams.{request.stream}.primary_key in {request.source.path}, or take page_rows "
                    "out"
                )
        except SourceError as error:
            if not error.transient or failures >= _RETRIES:
                raise
            time.sleep(request.settings.retry_seconds * 2**failures)
            failures, is_lost = failures + 1, True


def _keyset(request: ReadRequest, types: Mapping[str, str], window: Window, delivery: Delivery) -> Keyset:
    config = request.config
    if window.field is None or not isinstance(config.primary_key, list):
        raise SourceError(
            f"{request.name}: page_rows needs a cursor and the fields of the key, which pages are ordered by; declare "
            f"both for streams.{request.stream} in {request.source.path}"
        )
    columns = (window.field, *(name for name in config.primary_key if name != window.field))
    if missing := [name for name in columns if name not in types]:
        raise SourceError(f"{request.name}: {config.origin.label} has no {', '.join(missing)}")
    return Keyset(window, delivery.cursor_to, columns, config.origin.page_rows)


def dialect(name: str, dsn: str) -> ModuleType:
    """The module that asks the database of ``dsn``; ``name`` is named in messages.

    Raises:
        SourceError: the database is none that is known.
    """
    try:
        return importlib.import_module(_module_of(dsn))
    except ValueError as error:
        raise SourceError(f"{name}: connection.dsn {error}") from error


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


def _module_of(dsn: str) -> str:
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
