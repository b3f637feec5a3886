"""Looking for a person's strings in every file below the warehouse's home, and masking them where that is right.

A file is read as what it is: Parquet and SQLite files value by value (compressed bytes show nothing), the others as
bytes; DuckDB and SQLite files as bytes too, because deleted rows stay in their blocks, and DuckDB files by value where
bytes do not show it. Files of the source systems themselves, the sources' configuration and waiting requests are not
looked at.

Does not belong here: landing and clean rows, which are changed by their keys (``plan``); how texts are found as they
are stored (``bytes_search``).
"""

from __future__ import annotations

import mmap
import sqlite3
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from orchestration.privacy.bytes_search import BLOCK, Places, places_holding, text_columns_holding
from orchestration.privacy.requests import folder_of
from orchestration.privacy.strings import Strings
from orchestration.settings import HMAC_KEY_FILE, Settings
from orchestration.sources.config import Secret, SourceConfig
from orchestration.sources.errors import ConfigError
from orchestration.sources.files import FilesOrigin
from orchestration.warehouse.compact import layout_of, sql_name
from orchestration.warehouse.files import write_parquet

_SQLITE_SECONDS = 30
_GLOB = frozenset("*?[")
_BATCH_ROWS = 500_000
_MADE = {"load_id", "row_hash"}
"""Columns of clean tables that the warehouse itself makes up of digits."""


def files(settings: Settings, sources: Mapping[str, SourceConfig]) -> Iterator[Path]:
    """Every file below the home that the warehouse itself writes, and those of others that are not a source's own."""
    left_out = {settings.sources_dir, settings.sample_dir, folder_of(settings.home), settings.home / HMAC_KEY_FILE}
    left_out |= _inputs(settings, sources) - {settings.home}

    def below(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            if path.is_symlink() or path in left_out:
                continue
            if path.is_dir():
                yield from below(path)
            elif path.is_file():
                yield path

    if settings.home.is_dir():
        yield from below(settings.home)


def mask(path: Path, strings: Strings) -> bool:
    """Mask the strings in a file that is neither landed nor clean nor published; whether there were any."""
    with suppress(FileNotFoundError):
        match kind_of(path):
            case "parquet":
                frame, cells = strings.mask_frame(pl.read_parquet(path, glob=False))
                if cells:
                    write_parquet(frame, path)
                return cells > 0
            case "sqlite":
                return _mask_sqlite(path, strings)
            case "bytes":
                return _mask_bytes(path, strings)
    return False


def holds(path: Path, strings: Strings, made_in: Path | None = None, places: Places | None = None) -> bool:
    """Whether a file holds one of the strings.

    Args:
        path: The file.
        strings: What is looked for.
        made_in: Folder of clean tables, of which the columns that the warehouse itself makes up of digits say nothing.
        places: Where the strings may stand in DuckDB files that were searched for them already.
    """
    with suppress(FileNotFoundError):
        match kind_of(path):
            case "parquet":
                is_clean = made_in is not None and path.is_relative_to(made_in)
                return _parquet_holds(path, strings, _MADE if is_clean else ())
            case "sqlite":
                return _raw_holds(path, strings) or _sqlite_holds(path, strings)
            case "duckdb":
                return _duckdb_holds(path, strings, None if places is None else places.of(path, strings))
            case "bytes":
                return _stand_in(path.read_bytes(), strings)
    return False


def kind_of(path: Path) -> str:
    """``parquet``, ``sqlite``, ``duckdb`` or ``bytes``, by the first bytes."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"SQLite format 3"):
        return "sqlite"
    return "duckdb" if head[8:12] == b"DUCK" else "bytes"


def _inputs(settings: Settings, sources: Mapping[str, SourceConfig]) -> set[Path]:
    """Files and folders that sources deliver into."""
    found: set[Path] = set()
    for source in sources.values():
        for stream in source.streams.values():
            if isinstance(stream.origin, FilesOrigin):
                path = source.expand(stream.origin.path, settings.home)
                fixed = [part for part in path.parents if not _GLOB & set(str(part))]
                found |= set(fixed[:1])
        dsn = getattr(source.connection, "dsn", None)
        if isinstance(dsn, str | Secret):
            with suppress(ConfigError):
                text = source.reveal(dsn, settings.home).replace("{home}", str(settings.home))
                if text.startswith("sqlite:///"):
                    path = source.expand(text.removeprefix("sqlite:///"), settings.home)
                    found |= {path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))}
    # A folder that holds what the warehouse writes is searched, whoever delivers into it.
    return {path for path in found if not settings.home.is_relative_to(path)}


def _stand_in(content: bytes, strings: Strings) -> bool:
    return next(strings.hits(content), None) is not None


def _mask_bytes(path: Path, strings: Strings) -> bool:
    content = path.read_bytes()
    hits = list(strings.hits(content))
    if not hits:
        return False
    # In place: a log may be open for appending, and no offset moves.
    with path.open("r+b") as file:
        for begin, end in hits:
            file.seek(begin)
            file.write(b"*" * (end - begin))
    return True


def _raw_holds(path: Path, strings: Strings) -> bool:
    """Whether one of the strings stands in a file's bytes as it is."""
    return _stands_at(path, places_holding(path, strings), strings)


def _stands_at(path: Path, places: Collection[int], strings: Strings) -> bool:
    if not places:
        return False
    with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as content:
        around = strings.reach
        return any(_stand_in(content[max(0, place - around) : place + BLOCK + around], strings) for place in places)


def _parquet_holds(path: Path, strings: Strings, leave_out: Collection[str] = ()) -> bool:
    names = sorted(text_columns_holding(path, strings, leave_out))
    if not names:
        return False
    rows = pl.scan_parquet(path, glob=False).select(names).filter(strings.candidates(names)).collect()
    return strings.mask_frame(rows)[1] > 0


def _columns(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for (table,) in tables.fetchall():
        for row in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
            yield table, row[1]


def _sqlite_functions(connection: sqlite3.Connection, strings: Strings) -> None:
    def found(value: Any) -> bool:
        if isinstance(value, bytes):
            with suppress(zlib.error):
                value = zlib.decompress(value)
        elif isinstance(value, str):
            value = value.encode()
        else:
            return False
        return _stand_in(value, strings)

    def masked(value: str | bytes) -> str | bytes:
        if isinstance(value, str):
            return strings.pattern.sub(lambda hit: "*" * len(hit.group()), value)
        with suppress(zlib.error):
            return zlib.compress(strings.masked_bytes(zlib.decompress(value)))
        return strings.masked_bytes(value)

    connection.create_function("holds", 1, found, deterministic=True)
    connection.create_function("masked", 1, masked, deterministic=True)


def _mask_sqlite(path: Path, strings: Strings) -> bool:
    changed = 0
    with closing(sqlite3.connect(path, timeout=_SQLITE_SECONDS)) as connection:
        _sqlite_functions(connection, strings)
        connection.execute("PRAGMA secure_delete = ON")
        for table, column in list(_columns(connection)):
            changed += connection.execute(
                f'UPDATE "{table}" SET "{column}" = masked("{column}") WHERE holds("{column}")'
            ).rowcount
        connection.commit()
        if changed or _raw_holds(path, strings):
            connection.execute("VACUUM")
            changed += 1
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return changed > 0


def _sqlite_holds(path: Path, strings: Strings) -> bool:
    with closing(sqlite3.connect(path, timeout=_SQLITE_SECONDS)) as connection:
        _sqlite_functions(connection, strings)
        return any(
            connection.execute(f'SELECT 1 FROM "{table}" WHERE holds("{column}") LIMIT 1').fetchone()
            for table, column in list(_columns(connection))
        )


def _duckdb_holds(path: Path, strings: Strings, known: Collection[int] | None = None) -> bool:
    """Whether a DuckDB file holds one of the strings, as a value or in what it does not show.

    Values in whose block nothing is found need not be read, but for those that bytes do not show.
    """
    places = places_holding(path, strings) if known is None else known
    if _stands_at(path, places, strings):
        return True
    with duckdb.connect(str(path), read_only=True) as connection:
        texts: dict[str, list[str]] = {}
        for schema, table, column in connection.execute(
            "SELECT c.schema_name, c.table_name, c.column_name FROM duckdb_columns() c JOIN duckdb_tables() t "
            "USING (database_name, schema_name, table_name) "
            "WHERE c.database_name = current_database() AND c.data_type = 'VARCHAR'"
        ).fetchall():
            texts.setdefault(sql_name((schema, table)), []).append(column)
        layout = layout_of(connection)
        looked_at = [(table, names, "true") for table, names in texts.items() if table in layout.hiding]
        for group, columns in layout.stored_at(places).items():
            names = [name for name in texts.get(group.table, ()) if name in columns]
            if names and group.table not in layout.hiding:
                looked_at.append((group.table, names, group.condition))
        for table, names, condition in looked_at:
            listed = ", ".join(f'"{name}"' for name in names)
            rows = connection.execute(f"SELECT {listed} FROM {table} WHERE {condition}")
            for batch in rows.to_arrow_reader(_BATCH_ROWS):
                found = pl.DataFrame(batch).filter(strings.candidates(names))
                if strings.mask_frame(found)[1]:
                    return True
    return False
