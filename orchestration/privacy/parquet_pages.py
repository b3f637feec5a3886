"""Text values of a Parquet file as they lie in it: the pages that hold any, taken out of their compression.

A page of numbers into a dictionary holds no text: the dictionary does, once for each value, and such pages are passed
over unread. Whatever is not stored in one of the ways known here is refused (``UnknownError``), never left out.

Does not belong here: what is looked for in the pages (``bytes_search``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
"""Types of pages; what the header says of a page is its field of that number and five."""
_PLAIN, _DELTA_LENGTH = 0, 6
_OLD_DICTIONARY, _RLE_DICTIONARY = 2, 8
_WHOLE = {_PLAIN, _DELTA_LENGTH}
"""Encodings in which the bytes of a value lie side by side."""
_NUMBERS = {_OLD_DICTIONARY, _RLE_DICTIONARY}
"""Encodings of pages that hold numbers into a dictionary."""
_CODECS = {"ZSTD": "zstd", "SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "UNCOMPRESSED": None}
_TRUE, _FALSE, _BYTE, _SHORT, _LONG, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 4, 6, 7, 8, 12
"""Types of Thrift's compact protocol, in which a page's header is written; whole numbers are 4 to 6."""


class UnknownError(ValueError):
    """A file that is stored in a way that is not known here."""


def text_pages(
    content: pa.Buffer, metadata: pq.FileMetaData, names: Collection[str]
) -> Iterator[tuple[str, pa.Buffer]]:
    """Column and bytes of each page that holds texts of some columns, one row group after another.

    Every value of the columns lies whole in one of them, between bytes that belong to the format.

    Args:
        content: The file.
        metadata: Its metadata.
        names: Text columns that are no part of others.

    Raises:
        UnknownError: some of it is stored in another way than those known.
    """
    view = memoryview(content)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        missing = set(names)
        for position in range(metadata.num_columns):
            chunk = group.column(position)
            if (name := chunk.path_in_schema) in names:
                missing.discard(name)
                for page in _pages_of(content, view, chunk):
                    yield name, page
        if missing:
            raise UnknownError(f"no column {', '.join(sorted(missing))}")


def _pages_of(content: pa.Buffer, view: memoryview, chunk: pq.ColumnChunkMetaData) -> Iterator[pa.Buffer]:
    codec = _codec(chunk.compression)
    at = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    has_dictionary = False
    seen, values = 0, chunk.num_values
    while seen < values:
        try:
            header, at = _struct(view, at)
            kind, told = header[1], header[header[1] + 5]
            encoding, rows, skipped = told[2], told[1], 0
            if kind == _DATA_V2:
                # Which values are null stands in front, never compressed.
                encoding, skipped = told[4], told[5] + told[6]
            size, plain_size = header[3] - skipped, header[2] - skipped
            if min(size, plain_size, rows, skipped) < 0 or at + skipped + size > len(view):
                raise UnknownError("page beyond its file")
            is_dictionary = kind == _DICTIONARY and encoding in {_PLAIN, _OLD_DICTIONARY}
            is_data = kind in {_DATA, _DATA_V2}
            if not is_dictionary and not (
                is_data and (encoding in _WHOLE or (encoding in _NUMBERS and has_dictionary))
            ):
                raise UnknownError(f"page of type {kind} in encoding {encoding}")
        except (LookupError, TypeError) as error:
            raise UnknownError(f"page header: {error}") from error
        if plain_size and (is_dictionary or encoding in _WHOLE):
            body = content.slice(at + skipped, size)
            is_packed = kind != _DATA_V2 or told.get(7, True)
            yield codec.decompress(body, plain_size) if codec is not None and is_packed else body
        at += skipped + size
        has_dictionary = has_dictionary or is_dictionary
        seen += 0 if is_dictionary else rows
    if seen != values:
        raise UnknownError("more values than told")


@cache
def _codec(compression: str) -> pa.Codec | None:
    if compression not in _CODECS:
        raise UnknownError(f"compression {compression}")
    name = _CODECS[compression]
    return None if name is None else pa.Codec(name)


def _struct(view: memoryview, at: int) -> tuple[dict[int, Any], int]:
    """Fields of a Thrift struct by their number, and where it ends; texts are passed over."""
    fields: dict[int, Any] = {}
    number = 0
    while head := view[at]:
        at += 1
        kind = head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, at = _unsigned(view, at)
            number = number >> 1 ^ -(number & 1)
        if _SHORT <= kind <= _LONG:
            value, at = _unsigned(view, at)
            fields[number] = value >> 1 ^ -(value & 1)
        elif kind == _BINARY:
            length, at = _unsigned(view, at)
            at += length
        elif kind == _STRUCT:
            fields[number], at = _struct(view, at)
        elif kind in {_TRUE, _FALSE}:
            fields[number] = kind == _TRUE
        elif kind == _BYTE:
            at += 1
        elif kind == _DOUBLE:
            at += 8
        else:
            raise UnknownError(f"field of type {kind}")
    return fields, at + 1


def _unsigned(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := view[at]) & 128:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1
