"""CSV, JSON lines, Parquet, Excel and log files, compressed too: rows as text, file by file, in bounded memory.

A file is known by its content: one that was landed already is passed over, a changed one lands again. Does not
belong here: where files lie (``files_storage``), sheets (``files_excel``) and logs (``files_lines``), what a platform's
header means (``profiles``), and anything about contracts.
"""

from __future__ import annotations

import codecs
import csv
import functools
import gzip
import hashlib
import io
import itertools
import json
import os
import time
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Literal

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from pydantic import Field, field_validator, model_validator

from orchestration.contracts.mapping import StrictModel
from orchestration.sources.drift import require_columns
from orchestration.sources.errors import SourceError
from orchestration.sources.files_excel import sheet_cells
from orchestration.sources.files_lines import ACCESS_LOG, QUIET_SECONDS, Limited, lines_as_rows, named_groups, new_lines
from orchestration.sources.files_replaced import Replaced
from orchestration.sources.files_storage import (
    FilesConnection,
    Listed,
    SourceFile,
    Storage,
    is_remote,
    storage_of,
    without,
)
from orchestration.sources.kinds import Batch, Delivery, Plan, ReadRequest, SourceKind
from orchestration.sources.landing import REJECT_SCHEMA, FileStamp
from orchestration.sources.profiles import (
    CSV_PROFILES,
    GA4_ALWAYS,
    GA4_KEYED,
    ga4_missing,
    ga4_rows,
    is_import_id_row,
    joined_names,
    qualtrics_names,
    surveymonkey_names,
    unique_names,
)

if TYPE_CHECKING:
    from orchestration.settings import Settings
    from orchestration.sources.config import SourceConfig

_CHUNK = 1 << 20
_BLOCK = 16 << 20
_LINES = 32 << 20
_PARQUET_ROWS = 65_536
_PLANNED = 3
"""Names of files that a plan tells."""
_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".xlsb": "xlsx",
    ".xls": "xlsx",
    ".log": "lines",
}
_MAGIC = {b"\x1f\x8b": "gz", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x28\xb5\x2f\xfd": "zst"}
_COMPRESSED_ENDINGS = {".gz": "gz", ".zip": "zip", ".zst": "zst"}
_TRIED_ENCODINGS = ("utf-16", "utf-16-le", "gb18030", "big5", "shift_jis", "cp1252", "latin-1")


class FilesOrigin(StrictModel):
    """``from`` of a stream of files.

    Attributes:
        path: File or glob; ``{home}`` is the warehouse's folder, a relative path starts at the YAML's folder. A URL
            such as ``s3://bucket/folder/*.csv.gz`` names objects.
        exclude: Patterns of names that are passed over; by default what the profile says.
        format: ``csv``, ``jsonl``, ``parquet``, ``xlsx`` or ``lines``; by the ending where it is not given.
        profile: Platform whose layout the file has.
        delimiter: One character, or ``tab``.
        quote: Quoting character; empty where fields are never quoted.
        encoding: Any encoding Python knows.
        skip_rows: Lines in front of the header.
        header_rows: Rows of the header; several are joined, 0 needs ``columns``.
        columns: Column names of a file without header.
        null_tokens: Unquoted texts that mean null besides the empty field.
        compression: ``auto`` by content; ``none``, ``gz``, ``zip`` (each file inside is one), ``zst``.
        sheet: Name of the sheet of a workbook; the first one where it is not given.
        pattern: Regular expression of a line, whose named groups are the columns; of format ``lines``.
        on_missing: Whether no file at all is an error or nothing new.
    """

    NOT_READING: ClassVar[frozenset[str]] = frozenset({"path", "exclude", "on_missing"})
    """Keys that choose files and do not change how one is read."""

    path: str
    exclude: list[str] | None = None
    format: Literal["csv", "jsonl", "parquet", "xlsx", "lines"] | None = None
    profile: Literal["ga4_bigquery", "qualtrics", "surveymonkey", "access_log"] | None = None
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    skip_rows: int = Field(default=0, ge=0)
    header_rows: int = Field(default=1, ge=0, le=5)
    columns: list[str] | None = None
    null_tokens: list[str] = Field(default_factory=list)
    compression: Literal["auto", "none", "gz", "zip", "zst"] = "auto"
    sheet: str | None = None
    pattern: str | None = None
    on_missing: Literal["error", "skip"] = "error"

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str) -> str:
        value = {"tab": "\t", "\\t": "\t"}.get(value, value)
        if len(value) != 1 or not value.isascii():
            raise ValueError(f"{value!r} is no delimiter; give one character such as ',' ';' or 'tab'")
        return value

    @field_validator("quote")
    @classmethod
    def _at_most_one_character(cls, value: str) -> str:
        if len(value) > 1:
            raise ValueError(f"{value!r} is no quoting character; give one character, or '' for none")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            return codecs.lookup(value).name
        except LookupError:
            raise ValueError(f"{value!r} is no encoding; use a name such as utf-8, gb18030 or latin-1") from None

    @model_validator(mode="after")
    def _fitting(self) -> FilesOrigin:
        kind = self.format_of(SourceFile.of(Path(self.path)))
        # What an archive holds is read by the endings in there.
        if kind is None and not self.path.lower().endswith(".zip"):
            raise ValueError(
                f"the ending of {self.path!r} names no format; add format: csv, jsonl, parquet, xlsx, lines"
            )
        if self.profile in CSV_PROFILES and kind != "csv":
            raise ValueError(f"profile {self.profile!r} is a CSV export; format is {kind!r}")
        if self.profile == "ga4_bigquery" and kind == "csv":
            raise ValueError("profile 'ga4_bigquery' is nested: jsonl or parquet; for a flat CSV leave the profile out")
        if self.profile == "access_log" and kind != "lines":
            raise ValueError(f"profile 'access_log' reads lines; format is {kind!r}, add format: lines")
        if kind == "lines" and (self.pattern is None) == (self.profile != "access_log"):
            raise ValueError("format 'lines' needs a pattern with named groups, or profile: access_log (not both)")
        if kind != "lines" and self.pattern is not None:
            raise ValueError(f"'pattern' is for format lines; format is {kind!r}")
        if kind != "xlsx" and self.sheet is not None:
            raise ValueError(f"'sheet' is for format xlsx; format is {kind!r}")
        if self.pattern is not None:
            named_groups(self.pattern)
        if (self.header_rows == 0) != (self.columns is not None):
            raise ValueError("header_rows: 0 and 'columns' (the names) go together")
        if self.columns is not None and unique_names(self.columns) != self.columns:
            raise ValueError("'columns' holds a blank or repeated name")
        return self

    @property
    def excluded(self) -> list[str]:
        """Patterns of names that are passed over; the unfinished tables of the day for GA4."""
        if self.exclude is not None:
            return self.exclude
        return ["*intraday*"] if self.profile == "ga4_bigquery" else []

    @property
    def default_deletes(self) -> str:
        """Strategy of a stream that declares none: exports that are written again for days replace whole files."""
        return "replaced_file" if self.profile == "ga4_bigquery" else "none"

    @property
    def is_log(self) -> bool:
        """Whether its files go on being written."""
        return self.format == "lines" or self.profile == "access_log" or self.pattern is not None

    def format_of(self, file: SourceFile) -> str | None:
        """Format of a file: as configured, else by its ending below the compression's."""
        if self.format or self.profile == "access_log":
            return self.format or "lines"
        # A pattern such as *.csv* stands for those with and without compression.
        endings = [ending.rstrip("*?") for ending in file.suffixes]
        if endings and endings[-1] in _COMPRESSED_ENDINGS:
            endings.pop()
        return _FORMATS.get(endings[-1]) if endings else None


def listed(source: SourceConfig, stream: str, settings: Settings) -> list[Listed]:
    """The files of a stream that are there now; none of them is read.

    Raises:
        SourceError: the storage cannot be listed.
        ConfigError: a secret that is not set.
    """
    origin: FilesOrigin = source.streams[stream].origin
    return _there(origin, storage_of(source, stream, origin.path, settings))


def _there(origin: FilesOrigin, storage: Storage) -> list[Listed]:
    return without(storage.list(), origin.excluded)


def read(request: ReadRequest) -> Delivery:
    """The files of the stream that are new or changed since they were landed.

    Raises:
        SourceError: no file, or one that cannot be read; names stream, file, record where possible, and the mend.
    """
    origin: FilesOrigin = request.config.origin
    storage = storage_of(request.source, request.stream, origin.path, request.settings)
    found = _there(origin, storage)
    if not found and origin.on_missing == "error":
        raise SourceError(
            f"{request.name}: {storage.absence()}. Deliver it, or correct streams.{request.stream}.from.path in "
            f"{request.source.path} (on_missing: skip where it may be absent)"
        )
    delivery = Delivery(kind="files")
    delivery.batches = _batches(request, origin, storage, found, delivery)
    return delivery


def plan(request: ReadRequest) -> Plan:
    """Which files are new or changed; those of a bucket are listed and not fetched.

    Raises:
        SourceError: the storage cannot be listed.
    """
    origin: FilesOrigin = request.config.origin
    storage = storage_of(request.source, request.stream, origin.path, request.settings)
    found = _there(origin, storage)
    known = _Known(request)
    names = [item.name for item in found if item.version not in {None, known.version_of(item.name)}]
    by_content = [item for item in found if item.version is None]
    names += [file.name for file, _ in _fresh(request, origin, storage, by_content, known)]
    shown = ", ".join(names[:_PLANNED]) + (" …" if len(names) > _PLANNED else "")
    window = f"{len(names)} new or changed of {len(found)} file{'' if len(found) == 1 else 's'}"
    return Plan(window=window, parts=len(names), note=shown if found else storage.absence())


def _batches(
    request: ReadRequest, origin: FilesOrigin, storage: Storage, found: Sequence[Listed], delivery: Delivery
) -> Iterator[Batch]:
    known = _Known(request)
    deletions = Replaced(request) if request.config.deletes.strategy == "replaced_file" else None
    fresh = _fresh(request, origin, storage, found, known)
    for kind, files in itertools.groupby(fresh, key=lambda file: origin.format_of(file[0])):
        for batch in _format_batches(request, origin, str(kind), files, delivery, known):
            if deletions is not None:
                deletions.note(batch.rows)
            yield batch
    if deletions is not None:
        yield from deletions.batches(delivery.files)
    delivery.is_nothing_new = not delivery.files


def _format_batches(  # noqa: PLR0917
    request: ReadRequest,
    origin: FilesOrigin,
    kind: str,
    files: Iterator[tuple[SourceFile, FileStamp]],
    delivery: Delivery,
    known: _Known,
) -> Iterator[Batch]:
    if kind == "jsonl":
        yield from _json_batches(request, origin, files, delivery)
        return
    for file, stamp in files:
        if kind == "lines":
            yield from _line_batches(request, origin, file, stamp, delivery, known)
        else:
            yield from _file_batches(request, origin, file, stamp, delivery)


def _fresh(
    request: ReadRequest, origin: FilesOrigin, storage: Storage, found: Sequence[Listed], known: _Known
) -> Iterator[tuple[SourceFile, FileStamp]]:
    """Files that were not landed as they are; each can be read until the next one is asked for."""
    for item in found:
        if known.version_of(item.name) == item.version is not None:
            continue
        with storage.fetch(item) as path:
            for file in _files_in(request, origin, SourceFile(item.name, item.location, path)):
                stamp = _stamp(request, file, item.version)
                # What is new in a log is told by its lines; one that is as it was read has none.
                is_log = origin.format_of(file) == "lines"
                if not (known.holds_log(stamp) if is_log else known.holds(stamp)):
                    yield file, stamp


def _files_in(request: ReadRequest, origin: FilesOrigin, file: SourceFile) -> list[SourceFile]:
    """The file itself, or those inside of an archive of several."""
    if origin.compression not in {"auto", "zip"}:
        return [file]
    with suppress(OSError, zipfile.BadZipFile), file.open() as raw:
        if _MAGIC.get(raw.read(4)) == "zip":
            with zipfile.ZipFile(raw) as archive:
                members = _members(archive)
            # A workbook is an archive itself.
            if "[Content_Types].xml" in members:
                return [file]
            if not members:
                raise SourceError(
                    f"{request.name}: file {file} holds 0 files () where one is expected; deliver it again"
                )
            if len(members) == 1 and origin.format_of(file) not in {None, "xlsx", "parquet"}:
                return [file]
            inside = [SourceFile(f"{file.name}/{name}", file.location, file.local, name) for name in members]
            inside = [inner for inner in inside if without([Listed(inner.name, "")], origin.excluded)]
            if unread := [str(inner.member) for inner in inside if origin.format_of(inner) is None]:
                raise SourceError(
                    f"{request.name}: file {file} holds {', '.join(unread[:5])}, whose ending names no format; say "
                    f"format or exclude in streams.{request.stream}.from of {request.source.path}"
                )
            if whole := [str(inner.member) for inner in inside if origin.format_of(inner) in {"xlsx", "parquet"}]:
                raise SourceError(
                    f"{request.name}: file {file} holds {', '.join(whole[:5])}, which cannot be read from within an "
                    "archive; unpack it"
                )
            return inside
    return [file]


def _members(archive: zipfile.ZipFile) -> list[str]:
    """Files in an archive, without what macOS adds to it."""
    return [
        info.filename
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith("__MACOSX/") and not info.filename.endswith(".DS_Store")
    ]


def _stamp(request: ReadRequest, file: SourceFile, version: str | None = None) -> FileStamp:
    try:
        with file.open() as raw:
            digest = hashlib.file_digest(raw, "sha256")
            size = raw.tell()
    except OSError as error:
        raise SourceError(f"{request.name}: file {file} cannot be read ({error}); look at its permissions") from error
    if file.member is not None:
        digest.update(file.member.encode())
    return FileStamp(path=file.name, size=size, sha256=digest.hexdigest(), version=version)


class _Known:
    """Files that were landed as the stream is read today."""

    def __init__(self, request: ReadRequest) -> None:
        loads = [load for load in request.history if load.config_hash == request.config.config_hash]
        self.stamps = [stamp for load in loads for stamp in load.files]
        self._by_name = {stamp.path: stamp for stamp in self.stamps}
        self._contents = {stamp.sha256 for stamp in self.stamps}

    def version_of(self, name: str) -> str | None:
        """The version of an object, or of an archive that held files, that was landed last under its name."""
        if name in self._by_name:
            return self._by_name[name].version
        inside = [stamp.version for path, stamp in self._by_name.items() if path.startswith(f"{name}/")]
        return inside[0] if inside and len(set(inside)) == 1 else None

    def holds(self, stamp: FileStamp) -> bool:
        """Whether this content was landed last under its name, or under another name; it is known from now on."""
        # A name landed before is compared with its own last content: one that went back to an older content is new.
        before = self._by_name.get(stamp.path)
        if stamp.sha256 in self._contents if before is None else before.sha256 == stamp.sha256:
            return True
        self._contents.add(stamp.sha256)
        return False

    def holds_log(self, stamp: FileStamp) -> bool:
        """Whether this log was read to its end, under this name."""
        before = self._by_name.get(stamp.path)
        return before is not None and (before.size, before.sha256) == (stamp.size, stamp.sha256)

    def add(self, stamp: FileStamp) -> None:
        """Know a log."""
        self.stamps.append(stamp)


def read_file(request: ReadRequest, origin: FilesOrigin, path: Path) -> Iterator[Batch]:
    """Rows of one CSV or Parquet file as text, batch by batch, with ``_row``.

    Raises:
        SourceError: it cannot be read, or lacks a declared column.
    """
    file = SourceFile.of(path)
    return _READERS[str(origin.format_of(file))](request, origin, file)


def _file_batches(
    request: ReadRequest, origin: FilesOrigin, file: SourceFile, stamp: FileStamp, delivery: Delivery
) -> Iterator[Batch]:
    rows = 0
    for batch in _READERS[str(origin.format_of(file))](request, origin, file):
        rows += batch.rows.height + (0 if batch.rejects is None else batch.rejects.height)
        yield Batch(
            batch.rows.with_columns(pl.lit(stamp.path).alias("_file")),
            None if batch.rejects is None else batch.rejects.with_columns(pl.lit(stamp.path).alias("_file")),
        )
    _require_unchanged(request, file, stamp)
    delivery.files.append(replace(stamp, rows=rows))


def _line_batches(  # noqa: PLR0917
    request: ReadRequest,
    origin: FilesOrigin,
    file: SourceFile,
    stamp: FileStamp,
    delivery: Delivery,
    known: _Known,
) -> Iterator[Batch]:
    """The lines of a log that no load has brought."""
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(file.open())
        except OSError as error:
            raise SourceError(f"{request.name}: file {file} cannot be read ({error})") from error

        @contextmanager
        def opened() -> Iterator[BinaryIO]:
            raw.seek(0)
            with _faults(request, file), _decompressed(request, origin, file, raw) as text:
                yield text

        # What is compressed or an object is whole; so is what nobody wrote to for a while.
        is_plain = not is_remote(file.location) and not any(map(raw.read(4).startswith, _MAGIC))
        may_grow = is_plain and os.fstat(raw.fileno()).st_mtime > time.time() - QUIET_SECONDS
        log = new_lines(opened, stamp, known.stamps, may_grow=may_grow)
        if log is None:
            return
        with opened() as text:
            pattern = origin.pattern or ACCESS_LOG
            source = _Utf8Source(
                Limited(text, log.begin, log.end), origin.encoding, _no_text(request, origin, file), ""
            )
            first, rows = log.lines, 0
            while chunk := source.read_lines(_LINES):
                lines = chunk.decode("utf-8").removesuffix("\n").split("\n")
                batch = lines_as_rows(lines, pattern, first, is_access_log=origin.profile == "access_log")
                first += len(lines)
                rows += len(lines)
                name = pl.lit(log.name).alias("_file")
                require_columns(request, batch.rows.columns, f"file {file}")
                rejects = None if batch.rejects is None else batch.rejects.with_columns(name)
                yield Batch(batch.rows.with_columns(name), rejects)
    landed = replace(stamp, size=log.end, sha256=log.sha256, rows=rows, log=log.name, lines=first)
    known.add(landed)
    delivery.files.append(landed)


def _require_unchanged(request: ReadRequest, file: SourceFile, stamp: FileStamp) -> None:
    if _stamp(request, file, stamp.version) != stamp:
        raise SourceError(
            f"{request.name}: file {file} changed while it was read; deliver files by rename, then try again",
            transient=True,
        )


def _read_csv(request: ReadRequest, origin: FilesOrigin, file: SourceFile) -> Iterator[Batch]:
    with _open(request, origin, file) as source:
        for _ in range(origin.skip_rows):
            source.readline()
        names = _csv_names(request, origin, file, source)
        if names is None:
            return
        if len(names) == 1 and (other := next((sign for sign in ",;\t|" if sign in names[0]), None)):
            hint = f"; the header holds {other!r}: is that the delimiter?"
        else:
            hint = ""
        try:
            require_columns(request, names, f"file {file}")
        except SourceError as error:
            raise SourceError(f"{error}{hint}") from None
        empty = pl.DataFrame(schema=dict.fromkeys(names, pl.String))
        yield Batch(empty)
        yield from _csv_rows(request, origin, file, source, names)


def _csv_rows(
    request: ReadRequest, origin: FilesOrigin, file: SourceFile, source: _Utf8Source, names: list[str]
) -> Iterator[Batch]:
    bad: list[tuple[int, str, str]] = []

    def keep_bad(row: pa_csv.InvalidRow) -> str:
        reason = "too_few_fields" if row.actual_columns < row.expected_columns else "too_many_fields"
        bad.append((row.number, reason, row.text))
        return "skip"

    if not source.has_more():
        return
    start = source.quotes
    options = {
        "read_options": pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=names),
        "parse_options": pa_csv.ParseOptions(
            delimiter=origin.delimiter,
            quote_char=origin.quote or False,
            newlines_in_values=bool(origin.quote),
            invalid_row_handler=keep_bad,
        ),
        "convert_options": pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=["", *origin.null_tokens],
        ),
    }
    record = 1
    skipped: set[int] = set()
    try:
        for found in pa_csv.open_csv(pa.PythonFile(source, mode="r"), **options):
            rows = _from_arrow(pa.Table.from_batches([found]))
            # A block may end with rejected records: they count for the next one too.
            skipped = {number for number in skipped if number >= record} | {number for number, _, _ in bad}
            numbers, record = _numbers(rows.height, record, skipped)
            yield Batch(rows.with_columns(numbers), _rejects(bad))
            bad.clear()
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error) and not bad:
            return
        if "straddling" in str(error):
            raise SourceError(
                f"{request.name}, file {file}, after record {record - 1}: a record is longer than {_BLOCK >> 20} MB; "
                "most "
                "likely a quote is opened and never closed. Correct the file, or set quote: '' where fields are not "
                "quoted"
            ) from error
        if "Empty CSV file" not in str(error):
            raise SourceError(
                f"{request.name}, file {file}, near record {record}: {error}; correct the file"
            ) from error
    if bad:
        yield Batch(pl.DataFrame(schema=dict.fromkeys(names, pl.String)), _rejects(bad))
    if origin.quote and (source.quotes - start) % 2:
        _require_closed_quotes(request, origin, file)


def _numbers(height: int, first: int, skipped: set[int]) -> tuple[pl.Series, int]:
    """Record numbers of ``height`` rows from ``first`` on, leaving out those that were rejected."""
    if not any(number >= first for number in skipped):
        return pl.Series("_row", range(first, first + height), dtype=pl.Int64), first + height
    numbers = pl.Series("_row", range(first, first + height + len(skipped)), dtype=pl.Int64)
    numbers = numbers.filter(~numbers.is_in(list(skipped))).head(height)
    return numbers, (int(numbers[-1]) + 1 if height else first)


def _rejects(bad: Sequence[tuple[int, str, str]]) -> pl.DataFrame | None:
    if not bad:
        return None
    frame = pl.DataFrame(list(bad), schema={"_row": pl.Int64, "reason": pl.String, "text": pl.String}, orient="row")
    return frame.select(pl.lit(None, pl.String).alias("_file"), *list(REJECT_SCHEMA)[1:])


def _require_closed_quotes(request: ReadRequest, origin: FilesOrigin, file: SourceFile) -> None:
    """An odd number of quotes may be a stray one inside a field; only one that runs to the end lost rows."""
    limit = csv.field_size_limit(1 << 30)
    with _open(request, origin, file) as source:
        buffered = io.BufferedReader(source, _CHUNK)
        lines = iter(lambda: buffered.readline().decode("utf-8"), "")
        reader = csv.reader(lines, delimiter=origin.delimiter, quotechar=origin.quote, strict=True)
        record = 0
        try:
            for _ in reader:
                record += 1
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise SourceError(
                    f"{request.name}, file {file}: a quote opened in record {record + 1} (line {reader.line_num} is "
                    "the "
                    "end of the file) is never closed, so the records after it were swallowed; correct the file, or "
                    "set "
                    "quote: '' where fields are not quoted"
                ) from error
        finally:
            csv.field_size_limit(limit)


def _csv_names(request: ReadRequest, origin: FilesOrigin, file: SourceFile, source: _Utf8Source) -> list[str] | None:
    """Column names, the header consumed; None where the file is empty."""
    if origin.columns is not None:
        return list(origin.columns)
    wanted = {"qualtrics": 2, "surveymonkey": 2}.get(origin.profile or "", origin.header_rows)
    rows = [row for _ in range(wanted) if (row := _header_row(request, origin, file, source)) is not None]
    if not rows:
        return None
    if len(rows) < wanted:
        raise SourceError(f"{request.name}, file {file}: {wanted} header rows were expected, {len(rows)} are there")
    if origin.profile == "qualtrics":
        before = source.mark()
        third = _header_row(request, origin, file, source)
        if third is not None and is_import_id_row(third) and len(third) == len(rows[0]):
            source.reset(None)
            return qualtrics_names([*rows, third])
        source.reset(before)
        return qualtrics_names(rows)
    if origin.profile == "surveymonkey":
        return surveymonkey_names(rows)
    return unique_names(rows[0]) if len(rows) == 1 else joined_names(rows)


def _header_row(request: ReadRequest, origin: FilesOrigin, file: SourceFile, source: _Utf8Source) -> list[str] | None:
    lines = iter(lambda: source.readline().decode("utf-8"), "")
    quoting: dict[str, Any] = {"quotechar": origin.quote} if origin.quote else {"quoting": csv.QUOTE_NONE}
    try:
        row = next((row for row in csv.reader(lines, delimiter=origin.delimiter, **quoting) if row), None)
    except csv.Error as error:
        raise SourceError(
            f"{request.name}, file {file}: the header cannot be read ({error}); look at delimiter, quote and line ends"
        ) from error
    if row and any("\0" in cell for cell in row):
        raise SourceError(f"{request.name}, file {file}: the header holds NUL bytes; it looks like encoding: utf-16")
    return row


def _json_batches(
    request: ReadRequest, origin: FilesOrigin, files: Iterator[tuple[SourceFile, FileStamp]], delivery: Delivery
) -> Iterator[Batch]:
    """Many small files are parsed together: a daily export of years is hundreds of them."""
    connection = _duckdb(request)
    counts: Counter[str] = Counter()
    keys: dict[str, set[str]] = defaultdict(set)
    read: list[tuple[SourceFile, FileStamp]] = []

    def parsed(pending: Sequence[pl.DataFrame]) -> Batch:
        lines = pl.concat(pending).with_row_index("_at")
        batch, found = _json_rows(connection, origin, lines.select("line", pl.col("_at").cast(pl.Int64).alias("_row")))
        for name, group in found.join(lines.select("_at", "_file"), on="_at").group_by("_file"):
            keys[str(name[0])].update(group["keys"].explode(empty_as_null=False, keep_nulls=False).unique())
        rows, rejects = (_placed(frame, lines) for frame in (batch.rows, batch.rejects))
        for frame in (rows, rejects):
            counts.update(dict(frame.group_by("_file").len().iter_rows()))
        return Batch(rows, rejects)

    try:
        pending: list[pl.DataFrame] = []
        size = 0
        for file, stamp in files:
            read.append((file, stamp))
            for lines in _json_lines(request, origin, file):
                pending.append(lines.with_columns(pl.lit(stamp.path).alias("_file")))
                size += int(lines["line"].str.len_bytes().sum())
                if size >= _LINES:
                    yield parsed(pending)
                    pending, size = [], 0
            _require_unchanged(request, file, stamp)
        if pending:
            yield parsed(pending)
    finally:
        connection.close()
    for file, stamp in read:
        if keys[stamp.path]:
            _require_fields(request, origin, file, unique_names(sorted(keys[stamp.path])))
        delivery.files.append(replace(stamp, rows=counts[stamp.path]))


def _json_lines(request: ReadRequest, origin: FilesOrigin, file: SourceFile) -> Iterator[pl.DataFrame]:
    """Lines that are not blank, as ``line``, with their numbers from 1 as ``_row``."""
    line_number = 0
    with _open(request, origin, file) as source:
        while chunk := source.read_lines(_LINES):
            lines = pl.DataFrame({"line": chunk.decode("utf-8").split("\n")}, schema={"line": pl.String})
            if chunk.endswith(b"\n"):
                lines = lines.head(-1)
            lines = lines.with_columns(
                pl.col("line").str.strip_chars(" \t\r"),
                pl.int_range(line_number + 1, line_number + 1 + pl.len()).alias("_row"),
            )
            line_number += lines.height
            yield lines.filter(pl.col("line") != "")


def _placed(frame: pl.DataFrame | None, lines: pl.DataFrame) -> pl.DataFrame:
    """``frame`` with file and line number in place of the position among ``lines``."""
    if frame is None:
        return pl.DataFrame(schema=REJECT_SCHEMA)
    at = frame["_row"]
    return frame.with_columns(lines["_row"].gather(at).alias("_row"), lines["_file"].gather(at).alias("_file"))


def _json_rows(
    connection: duckdb.DuckDBPyConnection, origin: FilesOrigin, lines: pl.DataFrame
) -> tuple[Batch, pl.DataFrame]:
    """Lines made rows, and for each line that is an object its position (``_at``) and its ``keys``."""
    connection.register("_lines", lines.to_arrow())
    kinds = _fetch(
        connection,
        # Null where the line is no JSON; no keys where it is no object.
        "SELECT TRY(json_keys(line)) AS keys FROM _lines",
    )
    is_object = kinds["keys"].is_not_null() & lines["line"].str.starts_with("{")
    rejects = lines.filter(~is_object).select(
        pl.lit(None, pl.String).alias("_file"),
        "_row",
        pl.when(kinds["keys"].filter(~is_object).is_null())
        .then(pl.lit("invalid_json"))
        .otherwise(pl.lit("not_an_object"))
        .alias("reason"),
        pl.col("line").alias("text"),
    )
    lines = lines.filter(is_object)
    found = lines.select(pl.col("_row").cast(pl.UInt32).alias("_at"), kinds["keys"].filter(is_object).alias("keys"))
    keys = kinds["keys"].filter(is_object).explode(empty_as_null=False, keep_nulls=False).unique(maintain_order=True)
    if not keys.len():
        return Batch(lines.select(pl.col("_row").cast(pl.Int64)), rejects), found
    fields = keys.to_list()
    connection.register("_lines", lines.to_arrow())
    structure = json.dumps(dict.fromkeys(fields, "VARCHAR"), ensure_ascii=False)
    rows = _fetch(connection, "SELECT json_transform(line, ?) AS cells FROM _lines", [structure])[
        "cells"
    ].struct.unnest()
    rows.columns = unique_names(fields)
    return _finished(connection, origin, rows, lines["_row"], texts=lines["line"], rejects=rejects), found


def _read_parquet(request: ReadRequest, origin: FilesOrigin, file: SourceFile) -> Iterator[Batch]:
    connection = _duckdb(request)
    try:
        with pq.ParquetFile(file.local) as table_file:
            columns = unique_names(table_file.schema_arrow.names)
            casts = ", ".join(
                f"{'to_json' if pa.types.is_nested(kind) else ''}({_quoted(f'c{i}')})::VARCHAR AS {_quoted(f'c{i}')}"
                for i, kind in enumerate(table_file.schema_arrow.types)
            )
            if not origin.profile:
                _require_fields(request, origin, file, columns)
                yield Batch(pl.DataFrame(schema=dict.fromkeys(columns, pl.String)))
            seen: dict[str, None] = {}
            record = 0
            for found in table_file.iter_batches(batch_size=_PARQUET_ROWS):
                table = pa.Table.from_batches([found]).rename_columns([f"c{i}" for i in range(len(columns))])
                connection.register("_rows", table)
                rows = _fetch(connection, f"SELECT {casts} FROM _rows").rename(
                    {f"c{i}": name for i, name in enumerate(columns)}
                )
                numbers = pl.Series("_row", range(record + 1, record + 1 + rows.height), dtype=pl.Int64)
                record += rows.height
                batch = _finished(connection, origin, rows, numbers)
                seen.update(dict.fromkeys(name for name in batch.rows.columns if name != "_row"))
                yield batch
            if origin.profile and record:
                _require_fields(request, origin, file, list(seen))
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{request.name}: file {file} is truncated or no Parquet ({error}); deliver it again, by rename, so that "
            "it "
            "is never seen half written"
        ) from error
    finally:
        connection.close()


def _read_sheet(request: ReadRequest, origin: FilesOrigin, file: SourceFile) -> Iterator[Batch]:
    header, rows, numbers = sheet_cells(request.name, origin, file)
    if origin.columns is not None:
        names = list(origin.columns)
        if len(names) != rows.width:
            raise SourceError(f"{request.name}, file {file}: {len(names)} columns are declared, {rows.width} are there")
    else:
        names = unique_names(header[0]) if len(header) == 1 else joined_names(header)
    require_columns(request, names, f"file {file}")
    rows.columns = names
    if origin.null_tokens:
        rows = rows.with_columns(pl.when(pl.all().is_in(origin.null_tokens)).then(None).otherwise(pl.all()).name.keep())
    yield Batch(rows.with_columns(numbers))


def _finished(
    connection: duckdb.DuckDBPyConnection,
    origin: FilesOrigin,
    rows: pl.DataFrame,
    numbers: pl.Series,
    *,
    texts: pl.Series | None = None,
    rejects: pl.DataFrame | None = None,
) -> Batch:
    """Rows with the profile and the null tokens applied, and their record numbers."""
    if origin.null_tokens:
        rows = rows.with_columns(pl.when(pl.all().is_in(origin.null_tokens)).then(None).otherwise(pl.all()).name.keep())
    if origin.profile == "ga4_bigquery":
        flat, readable = ga4_rows(connection, rows)
        if not readable.all():
            if texts is None:
                raw = rows.filter(~readable)
                texts_bad = raw.select(pl.struct(pl.all()).struct.json_encode().alias("text"))["text"]
            else:
                texts_bad = texts.filter(~readable)
            bad = pl.DataFrame({"_row": numbers.filter(~readable), "text": texts_bad}).select(
                pl.lit(None, pl.String).alias("_file"), "_row", pl.lit("invalid_nested_value").alias("reason"), "text"
            )
            rejects = bad if rejects is None else pl.concat([rejects, bad])
            flat, numbers = flat.filter(readable), numbers.filter(readable)
        rows = flat
    return Batch(rows.with_columns(numbers.alias("_row")), rejects)


def _require_fields(request: ReadRequest, origin: FilesOrigin, file: SourceFile, columns: Sequence[str]) -> None:
    if origin.profile != "ga4_bigquery":
        require_columns(request, columns, f"file {file}")
        return
    absent = [name for name in request.config.declared_columns() if name not in columns or name in GA4_KEYED]
    if faults := [fault for name in absent if (fault := ga4_missing(name, columns))]:
        raise SourceError(
            f"{request.name}, file {file}: {'; '.join(faults)}. Nothing was loaded. A GA4 export always has "
            f"{', '.join(GA4_ALWAYS)}; correct the mapping in {request.source.path} or the export"
        )


class _Utf8Source(io.RawIOBase):
    """A stream of UTF-8 bytes from one of any encoding, checked on the way, without byte order mark."""

    def __init__(self, raw: BinaryIO | Limited, encoding: str, fail: Any, quote: str) -> None:
        self._raw = raw
        self._passes = encoding == "utf-8"
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._fail = fail
        self._buffer = b""
        self._taken = 0
        self._is_first = True
        self._is_ended = False
        self._quote = quote.encode()
        self._quotes_read = 0
        self._kept: list[bytes] | None = None

    @property
    def quotes(self) -> int:
        """Quoting characters handed out so far."""
        return self._quotes_read - (self._buffer.count(self._quote) if self._quote else 0)

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._buffer:
            self._fill()
        size = min(len(target), len(self._buffer))
        target[:size] = self._buffer[:size]
        self._buffer = self._buffer[size:]
        return size

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, fewer only at the end; everything where it is negative."""
        parts: list[bytes] = []
        wanted = size
        while wanted and (self._buffer or self._fill()):
            part = self._buffer if size < 0 else self._buffer[:wanted]
            self._buffer = self._buffer[len(part) :]
            wanted -= len(part)
            parts.append(part)
        return b"".join(parts)

    def readline(self, size: int | None = -1) -> bytes:
        """A line with its end; empty at the end of the stream."""
        while (end := self._buffer.find(b"\n")) < 0 and self._fill():
            pass
        end = len(self._buffer) if end < 0 else end + 1
        data, self._buffer = self._buffer[:end], self._buffer[end:]
        return data

    def read_lines(self, size: int) -> bytes:
        """About ``size`` bytes that end with a whole line."""
        data = self.read(size)
        return data if data.endswith(b"\n") or not data else data + self.readline()

    def has_more(self) -> bool:
        """Whether a byte is left."""
        return bool(self._buffer) or self._fill()

    def mark(self) -> bytes:
        """Keep the position for ``reset``; only what ``readline`` takes is given back."""
        while b"\n" not in self._buffer and self._fill():
            pass
        self._kept = []
        return self._buffer

    def reset(self, buffer: bytes | None) -> None:
        """Go back to where ``mark`` was called, or forget the mark."""
        if buffer is not None:
            self._buffer = buffer + b"".join(self._kept or [])
        self._kept = None

    def _fill(self) -> bool:
        """Read one more chunk into the buffer; False at the end."""
        if self._is_ended:
            return False
        chunk = self._raw.read(_CHUNK)
        self._taken += len(chunk)
        self._is_ended = not chunk
        try:
            text = self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            self._fail(error, self._taken - len(error.object) + error.start)
            raise
        data = chunk if self._passes else text.encode("utf-8")
        if self._is_first and chunk:
            self._is_first = False
            data = data.removeprefix(codecs.BOM_UTF8)
        if self._kept is not None:
            self._kept.append(data)
        if self._quote:
            self._quotes_read += data.count(self._quote)
        self._buffer += data
        return not self._is_ended


@contextmanager
def _open(request: ReadRequest, origin: FilesOrigin, file: SourceFile) -> Iterator[_Utf8Source]:
    """The file's text as UTF-8, decompressed; faults of the bytes become errors that name the file."""
    with _faults(request, file), file.open() as raw, _decompressed(request, origin, file, raw) as text:
        yield _Utf8Source(text, origin.encoding, _no_text(request, origin, file), origin.quote)


def _no_text(request: ReadRequest, origin: FilesOrigin, file: SourceFile) -> Callable[[UnicodeDecodeError, int], None]:
    """What says that bytes are not of the encoding."""

    def fail(error: UnicodeDecodeError, offset: int) -> None:
        around = error.object[max(0, error.start - 400) : error.start + 400]
        fitting = [name for name in _TRIED_ENCODINGS if name != origin.encoding and _decodes(around, name)]
        raise SourceError(
            f"{request.name}, file {file}: byte {offset} (0x{error.object[error.start]:02x}) is no "
            f"{origin.encoding}; set "
            f"streams.{request.stream}.from.encoding in {request.source.path} (what fits here: {', '.join(fitting)})"
        ) from error

    return fail


@contextmanager
def _faults(request: ReadRequest, file: SourceFile) -> Iterator[None]:
    """Faults of a file's bytes as errors that name it."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, pa.ArrowInvalid) as error:
        raise SourceError(
            f"{request.name}: file {file} is truncated or damaged ({error}); deliver it again, by rename, so that it "
            "is never seen half written"
        ) from error
    except OSError as error:
        raise SourceError(f"{request.name}: file {file} cannot be read ({error})") from error


@contextmanager
def _decompressed(request: ReadRequest, origin: FilesOrigin, file: SourceFile, raw: BinaryIO) -> Iterator[BinaryIO]:
    start = raw.read(4)
    raw.seek(0)
    found = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), "none")
    kind = found if origin.compression == "auto" else origin.compression
    ending = PurePosixPath(file.location).suffix.lower()
    named = _COMPRESSED_ENDINGS.get(ending, "none") if origin.compression == "auto" else kind
    if named not in {"none", found}:
        raise SourceError(
            f"{request.name}: file {file} is named or declared {named} but its content is not; deliver it again, or "
            "set compression: none"
        )
    match kind:
        case "gz":
            with gzip.open(raw) as text:
                yield text  # type: ignore[misc]
        case "zst":
            with pa.CompressedInputStream(raw, "zstd") as text:
                yield text
        case "zip":
            with zipfile.ZipFile(raw) as archive:
                members = [file.member] if file.member else _members(archive)
                if len(members) != 1:
                    raise SourceError(
                        f"{request.name}: file {file} holds {len(members)} files ({', '.join(members[:5])}) where "
                        "one is expected"
                    )
                with archive.open(members[0]) as text:
                    yield text  # type: ignore[misc]
        case _:
            yield raw


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)("strict").decode(data)
    except UnicodeError:
        return False
    if encoding == "utf-16-le":
        return b"\0" in data
    return encoding != "utf-16" or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


@functools.cache
def _database(threads: int) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"threads": threads})


def _duckdb(request: ReadRequest) -> duckdb.DuckDBPyConnection:
    # A database for each of hundreds of small daily files costs far more than reading them.
    connection = _database(request.settings.duckdb_threads).cursor()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _fetch(connection: duckdb.DuckDBPyConnection, query: str, values: Sequence[str] = ()) -> pl.DataFrame:
    return _from_arrow(connection.execute(query, values).to_arrow_table())


def _from_arrow(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_READERS = {"csv": _read_csv, "parquet": _read_parquet, "xlsx": _read_sheet}

KIND = SourceKind(
    name="files",
    connection=FilesConnection,
    origin=FilesOrigin,
    read=read,
    deletes=("none", "soft_flag", "tombstone", "replaced_file"),
    has_cursor=False,
    has_position=True,
    plan=plan,
)
