"""Looking for strings where values are stored: in the dictionaries and pages of Parquet files, in the blocks of others.

A value that a million rows share stands in a Parquet file once for each of its row groups, and is looked at as often.
What is found here may be found: values are not told apart, so that ``strings`` has to look at them again. What is not
found here is not there.

Does not belong here: what is looked for (``strings``), which files are searched (``search``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.privacy.parquet_pages import UnknownError, text_pages
from orchestration.privacy.strings import Strings
from orchestration.sources.landing import file_sha256
from orchestration.warehouse.compact import HEADER as DUCKDB_HEADER

BLOCK = 1 << 18
"""Bytes of a file that ``places_holding`` tells apart, behind the header of a DuckDB file; other files do not mind."""

_AT_ONCE = 1 << 26
"""Bytes of a Parquet file that are searched together."""
_SHARES = 16
"""Parts into which values are cut, for several cores to search."""


class Searched:
    """Files that were searched for the same strings and hold none, known by the hash of their bytes alone.

    Neither a name nor a time of change says what is in a file. What is not known is searched; nothing is kept beyond
    the process.
    """

    def __init__(self) -> None:
        self._hashes: set[str] = set()

    def stamp(self, path: Path) -> str:
        """Hash of a file, taken before it is searched: what changes in between is not known by it."""
        return file_sha256(path)

    def add(self, stamps: Iterable[str]) -> None:
        """Remember files in which nothing was found, by their stamps."""
        self._hashes.update(stamps)

    def knows(self, path: Path) -> bool:
        """Whether a file with the same bytes was searched."""
        return bool(self._hashes) and file_sha256(path) in self._hashes


class Places:
    """Where in files some strings may stand, as found by whoever wrote them last; of use within one process.

    It holds as long as nobody wrote to a file since, by its number in the file system and its times of change.
    """

    def __init__(self) -> None:
        self._found: dict[Path, tuple[Strings, tuple[int, ...], set[int]]] = {}
        self._whole: set[Path] = set()

    def look(self, path: Path, strings: Strings, at: Collection[int] | None = None) -> list[int]:
        """``places_holding``, whose answer comes to those for the same strings before."""
        # Before the search: what is written in the meantime is not known.
        state = _state(path)
        found = places_holding(path, strings, at)
        before = self._found.get(path)
        self._found[path] = (strings, state, {*found, *(before[2] if before and before[0] == strings else ())})
        self._whole.discard(path)
        return found

    def keep(self, path: Path) -> None:
        """Take it that every block of a file was looked at as it was at the last look."""
        self._whole.add(path)

    def of(self, path: Path, strings: Strings) -> list[int] | None:
        """Places of a file beyond which the strings do not stand; None where that is not known."""
        if path not in self._whole:
            return None
        of, state, places = self._found[path]
        return sorted(places) if (of, state) == (strings, _state(path)) else None

    def clear(self) -> None:
        """Forget everything."""
        self._found.clear()
        self._whole.clear()


def _state(path: Path) -> tuple[int, ...]:
    state = path.stat()
    return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def text_columns_holding(path: Path, strings: Strings, leave_out: Collection[str] = ()) -> set[str]:
    """Text columns of a Parquet file in which a string may stand; never misses one.

    Args:
        path: The file.
        strings: What is looked for.
        leave_out: Columns that are not looked at.
    """
    if not strings:
        return set()
    with pa.memory_map(str(path)) as file:
        metadata = pq.read_metadata(file)
        schema = metadata.schema.to_arrow_schema()
        texts = {
            field.name for field in schema if pa.types.is_large_string(field.type) or pa.types.is_string(field.type)
        }
        wanted = texts - set(leave_out)
        file.seek(0)
        try:
            return _holding(text_pages(file.read_buffer(), metadata, wanted), strings)
        except (UnknownError, OSError):
            return _holding(_decoded(path, metadata, wanted), strings)


def _decoded(path: Path, metadata: pq.FileMetaData, names: Collection[str]) -> Iterator[tuple[str, pa.Buffer]]:
    """Column and values of each part of a Parquet file, whatever it is stored in."""
    with pq.ParquetFile(path, metadata=metadata, memory_map=True) as file:
        for number in range(metadata.num_row_groups if names else 0):
            rows = file.read_row_group(number, columns=sorted(names), use_threads=False)
            for name, column in zip(rows.column_names, rows.columns, strict=True):
                for chunk in column.chunks if name in names else ():
                    yield name, _as_one(chunk)


def _holding(parts: Iterable[tuple[str, pa.Buffer]], strings: Strings) -> set[str]:
    """Names of those bytes in which a string may stand."""
    found: set[str] = set()
    some: list[tuple[str, pa.Buffer]] = []
    size = 0

    def search() -> None:
        values = pa.concat_arrays([_value(part) for _, part in some]) if some else pa.array([], pa.large_binary())
        found.update(name for (name, _), is_hit in zip(some, matches(values, strings), strict=True) if is_hit)

    for name, part in parts:
        if name in found:
            continue
        some.append((name, part))
        size += part.size
        if size > _AT_ONCE:
            search()
            some, size = [], 0
    search()
    return found


def places_holding(path: Path, strings: Strings, at: Collection[int] | None = None) -> list[int]:
    """Places of a file, one a block of it, at which a string may stand as it is; never misses one.

    Args:
        path: The file.
        strings: What is looked for.
        at: Places (bytes from the beginning) whose blocks are searched, with what begins in front of one or goes on
            behind it; default all.

    Returns:
        Bytes from the beginning: where the block begins.
    """
    size = path.stat().st_size
    if not strings or size == 0:
        return []
    with pa.memory_map(str(path)) as file:
        content = file.read_buffer()
        starts = np.append(0, np.arange(DUCKDB_HEADER, size, BLOCK)).astype(np.int64)
        ends = pa.py_buffer(np.append(starts, size).tobytes())
        blocks = pa.Array.from_buffers(pa.large_binary(), len(starts), [None, ends, content])
        is_chosen = np.ones(len(starts), dtype=bool)
        if at is not None:
            is_chosen[:] = False
            within = np.array([place for place in at if place < size], dtype=np.int64)
            is_chosen[np.searchsorted(starts, within, side="right") - 1] = True
        # What lies across the end of a block is found in what lies around it.
        around = strings.reach
        is_seam = is_chosen[1:] | is_chosen[:-1]
        seams = [
            content[max(0, start - around) : start + around].to_pybytes() for start in starts[1:][is_seam].tolist()
        ]
        hits = np.zeros(len(starts), dtype=bool)
        # One after another, those that lie side by side are not copied.
        for first, last in _ranges(is_chosen):
            hits[first:last] = matches(blocks.slice(first, last - first), strings)
        hits[1:][is_seam] |= np.array(matches(pa.array(seams, pa.large_binary()), strings), dtype=bool)
    return starts[hits].tolist()


def _ranges(chosen: np.ndarray) -> list[tuple[int, int]]:
    """Where runs of true values begin and end."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], chosen, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def matches(texts: pa.Array, strings: Strings) -> list[bool]:
    """Which of some binary values may hold a string; on every core, for Arrow uses but one."""

    def of(values: pa.Array) -> list[bool]:
        found = [
            pc.match_substring_regex(values, pattern, ignore_case=True).to_pylist()
            for pattern in strings.loose_patterns
        ]
        return [any(hits) for hits in zip(*found, strict=True)]

    size = -(-len(texts) // _SHARES)
    shares = [texts.slice(begin, size) for begin in range(0, len(texts), max(1, size))]
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        return [hit for hits in pool.map(of, shares) for hit in hits]


def _as_one(values: pa.Array) -> pa.Buffer:
    """Text values end to end, as they lie in memory."""
    kind = np.int64 if pa.types.is_large_string(values.type) else np.int32
    _, offsets, content = values.buffers()
    if content is None or offsets is None or len(values) == 0:
        return pa.py_buffer(b"")
    first, last = np.frombuffer(offsets, dtype=kind)[[values.offset, values.offset + len(values)]].tolist()
    return content.slice(first, last - first)


def _value(content: pa.Buffer) -> pa.Array:
    """Bytes as a single value."""
    ends = pa.py_buffer(np.array([0, content.size], dtype=np.int64).tobytes())
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, content])
