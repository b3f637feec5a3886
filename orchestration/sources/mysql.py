"""MySQL and MariaDB, read in one read-only snapshot; every value as the server's own text.

The server sends all values as text, so none can fail: zero dates, times beyond a day, unsigned numbers. Bytes
(``BLOB``, ``BINARY``, ``GEOMETRY``) become hex, ``BIT`` its digits. Does not belong here: which rows are wanted
(``sql``), and how an answer is taken apart (``mysql_rows``).
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo

import polars as pl
import pymysql
from pymysql.constants import CR, ER, FIELD_TYPE, FLAG
from pymysql.cursors import SSCursor

from orchestration.sources.backfill import instant, require_times, without_zone
from orchestration.sources.errors import SourceError, one_line, suggest
from orchestration.sources.kinds import ReadRequest
from orchestration.sources.mysql_rows import ServerFaultError, columns, packets
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
    SELECT table_name AS `table`, column_name AS `column`, data_type AS `type`,
        CASE WHEN column_key = 'PRI' THEN 'true' ELSE 'false' END AS `is_key`,
        lpad(ordinal_position, 5, '0') AS `position`
    FROM information_schema.columns WHERE table_schema = DATABASE()
"""
"""Asks for the tables that may be read, with their columns."""
_CHUNK = 16 << 20
_READ = 1 << 18
_BINARY_CHARSET = 63
_TIMES = {"timestamp", "datetime", "date"}
_FIRST_DAY = datetime(1, 1, 1)
"""What lies before is no date (``0000-00-00``)."""
_OPTIONS = ("charset", "ssl", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket")
_SSL = ("disabled", "preferred", "required", "verify_ca", "verify_identity")
_KINDS = {
    FIELD_TYPE.TINY: "tinyint",
    FIELD_TYPE.SHORT: "smallint",
    FIELD_TYPE.INT24: "mediumint",
    FIELD_TYPE.LONG: "int",
    FIELD_TYPE.LONGLONG: "bigint",
    FIELD_TYPE.DECIMAL: "decimal",
    FIELD_TYPE.NEWDECIMAL: "decimal",
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.DOUBLE: "double",
    FIELD_TYPE.TIMESTAMP: "timestamp",
    FIELD_TYPE.DATETIME: "datetime",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.NEWDATE: "date",
    FIELD_TYPE.TIME: "time",
    FIELD_TYPE.YEAR: "year",
    FIELD_TYPE.BIT: "bit",
    FIELD_TYPE.JSON: "json",
    FIELD_TYPE.GEOMETRY: "geometry",
}
_NUMBERS = {"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double"}
_SESSION = (
    # Of the quoting and the dates that queries are written with, whatever the server's default is.
    "SET SESSION sql_mode = ''",
    "SET SESSION time_zone = '+00:00'",
    # While parts are written to a slow disk nobody reads; the default of a minute would end the connection.
    "SET SESSION net_write_timeout = 3600",
    # A list cut short would be wrong without a word.
    "SET SESSION group_concat_max_len = 1073741824",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION TRANSACTION READ ONLY",
)
_NO_ENTRY = {ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.BAD_DB_ERROR}
_NO_GRANT = {ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR}
_TOO_LONG = {1969, 3024}
"""Error numbers of MariaDB and MySQL for a statement beyond its time."""
_LOST = {
    CR.CR_SERVER_GONE_ERROR,
    CR.CR_SERVER_LOST,
    CR.CR_CONN_HOST_ERROR,
    ER.SERVER_SHUTDOWN,
    ER.QUERY_INTERRUPTED,
    ER.LOCK_WAIT_TIMEOUT,
    ER.CON_COUNT_ERROR,
    1927,
}
"""Error numbers that may pass; the last is MariaDB's for a connection that was killed."""


def connect(request: ReadRequest, dsn: str) -> MysqlDatabase:
    """Open the database of ``mysql://user@host:3306/database?ssl=required``.

    Raises:
        SourceError: it cannot be reached (transient), does not let us in, or the DSN cannot be read.
    """
    config: SqlConnection = request.source.connection
    options = _options(request, dsn)
    if config.password is not None:
        options["password"] = request.source.reveal(config.password, request.settings.home).encode()
    if config.statement_timeout_seconds:
        # A server that vanished without a word is noticed some time after it would have ended the statement.
        options["read_timeout"] = config.statement_timeout_seconds + 60
    try:
        connection = pymysql.connect(
            connect_timeout=config.connect_timeout_seconds,
            program_name="experience-warehouse",
            cursorclass=SSCursor,
            autocommit=True,
            **options,
        )
    except pymysql.MySQLError as error:
        transient = _number(error) in _LOST and "CERTIFICATE" not in str(error)
        mend = "is it running, and is the address right?" if transient else "correct user, password, database or ssl"
        raise SourceError(
            f"{request.name}: the database does not answer ({_line(error)}); {mend}", transient
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise SourceError(
            f"{request.name}: the database does not answer ({_line(error)}); correct the certificates or the charset "
            "in the DSN"
        ) from error
    try:
        return MysqlDatabase(request, connection, config)
    except BaseException:
        connection.close()
        raise


class MysqlDatabase:
    """One snapshot of one stream's table or query."""

    def __init__(self, request: ReadRequest, connection: Any, config: SqlConnection) -> None:
        self._request = request
        self._connection = connection
        origin = request.config.origin
        if origin.table:
            self._relation = ".".join(map(_quoted, origin.table.split(".")))
        else:
            self._relation = f"(\n{origin.query.strip().rstrip(';')}\n)"
        self._types: dict[str, str] = {}
        self._widths: dict[str, int] = {}
        limit = config.statement_timeout_seconds
        is_mariadb = "mariadb" in str(connection.server_version).lower()
        timeout = f"max_statement_time = {limit:f}" if is_mariadb else f"max_execution_time = {int(limit * 1000)}"
        with self._errors():
            for statement in (*_SESSION, f"SET SESSION {timeout}"):
                connection.query(statement)
            connection.query("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        self._begin = datetime.fromisoformat(str(self._one("SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)")))

    def describe(self) -> dict[str, str]:
        """Columns with their types, without length or precision; ``unsigned`` is said."""
        with self._errors(), self._connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {self._relation} AS t LIMIT 0")
            fields = list(cursor._result.fields)
        names = [field.name for field in fields]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise self._twice(twice)
        self._types = {field.name: _kind(field) for field in fields}
        self._widths = {field.name: field.length for field in fields}
        return dict(self._types)

    def check_window(self, window: Window) -> None:
        """Raise where the cursor has no order of change, or the lag does not fit it."""
        kind = self._types[str(window.field)]
        if not self._is_time(window) and kind.partition(" ")[0] not in _NUMBERS:
            raise mend_cursor(self._request, self._request.config, kind)
        if window.bounds is not None:
            require_times(self._request, window.bounds, self._is_time(window))
        require_time(self._request, window, self._is_time(window), kind)

    def lower_bound(self, window: Window) -> str | None:
        """The lower bound with the lag taken off."""
        if window.bounds is not None:
            return window.bounds[0]
        return None if window.lower is None else self._lower(window)

    def latest(self, window: Window) -> str | None:
        """The largest cursor value that is a date and not in the future."""
        conditions = [self._usable(window)]
        if (settled := self._settled(window)) is not None:
            conditions.append(settled)
        if window.lower is not None:
            conditions.append(f"{self._column(window)} >= {self._literal(self._lower(window), window)}")
        return self._one(
            f"SELECT max({self._column(window)}) FROM {self._relation} AS t WHERE {' AND '.join(conditions)}"
        )

    def rows(self, window: Window) -> Iterator[pl.DataFrame]:
        """All columns as text."""
        query = f"SELECT {', '.join(map(self._selected, self._types))} FROM {self._relation} AS t"
        condition = self._condition(window)
        yield from self._fetch(query if condition is None else f"{query} WHERE {condition}", list(self._types))

    def keys(self, key: Sequence[str], window: Window) -> Iterator[pl.DataFrame]:
        """Key columns of all rows, and whether each row is in the window."""
        selected = ", ".join(map(self._selected, key))
        inside = f"coalesce({self._condition(window) or 'true'}, false)"
        query = f"SELECT {selected}, {inside} AS {_quoted(INSIDE)} FROM {self._relation} AS t"
        for frame in self._fetch(query, [*key, INSIDE]):
            yield frame.with_columns(pl.col(INSIDE) == "1")

    def page(self, keyset: Keyset, after: Sequence[str] | None) -> Iterator[pl.DataFrame]:
        """The next rows in the order of cursor and key, as text."""
        ordered = [f"t.{_quoted(name)}" for name in keyset.columns]
        condition = self._paged(keyset)
        if after is not None:
            values = [self._key_literal(name, value) for name, value in zip(keyset.columns, after, strict=True)]
            # Written out, since the server finds no index for (a, b) > (1, 2).
            behind = "false"
            for column, value in reversed(list(zip(ordered, values, strict=True))):
                behind = f"{column} > {value} OR ({column} = {value} AND ({behind}))"
            condition += f" AND {ordered[0]} >= {values[0]} AND ({behind})"
        selected = ", ".join(map(self._selected, self._types))
        query = f"SELECT {selected} FROM {self._relation} AS t WHERE {condition} ORDER BY {', '.join(ordered)}"
        yield from self._fetch(f"{query} LIMIT {keyset.rows}", list(self._types))

    def rest(self, keyset: Keyset) -> Iterator[pl.DataFrame]:
        """The rows of the window that no page brings, as text."""
        for name in keyset.columns:
            if self._types[name] in {"enum", "set", "float", "json", "bit", "geometry"}:
                raise SourceError(
                    f"{self._request.name}: pages cannot be ordered by {name!r}, which is {self._types[name]}; take "
                    f"page_rows out of streams.{self._request.stream}.from in {self._request.source.path}"
                )
        selected = ", ".join(map(self._selected, self._types))
        condition = self._condition(keyset.window) or "true"
        query = (
            f"SELECT {selected} FROM {self._relation} AS t WHERE {condition} AND ({self._paged(keyset)}) IS NOT TRUE"
        )
        yield from self._fetch(query, list(self._types))

    def count_at(self, keyset: Keyset, values: Sequence[str]) -> int:
        """Number of rows with these values of cursor and key."""
        equal = [
            f"t.{_quoted(name)} = {self._key_literal(name, value)}"
            for name, value in zip(keyset.columns, values, strict=True)
        ]
        return int(self._one(f"SELECT count(*) FROM {self._relation} AS t WHERE {' AND '.join(equal)}") or 0)

    def close(self) -> None:
        """End the snapshot; an answer that was not read to its end is not waited for."""
        self._connection._force_close()

    def _selected(self, name: str) -> str:
        # Of a single the server shows six digits; as a double it shows all that there are.
        column = f"t.{_quoted(name)}"
        return f"{column} + 0e0 AS {_quoted(name)}" if self._types[name].startswith("float") else column

    def _column(self, window: Window) -> str:
        name = str(window.field)
        return f"(t.{_quoted(name)} + 0e0)" if self._types[name].startswith("float") else f"t.{_quoted(name)}"

    def _is_time(self, window: Window) -> bool:
        return self._types[str(window.field)] in _TIMES

    def _literal(self, value: str, window: Window) -> str:
        """A cursor value as the server writes it, in SQL."""
        if self._is_time(window):
            moment = datetime.fromisoformat(value.removesuffix("+00"))
            return f"TIMESTAMP'{moment.isoformat(sep=' ')}'"
        try:
            return f"{Decimal(value):f}"
        except InvalidOperation:
            raise SourceError(
                f"{self._request.name}: {value!r} is no value of the cursor {window.field!r}, which is a number"
            ) from None

    def _lower(self, window: Window) -> str:
        value = str(window.lower)
        if not window.lag:
            return value
        if isinstance(window.lag, timedelta):
            plain = value.removesuffix("+00")
            moment = datetime.fromisoformat(plain) - window.lag
            return moment.isoformat(sep=" ") + value[len(plain) :]
        return f"{Decimal(value) - Decimal(repr(window.lag)):f}"

    def _key_literal(self, name: str, value: str) -> str:
        """A value of a key as it was landed, in SQL."""
        kind = self._types[name]
        if kind.partition(" ")[0] in _NUMBERS:
            return value
        if kind in {"blob", "varbinary"}:
            return f"x'{value[2:]}'"
        text: str = self._connection.escape(value.removesuffix("+00") if kind == "timestamp" else value)
        return text

    def _paged(self, keyset: Keyset) -> str:
        """Which rows pages bring: in the window, with cursor and key, up to the cursor of the first snapshot."""
        window = keyset.window
        parts = [f"t.{_quoted(name)} IS NOT NULL" for name in keyset.columns[1:]]
        if window.bounds is not None:
            parts.append(self._condition(window) or "true")
        elif keyset.upper is None:
            return "false"
        else:
            column = self._column(window)
            first = self._literal(self._lower(window), window) if window.lower is not None else None
            if first is None and self._is_time(window):
                first = self._moment(_FIRST_DAY)
            parts.append(f"{column} <= {self._literal(keyset.upper, window)}")
            if first is not None:
                parts.append(f"{column} >= {first}")
        return " AND ".join(parts)

    def _condition(self, window: Window) -> str | None:
        """Which rows are read; those without a cursor value always are."""
        if window.field is None:
            return None
        column = self._column(window)
        if window.bounds is not None:
            first, last = (self._literal(self._bound(bound, window), window) for bound in window.bounds)
            return f"{column} >= {first} AND {column} < {last}"
        conditions = []
        if window.lower is not None:
            conditions.append(f"{column} >= {self._literal(self._lower(window), window)}")
        if (settled := self._settled(window)) is not None:
            # A row from the future never settles; it is read every time, as one without a date is.
            conditions.append(f"({settled} OR NOT {self._usable(window)})")
        if not conditions:
            return None
        without = f"{column} IS NULL"
        if self._is_time(window):
            without += f" OR {column} < {self._moment(_FIRST_DAY)}"
        return f"({without} OR ({' AND '.join(conditions)}))"

    def _bound(self, bound: str, window: Window) -> str:
        """A bound of a backfill in the time of the column: UTC for ``timestamp``, else that of the source."""
        if self._types[str(window.field)] != "timestamp":
            return without_zone(self._request, bound)
        moment = instant(bound)
        return bound if moment is None else moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ")

    def _settled(self, window: Window) -> str | None:
        if window.settle is None:
            return None
        return f"{self._column(window)} <= {self._moment(self._now(window) - window.settle)}"

    def _usable(self, window: Window) -> str:
        column = self._column(window)
        if not self._is_time(window):
            return f"{column} IS NOT NULL"
        return f"({column} >= {self._moment(_FIRST_DAY)} AND {column} <= {self._moment(self._now(window))})"

    def _now(self, window: Window) -> datetime:
        """When the snapshot began, as the column counts: UTC for ``timestamp``, else the source's local time."""
        if self._types[str(window.field)] == "timestamp":
            return self._begin
        zone = ZoneInfo(self._request.source.timezone)
        return self._begin.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)

    @staticmethod
    def _moment(moment: datetime) -> str:
        return f"TIMESTAMP'{moment.isoformat(sep=' ', timespec='microseconds')}'"

    def _one(self, query: str) -> str | None:
        frames = list(self._fetch(query, ["value"]))
        return frames[0].item(0, 0) if frames else None

    def _fetch(self, query: str, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        with self._errors():
            self._connection.query(query, unbuffered=True)
            result = self._connection._result
            # What follows the description of the columns is taken from the stream itself, not row by row.
            result.unbuffered_active = False
            fields = list(result.fields)
            stream = self._connection._rfile
            try:
                for rows in packets(lambda: stream.read1(_READ), _CHUNK):
                    cells = columns(rows, len(fields))
                    yield pl.DataFrame(
                        [
                            self._text(name, field, cell).alias(name)
                            for name, field, cell in zip(names, fields, cells, strict=True)
                        ]
                    )
            except ServerFaultError as message:
                pymysql.err.raise_mysql_exception(message.args[0])
            except OSError as error:
                raise pymysql.OperationalError(CR.CR_SERVER_LOST, str(error)) from error

    def _text(self, name: str, field: Any, cells: pl.Series) -> pl.Series:
        """The values of one column as they are landed."""
        if field.type_code == FIELD_TYPE.BIT:
            distinct = cells.drop_nulls().unique()
            digits = [f"{int.from_bytes(value, 'big'):0{field.length}b}" for value in distinct]
            return cells.replace_strict(distinct, pl.Series(digits, dtype=pl.String), return_dtype=pl.String)
        if _is_bytes(field):
            return pl.select(pl.lit("\\x") + pl.lit(cells).bin.encode("hex")).to_series()
        texts = _decoded(cells)
        kind = self._types.get(name, "")
        if kind.startswith("float"):
            # The shortest text that is read as the same single again.
            return texts.cast(pl.Float64).cast(pl.Float32).cast(pl.String).str.replace(r"\.0$", "")
        if field.type_code == FIELD_TYPE.TIMESTAMP:
            # The session is in UTC; 0000-00-00 is no instant.
            frame = texts.alias("text").to_frame()
            is_instant = ~pl.col("text").str.starts_with("0000")
            return frame.select(pl.when(is_instant).then(pl.col("text") + "+00").otherwise("text")).to_series()
        return texts

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Faults of the database as errors that name stream and mend."""
        request = self._request
        label = request.config.origin.label
        try:
            yield
        except pymysql.MySQLError as error:
            number, line = _number(error), _line(error)
            if number == ER.NO_SUCH_TABLE and request.config.origin.table:
                raise unknown_table(request, self._tables()) from error
            if number == ER.DUP_FIELDNAME:
                raise self._twice(re.findall(r"'([^']+)'", line)[:1]) from error
            if number in _TOO_LONG:
                raise SourceError(
                    f"{request.name}: {label} took longer than statement_timeout_seconds ({line}); raise it in "
                    f"{request.source.path}, or add an index on the cursor"
                ) from error
            if number in _NO_GRANT:
                raise SourceError(f"{request.name}: {line}; GRANT SELECT on it to the warehouse's user") from error
            if number in _LOST or isinstance(error, pymysql.InterfaceError):
                raise SourceError(
                    f"{request.name}: the connection was lost ({line}); try again when the database is up", True
                ) from error
            raise SourceError(
                f"{request.name}: {label} cannot be read ({line}); correct streams.{request.stream} in "
                f"{request.source.path}"
            ) from error

    def _twice(self, names: Sequence[str]) -> SourceError:
        return SourceError(
            f"{self._request.name}: the query gives {', '.join(names)} more than once; name them apart with AS"
        )

    def _tables(self) -> list[str]:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN "
                "('information_schema', 'mysql', 'performance_schema', 'sys') ORDER BY 1, 2 LIMIT 500"
            )
            found = cursor.fetchall()
        here = self._connection.db
        here = here.decode() if isinstance(here, bytes) else here
        is_qualified = "." in str(self._request.config.origin.table)
        return [table if schema == here and not is_qualified else f"{schema}.{table}" for schema, table in found]


def _options(request: ReadRequest, dsn: str) -> dict[str, Any]:
    """What ``pymysql.connect`` takes, from a DSN."""
    wrong = SourceError(f"{request.name}: the DSN cannot be read; write mysql://user@host:3306/database")
    try:
        parts = urlsplit(dsn)
        options: dict[str, Any] = {"host": parts.hostname, "port": parts.port or 3306, "charset": "utf8mb4"}
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        # The message repeats the DSN with its password.
        raise wrong from None
    options |= {"user": unquote(parts.username or ""), "password": unquote(parts.password or "").encode()}
    options["database"] = unquote(parts.path.removeprefix("/")) or None
    if unknown := sorted(set(given) - set(_OPTIONS)):
        raise SourceError(
            f"{request.name}: the DSN has an unknown option {unknown[0]!r}; {suggest(unknown[0], _OPTIONS)}"
        )
    mode = given.pop("ssl", "verify_ca" if "ssl_ca" in given else "preferred")
    if mode not in _SSL:
        raise SourceError(f"{request.name}: the DSN has ssl={mode}; use one of {', '.join(_SSL)}")
    if mode.startswith("verify") and "ssl_ca" not in given:
        given["ssl_ca"] = str(ssl.get_default_verify_paths().cafile)
    match mode:
        case "disabled":
            options["ssl_disabled"] = True
        case "required":
            options["ssl"] = {"verify_mode": False}
        case "verify_ca" | "verify_identity":
            options |= {"ssl_verify_cert": True, "ssl_verify_identity": mode == "verify_identity"}
    return options | given


def _kind(field: Any) -> str:
    """Name of a column's type."""
    if field.flags & FLAG.ENUM:
        return "enum"
    if field.flags & FLAG.SET:
        return "set"
    if name := _KINDS.get(field.type_code):
        return f"{name} unsigned" if name in _NUMBERS and field.flags & FLAG.UNSIGNED else name
    is_long = field.type_code in {FIELD_TYPE.TINY_BLOB, FIELD_TYPE.BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB}
    if _is_bytes(field):
        return "blob" if is_long else "varbinary"
    return "text" if is_long else "char" if field.type_code == FIELD_TYPE.STRING else "varchar"


def _is_bytes(field: Any) -> bool:
    if field.type_code == FIELD_TYPE.GEOMETRY:
        return True
    is_text = field.type_code not in _KINDS
    return is_text and field.charsetnr == _BINARY_CHARSET and not field.flags & (FLAG.ENUM | FLAG.SET)


def _decoded(cells: pl.Series) -> pl.Series:
    r"""Bytes as text; those that are no UTF-8 are kept as ``\xNN``."""
    try:
        return cells.cast(pl.String)
    except pl.exceptions.InvalidOperationError:
        texts = [None if cell is None else cell.decode("utf-8", "backslashreplace") for cell in cells]
        return pl.Series(texts, dtype=pl.String)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _number(error: Exception) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _line(error: Exception) -> str:
    return one_line(error.args[1] if len(error.args) > 1 else error)


__all__ = ["MysqlDatabase", "connect"]
