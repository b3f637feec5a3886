"""Writing a DuckDB file anew, so that rows that were deleted are not left in its free blocks.

Does not belong here: when that is due (``privacy.erase``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from orchestration.settings import Settings
from orchestration.warehouse.files import TEMPORARY_SUFFIX, quoted, sync

_OLD = "before_compaction"


def compact(path: Path, settings: Settings, beside: Mapping[str, Path] | None = None) -> None:
    """Copy every table, view and comment of a database into a fresh file that takes its place by rename.

    Args:
        path: The file; its name without suffix is the database's name. Nothing happens where it does not exist.
        settings: Memory and threads.
        beside: Other databases that its views refer to, by name.

    Raises:
        duckdb.Error: the file is open for writing elsewhere, or cannot be read.
    """
    if not path.exists():
        return
    fresh = path.with_name(path.name + TEMPORARY_SUFFIX)
    for leftover in (fresh, path.with_name(fresh.name + ".wal")):
        leftover.unlink(missing_ok=True)
    if path.with_name(path.name + ".wal").exists():
        with duckdb.connect(str(path)) as connection:
            connection.execute("CHECKPOINT")
    config: dict[str, Any] = {"memory_limit": settings.duckdb_memory_limit, "threads": settings.duckdb_threads}
    with duckdb.connect(config=config) as connection:
        connection.execute(f"ATTACH {quoted(path)} AS {_OLD} (READ_ONLY)")
        for name, other in (beside or {}).items():
            if other.exists():
                connection.execute(f'ATTACH {quoted(other)} AS "{name}" (READ_ONLY)')
        # Views name their database, so that the fresh file has to go by the name of the old one.
        connection.execute(f'ATTACH {quoted(fresh)} AS "{path.stem}"')
        connection.execute(f'COPY FROM DATABASE {_OLD} TO "{path.stem}"')
        connection.execute(f'CHECKPOINT "{path.stem}"')
    sync(fresh)
    fresh.chmod(path.stat().st_mode & 0o777)
    fresh.replace(path)
    sync(path.parent)
