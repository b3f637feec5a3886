"""Taking what was deleted out of the bytes of a DuckDB file: rows that a table no longer shows lie on in its blocks.

A row that is deleted stays in its row group until the group is written anew, and a block that is given back keeps its
bytes until it is used again. ``clear`` overwrites the blocks that nothing uses, writes row groups anew in whose blocks
a text is found, and looks again; ``compact`` writes the whole file anew, where that does not help.

A block that was written since holds rows of today. Between the places of texts and the texts themselves lies what was
in that memory before: it is overwritten where a text is found in the block. What is left of a block DuckDB fills with
zeros. What is found then belongs to a row that is still shown, such as a longer id that begins like the one looked for.

What DuckDB itself writes down (which block holds what, the first eight bytes of the least and the greatest value of a
segment) lies in blocks of 64 parts, each used or not. Parts that nothing uses are overwritten where a text is found in
their block. A part may be used by one table while what it says of another was written elsewhere since: a least or
greatest value that holds a text is overwritten where it is none of a segment or a table of today. What is found there
all the same goes with the copy.

Bytes show a text only where its column is not packed by letters (FSST, ZSTD): dbt's files and their copies do without
(``WITHOUT_PACKING``).

Does not belong here: when that is due (``privacy.erase``), which texts are looked for (``privacy.bytes_search``).
"""

from __future__ import annotations

import os
import re
import shutil
import struct
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from orchestration.lineage.sql import quote
from orchestration.settings import Settings
from orchestration.warehouse.files import quoted, sync, temporary_path

WITHOUT_PACKING = "SET disabled_compression_methods = 'fsst,zstd,dict_fsst'"
"""Texts lie in blocks as they are: once each in a segment's dictionary, or one after another."""
_ONE_CHECKPOINT = "SET checkpoint_threshold = '1TB'"
"""Blocks that become free while others are written are not written to before the end."""
_SHOWING = frozenset(
    {
        "Uncompressed",
        "Dictionary",
        "Constant",
        "RLE",
        "BitPacking",
        "ALP",
        "ALPRD",
        "Chimp",
        "Patas",
        "Roaring",
        "Empty Validity",
    }
)
"""Ways of storing a segment in which a text, if the segment holds texts, lies as it is."""
HEADER = 3 * 4096
"""Bytes in front of the first block."""
_OLD = "before_compaction"
_CHECKSUM = 8
"""Bytes in front of a block's content that hold its checksum."""
_TWO_NUMBERS = 8
"""Bytes in front of an uncompressed segment of texts: how many bytes they are, and where they end."""
_PARTS = 64
"""Parts of a block that describes others; each has as many bytes, a multiple of eight."""
_VALUE = re.compile(rb"[\xc8\xc9]\x00([\x01-\x08])")
"""Stands in front of a least or greatest text: number of the field and of its bytes (``string_stats.cpp``)."""
_VALUE_BYTES = 3 + 8
"""Bytes of such a text at most, with what stands in front."""


@dataclass(frozen=True, order=True)
class RowGroup:
    """Rows of a table, as SQL names it, that are stored together: their ``rowid`` from ``first`` to ``last``."""

    table: str
    first: int
    last: int

    @property
    def condition(self) -> str:
        """SQL that holds for its rows."""
        return f"rowid BETWEEN {self.first} AND {self.last}"


_Column = tuple[RowGroup, str]
"""A column of a row group."""
_Found = Callable[[Path, Collection[int] | None], Collection[int]]
"""Gives places (bytes from the beginning) of a file at which one of certain texts may stand; of all of them, or of the
blocks that begin at some places."""
_Hits = Callable[[bytes], Iterable[tuple[int, int]]]
"""Gives where certain texts begin and end in bytes."""


@dataclass(frozen=True)
class Texts:
    """A segment of texts.

    Attributes:
        first: Where in its block it begins, behind the checksum.
        rows: Number of rows.
        packing: How DuckDB stores it.
    """

    first: int
    rows: int
    packing: str

    def gap(self, block: bytes | bytearray) -> tuple[int, int]:
        """From where to where in its block nothing is stored: places lie in front, texts behind.

        As DuckDB lays them (``uncompressed_string_storage.hpp``, ``dictionary/common.hpp``). Nothing where the numbers
        in front make no sense.
        """
        begin = _CHECKSUM + self.first
        size, end, places, count = struct.unpack_from("<4I", block, begin)
        first = places + 4 * count if self.packing == "Dictionary" else _TWO_NUMBERS + 4 * self.rows
        last = end - size
        return (begin + first, begin + last) if 0 <= first <= last and begin + end <= len(block) else (begin, begin)


@dataclass(frozen=True)
class Layout:
    """What a file's blocks hold.

    Attributes:
        block_size: Bytes of a block.
        blocks: Number of blocks.
        free: Blocks that nothing uses; None where they are not as many as DuckDB counts.
        columns: Columns of row groups that have bytes in a block.
        described: Blocks that hold what DuckDB itself writes down, with the numbers of their parts that nothing uses.
        texts: Segments of texts with a gap, by block.
        hiding: Tables, as SQL names them, of which some text cannot be found by its bytes.
    """

    block_size: int
    blocks: int
    free: list[int] | None
    columns: Mapping[int, frozenset[_Column]]
    described: Mapping[int, Collection[int]]
    texts: Mapping[int, Collection[Texts]]
    hiding: frozenset[str]

    def block_of(self, place: int) -> int:
        """Number of the block at a place in the file; negative in the header."""
        return (place - HEADER) // self.block_size

    def is_in_use(self, block: int) -> bool:
        """Whether something is stored in a block; the header counts as one."""
        return block < 0 or block in self.columns or block in self.described

    def places_of(self, blocks: Iterable[int]) -> list[int]:
        """Where some blocks begin in the file."""
        return sorted({max(0, HEADER + block * self.block_size) for block in blocks})

    def stored_at(self, places: Iterable[int]) -> dict[RowGroup, set[str]]:
        """Columns of row groups that have bytes in the blocks at some places (bytes from the beginning of the file)."""
        found: dict[RowGroup, set[str]] = {}
        for block in {self.block_of(place) for place in places}:
            for group, column in self.columns.get(block, ()):
                found.setdefault(group, set()).add(column)
        return found


def clear(
    path: Path,
    settings: Settings,
    found: _Found,
    beside: Callable[[], Mapping[str, Path]] = dict,
    hits: _Hits = lambda _: (),
) -> bool:
    """Take deleted rows out of a file's bytes, as far as one of certain texts is found in them.

    Args:
        path: The file. Nothing happens where it does not exist.
        settings: Memory and threads.
        found: Gives places (bytes from the beginning) of a file at which one of the texts may stand; of all of them, or
            of the blocks that begin at some places.
        beside: Gives other databases that its views refer to, by name; asked only where the whole file is copied.
        hits: Gives where one of the texts begins and ends in bytes; without it, a least or greatest value that was
            deleted may leave the file to the copy.

    Returns:
        Whether every block was searched as it is now: a text stands nowhere but in those in which one was found.

    Raises:
        duckdb.Error: the file is open for writing elsewhere, or cannot be read.
    """
    if not path.exists():
        return False
    _fresh(path)
    _checkpoint(path)
    if before := _overwrite_free(path, settings):
        places = found(path, None)
        if not places:
            return True
        checksums = _checksums(path, before)
        if _write_anew(path, settings, before, places) and (now := _overwrite_free(path, settings)):
            # What was written are rows of today: where nothing was found before, nothing deleted is now.
            changed = {-1, *now.described, *(before.block_of(place) for place in places)}
            changed |= {block for block, stored in _checksums(path, now).items() if checksums.get(block) != stored}
            blocks = _overwrite_unused(path, now, now.places_of(changed), found, hits)
            if not any(before.is_in_use(block) or block in now.described for block in blocks):
                return True
    compact(path, settings, beside())
    if now := _overwrite_free(path, settings):
        _overwrite_unused(path, now, None, found, hits)
        return True
    return False


def overwrite_gaps(path: Path, settings: Settings, tables: Iterable[str]) -> None:
    """Overwrite what lies between texts and their places in segments of some tables of schema ``main``.

    In place: nobody else may have the file yet. DuckDB writes there what was in its memory before.
    """
    with duckdb.connect(str(path), read_only=True, config=_config(settings)) as connection:
        layout = layout_of(connection)
    names = {sql_name(("main", table)) for table in tables}
    blocks = [block for block, some in layout.columns.items() if names & {group.table for group, _ in some}]
    _overwrite_within(path, layout, blocks)


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
    fresh = _fresh(path)
    _checkpoint(path)
    with duckdb.connect(config=_config(settings)) as connection:
        connection.execute(WITHOUT_PACKING)
        connection.execute(f"ATTACH {quoted(path)} AS {_OLD} (READ_ONLY)")
        for name, other in (beside or {}).items():
            if other.exists():
                connection.execute(f'ATTACH {quoted(other)} AS "{name}" (READ_ONLY)')
        # Views name their database, so that the fresh file has to go by the name of the old one.
        connection.execute(f'ATTACH {quoted(fresh)} AS "{path.stem}"')
        connection.execute(f'COPY FROM DATABASE {_OLD} TO "{path.stem}"')
        connection.execute(f'CHECKPOINT "{path.stem}"')
    _replace(path, fresh)


def _fresh(path: Path) -> Path:
    """Where a file is written that takes the place of another; what a killed run left there goes.

    DuckDB spills into a folder of the same name, which stays behind where its process was killed.
    """
    fresh = temporary_path(path)
    if fresh.is_dir():
        shutil.rmtree(fresh)
    for leftover in (fresh, path.with_name(fresh.name + ".wal")):
        leftover.unlink(missing_ok=True)
    return fresh


def _replace(path: Path, fresh: Path) -> None:
    sync(fresh)
    fresh.chmod(path.stat().st_mode & 0o777)
    fresh.replace(path)
    sync(path.parent)


def _config(settings: Settings) -> dict[str, Any]:
    return {"memory_limit": settings.duckdb_memory_limit, "threads": settings.duckdb_threads}


def _checkpoint(path: Path) -> None:
    """Bring what a killed writer left in its log into the file."""
    if path.with_name(path.name + ".wal").exists():
        with duckdb.connect(str(path)) as connection:
            connection.execute("CHECKPOINT")


def layout_of(connection: duckdb.DuckDBPyConnection) -> Layout:
    """How the blocks of the database that a connection is to are used."""
    size, blocks, free = connection.execute(
        "SELECT block_size, total_blocks, free_blocks FROM pragma_database_size() "
        "WHERE database_name = current_database()"
    ).fetchall()[0]
    columns: dict[int, set[_Column]] = {}
    texts: dict[int, list[Texts]] = {}
    hiding: set[str] = set()
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database() AND NOT temporary"
    ).fetchall()
    for names in tables:
        table = sql_name(names)
        segments = connection.execute(
            'SELECT row_group_id, column_name, column_path, segment_type, "count", compression, block_id, '
            f"additional_block_ids, block_offset FROM pragma_storage_info({quoted(table)})"
        ).fetchall()
        # Every column of a row group has as many rows, its validity too.
        sizes: dict[int, int] = {}
        counted = segments[0][2:4] if segments else None
        for number, _, part, kind, rows, *_ in segments:
            if (part, kind) == counted:
                sizes[number] = sizes.get(number, 0) + rows
        begin, ranges = 0, {}
        for number, rows in sorted(sizes.items()):
            ranges[number] = RowGroup(table, begin, begin + rows - 1)
            begin += rows
        for number, column, _, kind, rows, packing, block, more, first in segments:
            if kind == "VARCHAR" and packing in {"Uncompressed", "Dictionary"} and block is not None and block >= 0:
                texts.setdefault(block, []).append(Texts(first, rows, packing))
            # A text longer than a block's share goes on in another block, so that its bytes may be torn apart.
            if packing not in _SHOWING or more:
                hiding.add(table)
            for used in (block, *(more or ())):
                if used is not None and used >= 0:
                    columns.setdefault(used, set()).add((ranges[number], column))
    described = dict(connection.execute("SELECT block_id, free_list FROM pragma_metadata_info()").fetchall())
    unused = [block for block in range(blocks) if block not in columns and block not in described]
    return Layout(
        size,
        blocks,
        unused if len(unused) == free else None,
        {block: frozenset(some) for block, some in columns.items()},
        described,
        texts,
        frozenset(hiding),
    )


def _indexed(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Tables, as SQL names them, whose deleted rows DuckDB takes along, because an index knows rows by their place."""
    found = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_indexes() WHERE database_name = current_database() UNION "
        "SELECT schema_name, table_name FROM duckdb_constraints() WHERE database_name = current_database() "
        "AND constraint_type NOT IN ('NOT NULL', 'CHECK')"
    ).fetchall()
    return {sql_name(names) for names in found}


def sql_name(names: Iterable[str]) -> str:
    """Schema and table as SQL names them."""
    return ".".join(map(quote, names))


def _overwrite_free(path: Path, settings: Settings) -> Layout | None:
    """Overwrite blocks that nothing uses; None where bytes cannot say what the file holds."""
    with duckdb.connect(str(path), read_only=True, config=_config(settings)) as connection:
        layout = layout_of(connection)
    size = path.stat().st_size
    there = set(range((size - HEADER) // layout.block_size))
    # A free block at the end was counted and never written.
    if layout.hiding or layout.free is None or set(range(layout.blocks)) - set(layout.free) - there:
        return None
    nothing = bytes(layout.block_size)
    with path.open("r+b", buffering=0) as file:
        for block in there.intersection(layout.free):
            os.pwrite(file.fileno(), nothing, HEADER + block * layout.block_size)
        os.fsync(file.fileno())
    return layout


def _overwrite_unused(path: Path, layout: Layout, at: Collection[int] | None, found: _Found, hits: _Hits) -> set[int]:
    """Overwrite what nothing uses within blocks in which a text is found; the blocks in which one is found then.

    A block that is in use must never be half written, so that a copy takes the file's place.
    """
    blocks = {layout.block_of(place) for place in found(path, at)}
    if not blocks & (layout.described.keys() | layout.texts.keys()):
        return blocks
    fresh = _fresh(path)
    shutil.copyfile(path, fresh)
    _overwrite_within(fresh, layout, blocks)
    _overwrite_values(fresh, layout, blocks & layout.described.keys(), hits)
    _replace(path, fresh)
    return {layout.block_of(place) for place in found(path, layout.places_of(blocks))}


def _overwrite_within(path: Path, layout: Layout, blocks: Iterable[int]) -> None:
    """Overwrite parts that nothing uses of blocks that describe others, and gaps of those that hold texts."""
    length = (layout.block_size - _CHECKSUM) // _PARTS // 8 * 8

    def unused(number: int, block: bytes) -> Iterable[tuple[int, int]]:
        parts = (_CHECKSUM + part * length for part in layout.described.get(number, ()))
        yield from ((first, first + length) for first in parts)
        yield from (texts.gap(block) for texts in layout.texts.get(number, ()))

    _overwrite(path, layout, blocks, unused)


def _overwrite_values(path: Path, layout: Layout, blocks: Collection[int], hits: _Hits) -> None:
    """Overwrite least and greatest values of no segment and no table of today, of blocks that describe others."""
    if not blocks:
        return
    with duckdb.connect(str(path), read_only=True) as connection:
        of_today = _least_and_greatest(connection)

    def unused(_: int, block: bytes) -> Iterable[tuple[int, int]]:
        spans = (_value_around(block, begin, end) for begin, end in hits(block))
        return [(first, last) for first, last in spans if block[first:last].decode() not in of_today]

    _overwrite(path, layout, blocks, unused)


def _value_around(block: bytes, begin: int, end: int) -> tuple[int, int]:
    """Where the least or greatest value that holds some bytes begins and ends; nothing where there is none of ASCII."""
    for value in _VALUE.finditer(block, max(0, begin - _VALUE_BYTES), end):
        first, last = value.end(), value.end() + value[1][0]
        if first <= begin and end <= last and block[first:last].isascii():
            return first, last
    return begin, begin


def _least_and_greatest(connection: duckdb.DuckDBPyConnection) -> str:
    """Everything that DuckDB says of the least and the greatest values of segments and tables, as one text."""
    said: list[str] = []
    columns = connection.execute(
        "SELECT schema_name, table_name, list(column_name) FROM duckdb_columns() "
        "SEMI JOIN duckdb_tables() USING (database_name, schema_name, table_name) "
        "WHERE database_name = current_database() GROUP BY ALL"
    ).fetchall()
    for schema, table, names in columns:
        name = sql_name((schema, table))
        segments = connection.execute(f"SELECT DISTINCT stats FROM pragma_storage_info({quoted(name)})").fetchall()
        of_table = connection.execute(
            f"SELECT {', '.join(f'stats({quote(column)})' for column in names)} FROM {name} LIMIT 1"
        ).fetchall()
        said += [text for row in (*segments, *of_table) for text in row if text]
    return "\n".join(said)


def _overwrite(
    path: Path, layout: Layout, blocks: Iterable[int], unused: Callable[[int, bytes], Iterable[tuple[int, int]]]
) -> None:
    """Overwrite parts of some blocks, given as where they begin and end.

    A block whose checksum is not the one expected is left as it is.
    """
    with path.open("r+b", buffering=0) as file:
        for number in blocks:
            place = HEADER + number * layout.block_size
            block = bytearray(os.pread(file.fileno(), layout.block_size, place))
            if block[:_CHECKSUM] != _checksum(block[_CHECKSUM:]):
                continue
            for first, last in list(unused(number, bytes(block))):
                block[first:last] = bytes(last - first)
            block[:_CHECKSUM] = _checksum(block[_CHECKSUM:])
            os.pwrite(file.fileno(), block, place)
        os.fsync(file.fileno())


def _checksums(path: Path, layout: Layout) -> dict[int, bytes]:
    """What the file says of the content of each block that is in use."""
    with path.open("rb", buffering=0) as file:
        return {
            block: os.pread(file.fileno(), _CHECKSUM, HEADER + block * layout.block_size)
            for block in {*layout.columns, *layout.described}
        }


def _checksum(content: bytes | bytearray) -> bytes:
    """Checksum of a block's content, whose length is a multiple of eight (DuckDB, ``src/common/checksum.cpp``)."""
    words = np.frombuffer(content, dtype="<u8") * np.uint64(0xBF58476D1CE4E5B9)
    return (np.uint64(5381) ^ np.bitwise_xor.reduce(words)).astype("<u8").tobytes()


def _write_anew(path: Path, settings: Settings, layout: Layout, places: Collection[int]) -> bool:
    """Write the row groups at some places of a file anew, behind the others; False where that cannot be done."""
    if not all(layout.is_in_use(layout.block_of(place)) and place >= HEADER for place in places):
        return False
    groups = layout.stored_at(places).keys()
    with duckdb.connect(str(path), config=_config(settings)) as connection:
        connection.execute(WITHOUT_PACKING)
        connection.execute(_ONE_CHECKPOINT)
        if _indexed(connection) & {group.table for group in groups}:
            return False
        tables = [(table, list(some)) for table, some in groupby(sorted(groups), key=lambda group: group.table)]
        with ThreadPoolExecutor(settings.duckdb_threads) as pool:
            written = list(pool.map(lambda each: _write_groups_anew(connection, *each), tables))
        if not all(written):
            return False
        connection.execute("CHECKPOINT")
    return True


def _write_groups_anew(connection: duckdb.DuckDBPyConnection, table: str, groups: Collection[RowGroup]) -> bool:
    """Put rows of some row groups of a table behind the others; False where the rest of the table stands against it."""
    with connection.cursor() as cursor:
        try:
            cursor.execute("BEGIN")
            # What is inserted lies behind the row groups, and so is not deleted with them. One by one: DuckDB reads
            # the whole table for several of them together.
            for group in groups:
                cursor.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE {group.condition}")
            for group in groups:
                cursor.execute(f"DELETE FROM {table} WHERE {group.condition}")
            cursor.execute("COMMIT")
        except duckdb.Error:
            # Closing the cursor takes back what was not committed.
            return False
    return True
