"""Rows of MySQL's text protocol made columns, many rows at a time.

The server sends every value as text already; taking a row apart in Python costs more than all the rest of a load.
Here the n-th value of all rows is found at once, and the bytes stay where they came. Does not belong here: the
connection, and what a value means (``mysql``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

_HEADER = 4
_LARGEST = 0xFFFFFF
_END, _ERROR = 0xFE, 0xFF
_NULL, _TWO, _THREE, _EIGHT = 0xFB, 0xFC, 0xFD, 0xFE
_INLINE = 12
"""Bytes of a value that an Arrow view holds itself."""
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)
"""To a number of bytes, those bytes of a word."""


class ServerFaultError(Exception):
    """A packet that stands where a row was expected and says why there are no more; its bytes are the argument."""


def packets(read: Callable[[], bytes], size: int) -> Iterator[list[bytes]]:
    """The rows of an answer, as the bytes of their packets, in lists of about ``size`` bytes.

    Args:
        read: Gives some bytes, none where the connection ended.
        size: Bytes after which a list is handed on.

    Raises:
        ServerFaultError: the server broke off with an error.
        ConnectionError: the connection ended before the answer did.
    """
    data, at = b"", 0
    rows: list[bytes] = []
    held = 0
    is_continued = False
    while True:
        # One turn a row: what is done here is done for each of them.
        while len(data) - at >= _HEADER and len(data) - at >= _HEADER + (
            length := data[at] | data[at + 1] << 8 | data[at + 2] << 16
        ):
            begin = at + _HEADER
            at = begin + length
            payload = data[begin:at]
            if is_continued:
                rows[-1] += payload
            elif length and payload[0] == _END and length < 9:
                if rows:
                    yield rows
                return
            elif length and payload[0] == _ERROR:
                raise ServerFaultError(payload)
            else:
                rows.append(payload)
            is_continued = length == _LARGEST
            held += length
            if held >= size and not is_continued:
                yield rows
                rows, held = [], 0
        if not (more := read()):
            raise ConnectionError("the connection ended in the middle of an answer")
        data, at = data[at:] + more, 0


def columns(rows: Sequence[bytes], width: int) -> list[pl.Series]:
    """The values of rows, column by column.

    Args:
        rows: Packets of ``width`` values each: a length and that many bytes, or the sign of null.
        width: Number of columns.

    Returns:
        ``width`` series of type Binary, as long as ``rows``.
    """
    # What is read beyond the last value must be there.
    data = b"".join((*rows, bytes(_INLINE)))
    buffer = np.frombuffer(data, np.uint8)
    sizes = np.fromiter(map(len, rows), np.int64, len(rows))
    at = np.cumsum(sizes) - sizes
    found = []
    for _ in range(width):
        first = buffer[at]
        is_null = first == _NULL
        length = first.astype(np.int64)
        start = at + 1
        length[is_null] = 0
        for sign, count in ((_TWO, 2), (_THREE, 3), (_EIGHT, 8)):
            if (wide := np.flatnonzero(first == sign)).size:
                digits = buffer[at[wide, None] + np.arange(1, count + 1)].astype(np.int64)
                length[wide] = (digits << (8 * np.arange(count))).sum(axis=1)
                start[wide] += count
        at = start + length
        found.append(_series(data, start, length, is_null))
    return found


def _series(data: bytes, start: np.ndarray, length: np.ndarray, is_null: np.ndarray) -> pl.Series:
    views = np.zeros((len(start), 4), np.uint32)
    views[:, 0] = length
    # The first bytes stand in the view itself: all of a short value, four of a long one, which goes on in the data.
    eight = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))[start] & _MASKS[np.minimum(length, 8)]
    views[:, 1:3] = eight.view(np.uint32).reshape(-1, 2)
    if len(more := np.flatnonzero(length > 8)):
        four = np.ndarray((len(data) - 3,), "<u4", data, strides=(1,))[start[more] + 8]
        views[more, 3] = four & _MASKS[np.minimum(length[more] - 8, 4)].astype(np.uint32)
    if len(long := np.flatnonzero(length > _INLINE)):
        views[long, 2] = 0
        views[long, 3] = start[long]
    validity = pa.py_buffer(np.packbits(~is_null, bitorder="little")) if is_null.any() else None
    buffers = [validity, pa.py_buffer(views), pa.py_buffer(data)]
    series = pl.from_arrow(pa.Array.from_buffers(pa.binary_view(), len(start), buffers))
    assert isinstance(series, pl.Series)
    return series


__all__ = ["ServerFaultError", "columns", "packets"]
