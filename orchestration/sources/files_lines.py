"""Logs: which lines of a file are new though it grew, was rotated or compressed, and lines made columns.

A log is known by its beginning. A file whose first bytes are those that an earlier load read, whatever it is called by
now, is that log, and is read from there on: ``access.log`` that grew, ``access.log.1``, ``access.log.2.gz``. Rows are
filed under the hash of the log's first line and numbered by line, so that each line is one row, also where two are
alike. Does not belong here: archives and encodings (``files``).
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import polars as pl

from orchestration.sources.errors import one_line
from orchestration.sources.kinds import Batch
from orchestration.sources.landing import REJECT_SCHEMA, FileStamp

ACCESS_LOG = (
    r"(?<remote_addr>\S+) (?<remote_ident>\S+) (?<remote_user>.*?) \[(?<time_local>[^\]]+)\] "
    r'"(?<request>(?<request_method>[A-Z]+) (?<request_uri>[^" ]+)(?: (?<server_protocol>[^" ]+))?'
    r'|(?:[^"\\]|\\.)*)" '
    r"(?<status>\d{3}) (?<body_bytes_sent>\d+|-)"
    r'(?: "(?<http_referer>(?:[^"\\]|\\.)*)" "(?<http_user_agent>(?:[^"\\]|\\.)*)")?(?<more>.*)'
)
"""The common and the combined log format of Apache and nginx; what a server adds at the end is ``more``."""
QUIET_SECONDS = 600
"""A last line without its end is taken once the file was not written for so long."""
_CHUNK = 1 << 20
_LOCAL_TIME = "%d/%b/%Y:%H:%M:%S %z"


@dataclass(frozen=True)
class NewLines:
    """What of a file is to be read.

    Attributes:
        name: What the rows of the log are filed under.
        begin: First byte.
        end: Byte behind the last.
        sha256: Hash of the bytes up to ``end``.
        lines: Lines before ``begin``.
    """

    name: str
    begin: int
    end: int
    sha256: str
    lines: int


class Limited(io.RawIOBase):
    """The bytes of a stream between two positions."""

    def __init__(self, stream: BinaryIO, begin: int, end: int) -> None:
        self._stream = stream
        self._left = end - begin
        while begin > 0 and (passed := len(stream.read(min(begin, _CHUNK)))):
            begin -= passed

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, nothing at the end."""
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def new_lines(
    opened: Callable[[], AbstractContextManager[BinaryIO]],
    stamp: FileStamp,
    known: Sequence[FileStamp],
    *,
    may_grow: bool,
) -> NewLines | None:
    """Which lines of a file no load has brought; None where there are none.

    Args:
        opened: Opens the file's text.
        stamp: The file; logs of other folders are others.
        known: What earlier loads read, and this one so far.
        may_grow: Whether a last line without its end may still be written.
    """
    folder = PurePosixPath(stamp.path).parent
    # Two machines may begin a log with the same line; one log does not leave its folder.
    known = [entry for entry in known if entry.log is not None and PurePosixPath(entry.path).parent == folder]
    # A log goes on from where it was read last: another one may begin with the same header.
    latest = list({entry.log: entry for entry in known}.values())
    ends = sorted({entry.size for entry in latest})
    hashes: dict[int, str] = {}
    digest = hashlib.sha256()
    position = end = 0
    tail, first_line = b"", b""
    with opened() as stream:
        while chunk := stream.read(_CHUNK):
            if b"\n" not in first_line:
                first_line += chunk
            # Only whole lines are hashed; what follows the last line end is kept for the next chunk.
            data = tail + chunk
            cut = data.rfind(b"\n") + 1
            whole, tail = data[:cut], data[cut:]
            begin = end
            end += len(whole)
            for wanted in [size for size in ends if begin < size <= end]:
                digest.update(whole[position - begin : wanted - begin])
                position = wanted
                hashes[wanted] = digest.copy().hexdigest()
            digest.update(whole[position - begin :])
            position = end
    if tail and not may_grow:
        for wanted in [size for size in ends if end < size <= end + len(tail)]:
            part = digest.copy()
            part.update(tail[: wanted - end])
            hashes[wanted] = part.hexdigest()
        digest.update(tail)
        end += len(tail)
    if not end:
        return None
    before = [entry for entry in latest if hashes.get(entry.size) == entry.sha256]
    if before:
        last = max(before, key=lambda entry: entry.size)
        if last.size == end:
            return None
        return NewLines(str(last.log), last.size, end, digest.hexdigest(), last.lines)
    name = _name(stamp.path, first_line.partition(b"\n")[0], {str(entry.log) for entry in known})
    return NewLines(name, 0, end, digest.hexdigest(), 0)


def lines_as_rows(lines: Sequence[str], pattern: str, first: int, *, is_access_log: bool = False) -> Batch:
    """Lines as rows of the pattern's named groups.

    Args:
        lines: Lines without their ends; blank ones are passed over.
        pattern: Regular expression that a whole line matches.
        first: Lines before these.
        is_access_log: Whether ``-`` is null, and ``time_local`` is given as an ISO time too, as ``time``.

    Returns:
        A row a line that matches, with ``_row``; the others as rejects ``pattern_mismatch``.
    """
    frame = pl.DataFrame({"text": lines}, schema={"text": pl.String}).with_columns(
        pl.col("text").str.strip_suffix("\r"), _row=pl.int_range(first + 1, first + 1 + len(lines), dtype=pl.Int64)
    )
    frame = frame.filter(pl.col("text") != "")
    whole = f"^(?:{pattern})$"
    fits = frame["text"].str.contains(whole)
    names = named_groups(pattern)
    found = frame.filter(fits)
    groups = found.select(pl.col("text").str.extract_groups(whole).alias("groups"), "_row")
    rows = groups.select(*(pl.col("groups").struct.field(name) for name in names), "_row")
    if is_access_log:
        fields = [name for name in names if name != "more"]
        moment = pl.col("time_local").str.to_datetime(_LOCAL_TIME, strict=False)
        # Polars counts in UTC; the offset is kept as it was written.
        offset = pl.col("time_local").str.extract(r"([+-]\d{4})$")
        minutes = (offset.str.slice(1, 2).cast(pl.Int32) * 60 + offset.str.slice(3, 2).cast(pl.Int32)) * pl.when(
            offset.str.starts_with("-")
        ).then(-1).otherwise(1)
        local = (moment.dt.replace_time_zone(None) + pl.duration(minutes=minutes)).dt.strftime("%Y-%m-%dT%H:%M:%S")
        time = pl.concat_str(local, offset.str.slice(0, 3), pl.lit(":"), offset.str.slice(3, 2)).alias("time")
        is_bad = rows.select(moment.is_null()).to_series()
        fits = _also(fits, ~is_bad)
        rows = rows.filter(~is_bad).select(
            *(pl.when(pl.col(name) != "-").then(pl.col(name)).alias(name) for name in fields),
            time,
            pl.col("more").str.strip_chars(),
            "_row",
        )
    bad = frame.filter(~fits)
    rejects = bad.select(
        pl.lit(None, pl.String).alias("_file"), "_row", pl.lit("pattern_mismatch").alias("reason"), "text"
    )
    return Batch(rows, rejects.select(list(REJECT_SCHEMA)) if bad.height else None)


def named_groups(pattern: str) -> list[str]:
    """Names of a pattern's groups, in order.

    Raises:
        ValueError: the pattern is none that is understood, or names no group.
    """
    try:
        found: Any = pl.select(pl.lit("").str.extract_groups(f"^(?:{pattern})$")).to_series().dtype
    except (pl.exceptions.ComputeError, pl.exceptions.PolarsError) as error:
        raise ValueError(
            f"the pattern cannot be understood ({one_line(error, 200)}); it is a regular expression "
            "without look-around or back-references"
        ) from None
    names = [field.name for field in found.fields if not re.fullmatch(r"\d+", field.name)]
    if not names:
        raise ValueError("the pattern names no group; write (?<name>…) for each column")
    return names


def _also(fits: pl.Series, further: pl.Series) -> pl.Series:
    """``fits`` where those that do are held against ``further``, one for each of them."""
    at = fits.arg_true()
    kept = at.filter(further)
    return pl.Series(range(fits.len()), dtype=pl.UInt32).is_in(kept.implode())


def _name(path: str, first_line: bytes, taken: set[str]) -> str:
    """What the rows of a log are filed under: its folder and first line; a name of its own where two begin alike."""
    folder = PurePosixPath(path).parent.as_posix()
    base = f"{'' if folder == '.' else folder + '/'}log-{hashlib.sha256(first_line).hexdigest()[:16]}"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


__all__ = ["ACCESS_LOG", "QUIET_SECONDS", "Limited", "NewLines", "lines_as_rows", "named_groups", "new_lines"]
