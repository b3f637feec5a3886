"""Files that are either wholly there or not there at all.

Belongs here: writing by temporary name, sync and rename; locks that die with the process. Does not belong here:
what is in the files.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

TEMPORARY_SUFFIX = ".tmp"
"""No reader's glob of ``*.parquet`` or ``*.json`` takes a file that ends so."""

_ROOM = 1 << 20


def sync(path: Path) -> None:
    """Make what a file holds, or renames and removals within a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def quoted(text: str | Path) -> str:
    """A text or path as an SQL literal, for statements that take no parameters."""
    return "'" + str(text).replace("'", "''") + "'"


def temporary_path(path: Path) -> Path:
    """Name under which the next content of ``path`` is prepared, in the same folder."""
    return path.with_name(path.name + TEMPORARY_SUFFIX)


def prepare_parquet(frame: pl.DataFrame, path: Path) -> Path:
    """Write ``frame`` under the temporary name of ``path`` and sync it.

    Compression, statistics and row-group size are fixed, so that equal frames give equal bytes.

    Raises:
        OSError: the disk is full.
    """
    temporary = temporary_path(path)
    with temporary.open("wb") as target:
        try:
            frame.write_parquet(
                target, compression="zstd", compression_level=1, statistics=True, row_group_size=122_880
            )
        except pl.exceptions.PolarsError:
            # Polars says of a full disk that the file is damaged; asking for more room gives the true error.
            os.posix_fallocate(target.fileno(), 0, os.fstat(target.fileno()).st_size + _ROOM)
            raise
        target.flush()
        os.fsync(target.fileno())
    return temporary


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write ``frame`` to ``path`` in one step: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prepare_parquet(frame, path).replace(path)
    sync(path.parent)


def write_json(value: Any, path: Path) -> None:
    """Write ``value`` to ``path`` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    with temporary.open("w", encoding="utf-8") as target:
        json.dump(value, target, ensure_ascii=False, indent=1, sort_keys=True)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(path)
    sync(path.parent)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold ``folder``'s lock; another process that wants it waits, and a killed one frees it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
