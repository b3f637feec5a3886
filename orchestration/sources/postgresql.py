"""PostgreSQL, read by ``COPY … TO STDOUT`` in one read-only snapshot, every value cast to text by the server.

So that no value can fail on the way: NaN, infinite times, intervals, years before Christ, arrays, own types. Does not
belong here: which rows are wanted (``sql``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
from psycopg import pq, sql

from orchestration.sources.backfill import require_times, without_zone
from orchestration.sources.errors import SourceError, one_line
from orchestration.sources.kinds import ReadRequest
from orchestration.sources.sql import (
    INSIDE,
    Keyset,
    SqlConnection,
    Window,
    mend_cursor,
    require_time,
    unknown_table,
)

PAGES = True
CATALOGUE = """
    SELECT n.nspname || '.' || c.relname AS "table", a.attname::text AS "column",
        format_type(a.atttypid, NULL) AS "type", coalesce(a.attnum = ANY(i.indkey), false)::text AS "is_key",
        lpad(a.attnum::text, 5, '0') AS "position"
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
        AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
        AND has_table_privilege(c.oid, 'SELECT')
"""
"""Asks for the tables that may be read, with their columns."""
_CHUNK = 16 << 20
_TIMES = {"timestamp with time zone", "timestamp without time zone", "date"}
_WHOLE_NUMBERS = {"smallint", "integer", "bigint"}
_NUMBERS = _WHOLE_NUMBERS | {"numeric", "real", "double precision"}
_NOT_PASSING = ("password authentication", "does not exist", "no password supplied", "no pg_hba.conf entry")
_SESSION = (
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO, YMD'",
    "SET IntervalStyle = 'postgres'",
    "SET bytea_output = 'hex'",
    "SET extra_float_digits = 1",
    "SET lc_monetary = 'C'",
)


def connect(request: ReadRequest, dsn: str) -> PostgresDatabase:
    """Open the database of ``dsn``.

    Raises:
        SourceError: it cannot be reached (transient) or does not let us in.
    """
    config: SqlConnection = request.source.connection
    options: dict[str, str | int] = {
        "connect_timeout": config.connect_timeout_seconds,
        "application_name": "experience-warehouse",
        "client_encoding": "UTF8",
    }
    if config.password is not None:
        options["password"] = request.source.reveal(config.password, request.settings.home)
    try:
        connection = psycopg.connect(dsn, **options)  # type: ignore[arg-type]
    except psycopg.OperationalError as error:
        transient = not any(text in str(error) for text in _NOT_PASSING)
        mend = "is it running, and is the address right?" if transient else "correct user, password or database"
        raise SourceError(
            f"{request.name}: the database does not answer ({one_line(error)}); {mend}", transient
        ) from error
    except psycopg.Error:
        # The message of a DSN that cannot be read repeats the DSN with its password.
        raise SourceError(
            f"{request.name}: the DSN cannot be read; write postgresql://user@host:5432/database"
        ) from None
    return PostgresDatabase(request, connection, config)


class PostgresDatabase:
    """One snapshot of one stream's table or query."""

    def __init__(self, request: ReadRequest, connection: psycopg.Connection, config: SqlConnection) -> None:
        self._request = request
        self._connection = connection
        origin = request.config.origin
        if origin.table:
            self._relation: sql.Composable = sql.Identifier(*origin.table.split("."))
        else:
            query = sql.SQL(origin.query.strip().rstrip(";"))
            self._relation = sql.SQL("(\n{}\n)").format(query)
        self._types: dict[str, str] = {}
        self._nested: set[str] = set()
        with self._errors():
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            for statement in _SESSION:
                connection.execute(statement)
            timeout = int(config.statement_timeout_seconds * 1000)
            connection.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(timeout)))

    def describe(self) -> dict[str, str]:
        """Columns with their types, without length or precision."""
        with self._errors():
            cursor = self._connection.execute(sql.SQL("SELECT * FROM {} AS t LIMIT 0").format(self._relation))
            columns = [(column.name, column.type_code) for column in cursor.description or ()]
            found = self._connection.execute(
                "SELECT oid::int8, format_type(oid, NULL), typtype = 'c' OR (typcategory = 'A' AND typelem <> 0) "
                "FROM pg_type WHERE oid = ANY(%s)",
                [[oid for _, oid in columns]],
            ).fetchall()
        kinds = {oid: (str(name), bool(nested)) for oid, name, nested in found}
        names = [name for name, _ in columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SourceError(
                f"{self._request.name}: the query gives {', '.join(twice)} more than once; name them apart with AS"
            )
        self._types = {name: kinds[oid][0] for name, oid in columns}
        self._nested = {name for name, oid in columns if kinds[oid][1]}
        return dict(self._types)

    def check_window(self, window: Window) -> None:
        """Raise where the cursor has no order of change, or the lag does not fit it."""
        kind = self._types[str(window.field)]
        if kind not in _TIMES | _NUMBERS:
            raise mend_cursor(self._request, self._request.config, kind)
        if window.bounds is not None:
            require_times(self._request, window.bounds, kind in _TIMES)
        require_time(self._request, window, kind in _TIMES, kind)

    def lower_bound(self, window: Window) -> str | None:
        """The lower bound with the lag taken off, computed by the server."""
        if window.bounds is not None:
            return window.bounds[0]
        if window.lower is None:
            return None
        return self._one(sql.SQL("SELECT ({})::text").format(self._lower(window)))

    def latest(self, window: Window) -> str | None:
        """The largest cursor value that is neither in the future nor infinite nor NaN."""
        column = self._column(window)
        conditions = [self._finite(window)]
        if (settled := self._settled(window)) is not None:
            conditions.append(settled)
        if window.lower is not None:
            conditions.append(sql.SQL("{} >= {}").format(column, self._lower(window)))
        return self._one(
            sql.SQL("SELECT max({})::text FROM {} AS t WHERE {}").format(
                column, self._relation, sql.SQL(" AND ").join(conditions)
            )
        )

    def rows(self, window: Window) -> Iterator[pl.DataFrame]:
        """All columns as text."""
        query = sql.SQL("SELECT {} FROM {} AS t").format(
            sql.SQL(", ").join(self._as_text(name) for name in self._types), self._relation
        )
        condition = self._condition(window)
        if condition is not None:
            query = sql.SQL("{} WHERE {}").format(query, condition)
        yield from self._copy(query, list(self._types))

    def keys(self, key: Sequence[str], window: Window) -> Iterator[pl.DataFrame]:
        """Key columns of all rows, and whether each row is in the window."""
        condition = self._condition(window) or sql.SQL("true")
        query = sql.SQL("SELECT {}, coalesce({}, false)::text FROM {} AS t").format(
            sql.SQL(", ").join(self._as_text(name) for name in key), condition, self._relation
        )
        for frame in self._copy(query, [*key, INSIDE]):
            yield frame.with_columns(pl.col(INSIDE) == "true")

    def page(self, keyset: Keyset, after: Sequence[str] | None) -> Iterator[pl.DataFrame]:
        """The next rows in the order of cursor and key, as text."""
        ordered = sql.SQL(", ").join(map(self._named, keyset.columns))
        condition = self._paged(keyset)
        if after is not None:
            # Literals without a type are read as the columns' own.
            values = sql.SQL(", ").join(map(sql.Literal, after))
            condition = sql.SQL("{} AND ({}) > ({})").format(condition, ordered, values)
        query = sql.SQL("SELECT {} FROM {} AS t WHERE {} ORDER BY {} LIMIT {}").format(
            sql.SQL(", ").join(map(self._as_text, self._types)),
            self._relation,
            condition,
            ordered,
            sql.Literal(keyset.rows),
        )
        yield from self._copy(query, list(self._types))

    def rest(self, keyset: Keyset) -> Iterator[pl.DataFrame]:
        """The rows of the window that no page brings, as text."""
        query = sql.SQL("SELECT {} FROM {} AS t WHERE {} AND ({}) IS NOT TRUE").format(
            sql.SQL(", ").join(map(self._as_text, self._types)),
            self._relation,
            self._condition(keyset.window) or sql.SQL("true"),
            self._paged(keyset),
        )
        yield from self._copy(query, list(self._types))

    def count_at(self, keyset: Keyset, values: Sequence[str]) -> int:
        """Number of rows with these values of cursor and key."""
        query = sql.SQL("SELECT count(*)::text FROM {} AS t WHERE ({}) = ({})").format(
            self._relation,
            sql.SQL(", ").join(map(self._named, keyset.columns)),
            sql.SQL(", ").join(map(sql.Literal, values)),
        )
        return int(self._one(query) or 0)

    def close(self) -> None:
        """End the snapshot."""
        self._connection.close()

    def _as_text(self, name: str) -> sql.Composed:
        pattern = "to_json(t.{})::text" if name in self._nested else "t.{}::text"
        return sql.SQL(pattern).format(sql.Identifier(name))

    def _named(self, name: str) -> sql.Composed:
        return sql.SQL("t.{}").format(sql.Identifier(name))

    def _column(self, window: Window) -> sql.Composed:
        return self._named(str(window.field))

    def _paged(self, keyset: Keyset) -> sql.Composable:
        """Which rows pages bring: in the window, with cursor and key, up to the cursor of the first snapshot."""
        window = keyset.window
        parts: list[sql.Composable] = [
            sql.SQL("{} IS NOT NULL").format(self._named(name)) for name in keyset.columns[1:]
        ]
        if window.bounds is not None:
            parts.append(self._condition(window) or sql.SQL("true"))
        elif keyset.upper is None:
            return sql.SQL("false")
        else:
            column = self._column(window)
            parts.append(sql.SQL("{} <= {}").format(column, self._literal(keyset.upper, window)))
            if window.lower is not None:
                parts.append(sql.SQL("{} >= {}").format(column, self._lower(window)))
        return sql.SQL(" AND ").join(parts)

    def _literal(self, value: str, window: Window) -> sql.Composed:
        kind = self._types[str(window.field)]
        return sql.SQL("CAST({} AS {})").format(sql.Literal(value), sql.SQL(kind))

    def _lower(self, window: Window) -> sql.Composed:
        value = self._literal(str(window.lower), window)
        if isinstance(window.lag, timedelta):
            if not window.lag:
                return value
            return sql.SQL("{} - CAST({} AS interval)").format(
                value, sql.Literal(f"{window.lag.total_seconds():.6f} seconds")
            )
        if not window.lag:
            return value
        return sql.SQL("{} - CAST({} AS numeric)").format(
            sql.SQL("CAST({} AS numeric)").format(value), sql.Literal(f"{window.lag:.10g}")
        )

    def _condition(self, window: Window) -> sql.Composable | None:
        """Which rows are read; those without a cursor value always are."""
        if window.field is None:
            return None
        column = self._column(window)
        if window.bounds is not None:
            # The server drops the zone of an instant that it casts to a time without one.
            has_zone = self._types[str(window.field)] == "timestamp with time zone"
            first, last = (
                self._literal(bound if has_zone else without_zone(self._request, bound), window)
                for bound in window.bounds
            )
            return sql.SQL("{0} >= {1} AND {0} < {2}").format(column, first, last)
        conditions: list[sql.Composable] = []
        if window.lower is not None:
            conditions.append(sql.SQL("{} >= {}").format(column, self._lower(window)))
        if (settled := self._settled(window)) is not None:
            # A row from the future never settles; it is read every time, as one without a date is.
            conditions.append(sql.SQL("({} OR NOT {})").format(settled, self._finite(window)))
        if not conditions:
            return None
        return sql.SQL("({} IS NULL OR ({}))").format(column, sql.SQL(" AND ").join(conditions))

    def _settled(self, window: Window) -> sql.Composed | None:
        if window.settle is None:
            return None
        seconds = sql.Literal(f"{window.settle.total_seconds():.6f} seconds")
        return sql.SQL("{} <= {} - CAST({} AS interval)").format(self._column(window), self._now(window), seconds)

    def _finite(self, window: Window) -> sql.Composable:
        kind = self._types[str(window.field)]
        column = self._column(window)
        if kind in _TIMES:
            return sql.SQL("{} <= {}").format(column, self._now(window))
        if kind in _WHOLE_NUMBERS:
            return sql.SQL("{} IS NOT NULL").format(column)
        # NaN sorts behind infinity.
        return sql.SQL("{}::float8 < 'Infinity'::float8").format(column)

    def _now(self, window: Window) -> sql.Composed:
        if self._types[str(window.field)] == "timestamp with time zone":
            return sql.SQL("{}").format(sql.SQL("now()"))
        zone = sql.Literal(self._request.source.timezone)
        return sql.SQL("(now() AT TIME ZONE {})").format(zone)

    def _one(self, query: sql.Composed) -> str | None:
        with self._errors():
            row = self._connection.execute(query).fetchone()
        return None if row is None else row[0]

    def _copy(self, query: sql.Composed, names: list[str]) -> Iterator[pl.DataFrame]:
        statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(query).as_bytes(self._connection)
        libpq = self._connection.pgconn
        with self._errors():
            # A database without an encoding holds any bytes; as UTF-8 the server would refuse to send them.
            is_raw = libpq.parameter_status(b"server_encoding") == b"SQL_ASCII"
            if is_raw:
                libpq.exec_(b"SET client_encoding = 'SQL_ASCII'")
            # One call of libpq a row, without psycopg's own per-row work.
            started = libpq.exec_(statement)
            if started.status != pq.ExecStatus.COPY_OUT:
                raise psycopg.errors.error_from_result(started, encoding="utf-8")
            rows: list[bytes] = []
            size = 0
            while True:
                length, data = libpq.get_copy_data(0)
                if length < 0:
                    break
                rows.append(bytes(data))
                size += length
                if size >= _CHUNK:
                    yield _parse(b"".join(rows), names)
                    rows, size = [], 0
            while (ended := libpq.get_result()) is not None:
                if ended.status == pq.ExecStatus.FATAL_ERROR:
                    raise psycopg.errors.error_from_result(ended, encoding="utf-8")
            if is_raw:
                libpq.exec_(b"SET client_encoding = 'UTF8'")
            if rows:
                yield _parse(b"".join(rows), names)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Faults of the database as errors that name stream and mend."""
        request = self._request
        label = request.config.origin.label
        try:
            yield
        except psycopg.errors.UndefinedTable as error:
            if request.config.origin.table is None:
                raise SourceError(
                    f"{request.name}: {one_line(error)}; correct the query in {request.source.path}"
                ) from error
            raise unknown_table(request, self._tables()) from error
        except psycopg.errors.QueryCanceled as error:
            raise SourceError(
                f"{request.name}: {label} took longer than statement_timeout_seconds ({one_line(error)}); raise it in "
                f"{request.source.path}, or add an index on the cursor"
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise SourceError(
                f"{request.name}: {one_line(error)}; GRANT SELECT on it to the warehouse's user"
            ) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise SourceError(
                f"{request.name}: the connection was lost ({one_line(error)}); try again when the database is up", True
            ) from error
        except psycopg.Error as error:
            raise SourceError(
                f"{request.name}: {label} cannot be read ({one_line(error)}); correct streams.{request.stream} in "
                f"{request.source.path}"
            ) from error

    def _tables(self) -> list[str]:
        self._connection.rollback()
        found = self._connection.execute(
            "SELECT table_schema || '.' || table_name FROM information_schema.tables "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1 LIMIT 500"
        )
        return [row[0] for row in found]


def _parse(data: bytes, names: list[str]) -> pl.DataFrame:
    """Lines of COPY's CSV as text columns: an unquoted empty field is null, a quoted one is the empty text."""
    try:
        table = _read_csv(data, names)
    except pa.ArrowInvalid:
        # What is no UTF-8 is kept as \xNN.
        table = _read_csv(data.decode("utf-8", "backslashreplace").encode(), names)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _read_csv(data: bytes, names: list[str]) -> pa.Table:
    return pa_csv.read_csv(
        pa.BufferReader(data),
        read_options=pa_csv.ReadOptions(column_names=names, block_size=len(data) + 1),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
