"""Writing Dagster's event log without waiting for the disk at every event.

Belongs here: how the night's own process connects to Dagster's SQLite files. Does not belong here: what is logged,
and a storage of our own; with PostgreSQL as Dagster's storage nothing here has an effect.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WRITE_AHEAD = "wal"


@contextmanager
def unhurried_commits() -> Iterator[None]:
    """While this lasts, SQLite databases in write-ahead mode are synced at checkpoints and not at every commit.

    Dagster opens and closes a connection, or two, for each event. Closing the last one of a database copies its
    write-ahead log back, with several syncs: a night has some thousand. One connection that stays open puts that off to
    the end. ``synchronous = NORMAL`` is safe in this mode (sqlite.org/pragma.html#pragma_synchronous): a killed process
    loses nothing, a power cut at most the last events and never the database.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    kept: dict[str, sqlite3.Connection] = {}

    def connected(connection: Any, _record: Any) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        if not path or connection.execute("PRAGMA journal_mode").fetchone()[0] != _WRITE_AHEAD:
            return
        connection.execute("PRAGMA synchronous = NORMAL")
        if path not in kept:
            kept[path] = sqlite3.connect(path, check_same_thread=False)
            # Only a connection that has read takes part in the log.
            kept[path].execute("SELECT count(*) FROM sqlite_master").fetchall()

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)
        for connection in kept.values():
            connection.close()
