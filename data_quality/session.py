"""The DuckDB connection of a gate: in memory, with the tables of the gate as views or attached files.

Belongs here: connecting, asking, registering frames. Does not belong here: which tables a gate reads (``tables``) and
Great Expectations, which looks at the same connection (``engine``).
"""

from __future__ import annotations

from typing import Any

import duckdb
import polars as pl

from data_quality.rules import literal, quote

_MESSAGE_LENGTH = 500


class Session:
    """One connection for a run of a gate.

    Use it as a context manager; on leaving, every file lock is given back.

    Args:
        memory_limit: DuckDB's ``memory_limit``, or None for its default.
        threads: DuckDB's ``threads``, or None for its default.
    """

    def __init__(self, memory_limit: str | None = None, threads: int | None = None) -> None:
        self.connection = duckdb.connect()
        self.execute("SET TimeZone = 'UTC'")
        self.execute("SET parquet_metadata_cache = true")
        if memory_limit is not None:
            self.execute(f"SET memory_limit = '{memory_limit}'")
        if threads is not None:
            self.execute(f"SET threads = {threads:d}")

    def __enter__(self) -> Session:
        """Return the session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give back every file lock."""
        self.close()

    def close(self) -> None:
        """Close the connection and give back every file lock."""
        self.connection.close()

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run ``sql`` and return its rows, none for a statement.

        Raises:
            duckdb.Error: DuckDB refused it.
        """
        return self.connection.execute(sql).fetchall()

    def count(self, query: str) -> int:
        """Number of rows that ``query`` finds.

        Raises:
            duckdb.Error: DuckDB refused it.
        """
        return int(self.execute(f"SELECT count(*) FROM ({query}\n) AS found")[0][0])

    def register(self, name: str, frame: pl.DataFrame) -> None:
        """Make a copy of ``frame`` readable as table ``name``."""
        self.connection.register(f"frame_{name}", frame.to_arrow())
        self.execute(f"CREATE TABLE {quote(name)} AS SELECT * FROM {quote('frame_' + name)}")
        self.connection.unregister(f"frame_{name}")

    def columns(self, table: str) -> dict[str, str]:
        """Column to DuckDB type of a table or view of the session; empty where there is none."""
        if not self.execute(
            "SELECT 1 FROM information_schema.tables WHERE table_catalog = current_database() "
            f"AND table_schema = 'main' AND table_name = {literal(table)}"
        ):
            return {}
        return {row[0]: row[1] for row in self.execute(f"DESCRIBE {quote(table)}")}


def message_of(error: BaseException) -> str:
    """What went wrong, on one line of some hundred characters."""
    return shorten(str(error) or type(error).__name__)


def shorten(text: str) -> str:
    """``text`` on one line, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_LENGTH else text[: _MESSAGE_LENGTH - 1] + "…"
