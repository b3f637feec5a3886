"""Landed parts and their manifests: ``<root>/<source>/<stream>/load_date=…/load_id=…``.

A load is a folder of Parquet parts; writing ``_manifest.json`` by rename is its only commit. Readers take files
from manifests, so what a killed run left behind is never read, and the next load of the stream removes it. One
writer a stream at a time: a lock on ``.lock`` that the kernel frees when the process dies.

Belongs here: the layout, the commit, reading back. Does not belong here: where rows come from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import polars as pl

from orchestration.sources.errors import SourceError

MANIFEST = "_manifest.json"
FORMAT = 1
DOWNLOADS = ".download"
"""Folder beside a stream's loads, for files on their way; only the process that loads the stream uses it."""
META_SCHEMA: dict[str, pl.DataType] = {
    "_load_row": pl.Int64(),
    "_file": pl.String(),
    "_row": pl.Int64(),
    "_deleted": pl.Boolean(),
}
"""Columns that every landed row carries beside those of its source."""
REJECT_SCHEMA: dict[str, pl.DataType] = {
    "_file": pl.String(),
    "_row": pl.Int64(),
    "reason": pl.String(),
    "text": pl.String(),
}
"""What could not be landed as a row: where it stood, why, and its text as received."""

Kind = Literal["full", "incremental", "files", "declared", "backfill"]
_TIMES = ("started_at", "extracted_at", "removed_at")
_BUFFER_ROWS = 500_000
_BUFFER_BYTES = 128 * 1024 * 1024


class LandingError(SourceError):
    """A landed file that is missing or was changed after its commit."""


@dataclass(frozen=True)
class Part:
    """One Parquet file of a load."""

    name: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True)
class FileStamp:
    """One source file as it was read.

    Attributes:
        path: Name below the pattern's fixed folder.
        size: Bytes; of a log those of its text.
        sha256: Hash of these bytes.
        rows: Rows that this load read of it.
        version: What object storage tells of its content.
        log: Of a log what its rows are filed under, whatever it is called by now.
        lines: Of a log the lines read so far.
    """

    path: str
    size: int
    sha256: str
    rows: int = 0
    version: str | None = None
    log: str | None = None
    lines: int = 0


@dataclass(frozen=True)
class Manifest:
    """What one committed load holds.

    Attributes:
        load_id: Sorts in the order of commits within the stream.
        kind: ``full`` or ``incremental`` (SQL), ``files``, ``declared``, ``backfill`` (never moves the cursor).
        started_at: Begin of the extraction, UTC without zone.
        extracted_at: End of the extraction, UTC without zone.
        cursor_from: Lower bound asked for, inclusive, the lag taken off; None for everything.
        cursor_to: Cursor after the load.
        cursor_field: Source column of the cursor.
        window: Bounds of a backfill.
        rows_read: Rows the source gave, the rejected included.
        rows_landed: Rows in the parts.
        rows_rejected: Rows in ``rejects``.
        rows_deleted: Rows in the parts that say the source lost the record.
        parts: The Parquet files.
        rejects: The Parquet files of rows that could not be landed, with ``REJECT_SCHEMA``.
        columns: Source columns in order, each landed as text.
        source_types: Source column to the type the source declares, where it declares one.
        schema_fingerprint: Hash of columns and source types.
        schema_change: Columns that came or went since the load before, or None.
        config_hash: Hash of what decides how the stream is read.
        content_hash: Hash of the rows whatever their order.
        files: Source files read.
        rows_suppressed: Rows that were not landed, or taken out later, because they are of a person who was erased.
        missing_share: Share of the window (0-1) that was not read because a budget ended; None for a complete load.
        state: What the next load of the stream must know, as the reader left it.
        removed_at: When the rows were removed by retention, UTC without zone; the counts stay those of the load.
    """

    load_id: str
    source: str
    stream: str
    run_id: str
    kind: str
    started_at: datetime
    extracted_at: datetime
    cursor_from: str | None
    cursor_to: str | None
    cursor_field: str | None
    window: tuple[str, str] | None
    rows_read: int
    rows_landed: int
    rows_rejected: int
    rows_deleted: int
    parts: tuple[Part, ...]
    rejects: tuple[Part, ...]
    columns: tuple[str, ...]
    source_types: Mapping[str, str]
    schema_fingerprint: str
    schema_change: str | None
    config_hash: str
    content_hash: str
    files: tuple[FileStamp, ...]
    folder: Path = field(compare=False, repr=False)
    rows_suppressed: int = 0
    missing_share: float | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    removed_at: datetime | None = None

    @property
    def bytes_landed(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)

    def to_json(self) -> str:
        """The manifest as written to disk."""
        values = asdict(self)
        del values["folder"]
        values["format"] = FORMAT
        for name in _TIMES:
            if values[name] is not None:
                values[name] = values[name].isoformat(timespec="microseconds")
        return json.dumps(values, ensure_ascii=False, indent=1)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read ``_manifest.json``.

        Raises:
            LandingError: the file is no manifest of this format.
        """
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("format") != FORMAT:
                raise ValueError("written by another version")
            for name in _TIMES:
                if values.get(name) is not None:
                    values[name] = datetime.fromisoformat(values[name])
            for name, kind in (("parts", Part), ("rejects", Part), ("files", FileStamp)):
                values[name] = tuple(kind(**entry) for entry in values[name])
            values["columns"] = tuple(values["columns"])
            values["window"] = tuple(values["window"]) if values["window"] else None
            return cls(folder=path.parent, **values)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LandingError(
                f"{path} cannot be read ({error}); restore it from a backup, or remove the folder of this load to "
                "give the load up"
            ) from error


class Landing:
    """The landing below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def manifests(self, source: str, stream: str) -> list[Manifest]:
        """Committed loads of a stream, in the order of their commits."""
        found = self._folder(source, stream).glob(f"load_date=*/load_id=*/{MANIFEST}")
        return [Manifest.read(path) for path in sorted(found, key=lambda path: path.parent.name)]

    def scan(self, manifest: Manifest, parts: Collection[Part] | None = None) -> pl.LazyFrame:
        """Rows of a load: its source columns as text in their order, then ``META_SCHEMA``.

        Of a load whose rows were removed by retention none come, or only the keys (``Manifest.removed_at``).

        Args:
            manifest: The load.
            parts: Those of its parts to read; default all.

        Raises:
            LandingError: a part is missing or has another size than committed.
        """
        self.verify(manifest)
        schema = {**dict.fromkeys(manifest.columns, pl.String()), **META_SCHEMA}
        paths = [manifest.folder / part.name for part in (manifest.parts if parts is None else parts)]
        if not paths:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(paths, schema=schema, missing_columns="insert", glob=False).select(list(schema))

    def rejects(self, manifest: Manifest) -> pl.LazyFrame:
        """Rows of a load that could not be landed, with ``REJECT_SCHEMA``."""
        self.verify(manifest)
        if not manifest.rejects:
            return pl.LazyFrame(schema=REJECT_SCHEMA)
        return pl.scan_parquet([manifest.folder / part.name for part in manifest.rejects], glob=False)

    def verify(self, manifest: Manifest, *, content: bool = False) -> None:
        """Compare the files of a load with its manifest: their sizes, and their sha256 with ``content``.

        Raises:
            LandingError: names the file that differs.
        """
        for part in (*manifest.parts, *manifest.rejects):
            path = manifest.folder / part.name
            size = path.stat().st_size if path.is_file() else None
            if size is None:
                fault = "is missing"
            elif size != part.size:
                fault = f"has {size} bytes where {part.size} were committed"
            elif content and file_sha256(path) != part.sha256:
                fault = "was changed after its commit (sha256 differs)"
            else:
                continue
            raise LandingError(
                f"{manifest.source}.{manifest.stream}: landed file {path} {fault}; restore it from a backup, or remove "
                "the folder of this load and extract again"
            )

    def replace_rows(
        self,
        manifest: Manifest,
        numbers: Collection[int],
        rows: pl.DataFrame,
        *,
        deletions_are_content: bool,
        reject: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    ) -> Manifest:
        """Put ``rows`` in place of the rows of a committed load numbered ``numbers``; only parts that hold one change.

        The new parts get new names, so that the load is the old one or the new one whenever this is killed; the old
        parts are then removed, or by ``remove_unreferenced``.

        Args:
            manifest: The load.
            numbers: Values of ``_load_row``.
            rows: What stands there then, in the columns of ``scan``; a number that is missing is a row less.
            deletions_are_content: Whether rows that say ``_deleted`` came from the source, see ``LoadWriter.write``.
            reject: Gives what becomes of the rows that could not be landed; default nothing.

        Returns:
            The manifest as it is now.

        Raises:
            SourceError: another process is loading the stream (transient).
            LandingError: a part is missing or has another size than committed.
        """
        self.verify(manifest)
        with self._only_loader(manifest.source, manifest.stream):
            content = _Content.of(manifest.content_hash)
            deleted = manifest.rows_deleted
            parts: list[Part] = []
            for part in manifest.parts:
                path = manifest.folder / part.name
                is_ours = pl.col("_load_row").is_in(list(numbers))
                if pl.scan_parquet(path, glob=False).filter(is_ours).select(pl.len()).collect().item() == 0:
                    parts.append(part)
                    continue
                before = pl.read_parquet(path, glob=False)
                columns = [name for name in before.columns if name not in META_SCHEMA]
                theirs = before.filter(is_ours)
                ours = rows.filter(pl.col("_load_row").is_in(theirs["_load_row"].to_list())).select(before.columns)
                for sign, frame in ((-1, theirs), (1, ours)):
                    kept = frame if deletions_are_content else frame.filter(~pl.col("_deleted"))
                    if manifest.removed_at is None:
                        content.add(kept, columns, sign)
                    deleted += sign * int(frame["_deleted"].sum())
                after = before.filter(~is_ours)
                if ours.height or not after["_load_row"].is_sorted():
                    after = pl.concat([after, ours]).sort("_load_row")
                if after.height:
                    parts.append(_store(after, manifest.folder / _next_name(part.name)))
            rejects: list[Part] = []
            for part in manifest.rejects:
                before = pl.read_parquet(manifest.folder / part.name, glob=False)
                after = before if reject is None else reject(before)
                if after.equals(before):
                    rejects.append(part)
                elif after.height:
                    rejects.append(_store(after, manifest.folder / _next_name(part.name)))
            # A load whose rows retention removed keeps its counts: what leaves is taken off.
            gone = sum(part.rows for part in manifest.parts) - sum(part.rows for part in parts)
            gone_rejects = sum(part.rows for part in manifest.rejects) - sum(part.rows for part in rejects)
            changed = replace(
                manifest,
                parts=tuple(parts),
                rejects=tuple(rejects),
                rows_landed=manifest.rows_landed - gone,
                rows_rejected=manifest.rows_rejected - gone_rejects,
                rows_deleted=deleted,
                rows_suppressed=manifest.rows_suppressed + gone,
                content_hash=content.text,
            )
            _write_manifest(changed)
            self.remove_unreferenced(changed)
        return changed

    def remove_rows(self, manifest: Manifest, *, now: datetime, keep: Sequence[str] = ()) -> Manifest:
        """Remove the rows of a committed load and leave its manifest, with its counts, as the record of it.

        Killed at any point, the load is whole or removed; what is left over then goes with the next call, or by
        ``remove_unreferenced``.

        Args:
            manifest: The load.
            now: When, for ``Manifest.removed_at``.
            keep: Columns that stay, with ``META_SCHEMA``: the key, where a key scan must still know what was landed.

        Raises:
            SourceError: another process is loading the stream (transient).
            LandingError: a part is missing or has another size than committed.
        """
        with self._only_loader(manifest.source, manifest.stream):
            parts = manifest.parts if manifest.removed_at is not None else ()
            if keep and manifest.parts and manifest.removed_at is None and set(keep) <= set(manifest.columns):
                keys = self.scan(manifest).select(*keep, *META_SCHEMA).collect()
                parts = (_store(keys, manifest.folder / "keys-00000.parquet"),)
            removed = replace(manifest, parts=parts, rejects=(), removed_at=as_utc(now))
            _write_manifest(removed)
            self.remove_unreferenced(removed)
        return removed

    def remove_unreferenced(self, manifest: Manifest) -> list[Path]:
        """Remove what a killed ``replace_rows`` left in the folder of a load.

        Returns:
            The files removed.
        """
        known = {part.name for part in (*manifest.parts, *manifest.rejects)} | {MANIFEST}
        others = [path for path in manifest.folder.iterdir() if path.name not in known]
        for path in others:
            path.unlink()
        if others:
            _sync_folder(manifest.folder)
        return others

    def begin(
        self,
        *,
        source: str,
        stream: str,
        run_id: str,
        now: datetime,
        config_hash: str = "",
        reserve_rows: int = _BUFFER_ROWS,
    ) -> LoadWriter:
        """Open a load of one stream; leftovers of killed loads of this stream are removed first.

        Args:
            source: Source name.
            stream: Stream name.
            run_id: Run that makes the load.
            now: Begin of the extraction; decides ``load_date`` (UTC) and, with a random part, ``load_id``.
            config_hash: Hash of what decides how the stream is read.
            reserve_rows: Rows gathered in memory before a part is written.

        Raises:
            SourceError: another process is loading the stream (transient).
        """
        folder = self._folder(source, stream)
        lock = self._only_loader(source, stream)
        try:
            _remove_orphans(folder)
            last = max((path.name for path in folder.glob("load_date=*/load_id=*")), default=None)
            started = as_utc(now)
            load_id = new_load_id(started)
            if last is not None and f"load_id={load_id}" <= last:
                # A clock that was set back must not put this load in front of one already committed.
                load_id = new_load_id(load_time(last.removeprefix("load_id=")) + timedelta(microseconds=1))
            target = folder / f"load_date={started.date().isoformat()}" / f"load_id={load_id}"
            target.mkdir(parents=True)
        except BaseException:
            lock.close()
            raise
        return LoadWriter(
            target,
            lock=lock,
            source=source,
            stream=stream,
            run_id=run_id,
            load_id=load_id,
            started_at=started,
            config_hash=config_hash,
            reserve_rows=reserve_rows,
        )

    def clean_orphans(self) -> list[Path]:
        """Remove the folders of loads that were never committed, except of streams being loaded right now.

        Returns:
            The folders removed.
        """
        removed: list[Path] = []
        for folder in sorted(self.root.glob("*/*/")):
            if lock := self._lock(folder):
                with lock:
                    removed += _remove_orphans(folder)
        return removed

    def _folder(self, source: str, stream: str) -> Path:
        return self.root / source / stream

    def _only_loader(self, source: str, stream: str) -> IO[bytes]:
        """The stream's lock, held until it is closed.

        Raises:
            SourceError: another process is loading the stream (transient).
        """
        if (lock := self._lock(self._folder(source, stream))) is None:
            raise SourceError(
                f"{source}.{stream}: another process is loading this stream; try again when it has finished",
                transient=True,
            )
        return lock

    def _lock(self, folder: Path) -> IO[bytes] | None:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock


class LoadWriter:
    """Writes one load; nothing of it is visible before ``commit``. Leaving the context aborts what is open."""

    def __init__(
        self,
        folder: Path,
        *,
        lock: IO[bytes],
        source: str,
        stream: str,
        run_id: str,
        load_id: str,
        started_at: datetime,
        config_hash: str,
        reserve_rows: int,
    ) -> None:
        self.folder = folder
        self.source = source
        self.stream = stream
        self.run_id = run_id
        self.load_id = load_id
        self.started_at = started_at
        self.config_hash = config_hash
        self.rows_landed = 0
        self.rows_rejected = 0
        self.rows_deleted = 0
        self._columns: dict[str, None] = {}
        self._content = _Content()
        self._parts: list[Part] = []
        self._rejects: list[Part] = []
        self._buffer: list[pl.DataFrame] = []
        self._buffered = 0
        self._buffered_bytes = 0
        self._reserve_rows = reserve_rows
        self._lock: IO[bytes] | None = lock

    @property
    def columns(self) -> tuple[str, ...]:
        """Source columns seen so far, in order."""
        return tuple(self._columns)

    @property
    def content_hash(self) -> str:
        """Hash of the rows written so far that the source gave, whatever their order."""
        return self._content.text

    def declare(self, columns: Sequence[str]) -> None:
        """Name source columns that the load has even when no row is written."""
        self._columns.update(dict.fromkeys(columns))

    def write(self, frame: pl.DataFrame, *, is_content: bool = True) -> None:
        """Add rows.

        Args:
            frame: Text columns of the source, and of ``META_SCHEMA`` what is known (``_load_row`` never is).
            is_content: False for rows that were inferred (keys the source lost) and are no part of the content hash.

        Raises:
            TypeError: a source column is not text.
        """
        source_columns = [name for name in frame.columns if name not in META_SCHEMA]
        if wrong := [name for name in source_columns if frame.schema[name] != pl.String]:
            raise TypeError(f"landed columns are text; {', '.join(wrong)} of {self.source}.{self.stream} are not")
        self.declare(source_columns)
        if frame.is_empty():
            return
        if is_content:
            self._content.add(frame, source_columns)
        first = self.rows_landed
        meta = {
            "_load_row": pl.int_range(first, first + frame.height, dtype=pl.Int64),
            "_file": pl.lit(None, pl.String),
            "_row": pl.lit(None, pl.Int64),
            "_deleted": pl.lit(False),
        }
        for name in ("_file", "_row", "_deleted"):
            if name in frame.columns:
                meta[name] = pl.col(name).cast(META_SCHEMA[name])
        meta["_deleted"] = meta["_deleted"].fill_null(False)
        frame = frame.select(*source_columns, *(value.alias(name) for name, value in meta.items()))
        self.rows_landed += frame.height
        self.rows_deleted += int(frame["_deleted"].sum())
        self._buffer.append(frame)
        self._buffered += frame.height
        self._buffered_bytes += int(frame.estimated_size())
        if self._buffered >= self._reserve_rows or self._buffered_bytes >= _BUFFER_BYTES:
            self._flush()

    def scan(self) -> pl.LazyFrame:
        """Rows written so far: the source columns seen, and ``META_SCHEMA``."""
        self._flush()
        schema = {**dict.fromkeys(self.columns, pl.String()), **META_SCHEMA}
        if not self._parts:
            return pl.LazyFrame(schema=schema)
        paths = [self.folder / part.name for part in self._parts]
        return pl.scan_parquet(paths, schema=schema, missing_columns="insert", glob=False).select(list(schema))

    def reject(self, frame: pl.DataFrame) -> None:
        """Keep rows that could not be landed beside the parts (``REJECT_SCHEMA``), so that nothing is lost."""
        if frame.is_empty():
            return
        frame = frame.select(pl.col(name).cast(dtype) for name, dtype in REJECT_SCHEMA.items())
        self.rows_rejected += frame.height
        self._rejects.append(self._store(frame, f"rejects-{len(self._rejects):05d}.parquet"))

    def commit(
        self,
        *,
        kind: Kind,
        extracted_at: datetime,
        rows_read: int,
        cursor_from: str | None = None,
        cursor_to: str | None = None,
        cursor_field: str | None = None,
        window: tuple[str, str] | None = None,
        source_types: Mapping[str, str] | None = None,
        schema_change: str | None = None,
        files: Sequence[FileStamp] = (),
        rows_suppressed: int = 0,
        missing_share: float | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Make the load visible: parts synced first, then the manifest by rename."""
        self._flush()
        types = dict(source_types or {})
        manifest = Manifest(
            load_id=self.load_id,
            source=self.source,
            stream=self.stream,
            run_id=self.run_id,
            kind=kind,
            started_at=self.started_at,
            extracted_at=as_utc(extracted_at),
            cursor_from=cursor_from,
            cursor_to=cursor_to,
            cursor_field=cursor_field,
            window=window,
            rows_read=rows_read,
            rows_landed=self.rows_landed,
            rows_rejected=self.rows_rejected,
            rows_deleted=self.rows_deleted,
            parts=tuple(self._parts),
            rejects=tuple(self._rejects),
            columns=self.columns,
            source_types=types,
            schema_fingerprint=schema_fingerprint(self.columns, types),
            schema_change=schema_change,
            config_hash=self.config_hash,
            content_hash=self.content_hash,
            files=tuple(files),
            folder=self.folder,
            rows_suppressed=rows_suppressed,
            missing_share=missing_share,
            state=dict(state or {}),
        )
        _write_manifest(manifest)
        self._release()
        return manifest

    def abort(self) -> None:
        """Remove what was written and free the stream."""
        if self._lock is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            _remove_if_empty(self.folder.parent)
            self._release()

    def __enter__(self) -> LoadWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _flush(self) -> None:
        if self._buffer:
            frame = pl.concat(self._buffer, how="diagonal") if len(self._buffer) > 1 else self._buffer[0]
            self._parts.append(self._store(frame, f"part-{len(self._parts):05d}.parquet"))
        self._buffer, self._buffered, self._buffered_bytes = [], 0, 0

    def _store(self, frame: pl.DataFrame, name: str) -> Part:
        return _store(frame, self.folder / name)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@dataclass
class _Content:
    """Sum of the hashes of rows, whatever their order; rows can be taken off again."""

    rows: int = 0
    total: int = 0

    @classmethod
    def of(cls, text: str) -> _Content:
        rows, _, total = text.partition(":")
        return cls(int(rows), int(total, 16))

    @property
    def text(self) -> str:
        return f"{self.rows}:{self.total:016x}"

    def add(self, frame: pl.DataFrame, source_columns: Sequence[str], sign: int = 1) -> None:
        # Sorted names, so that the order of a source's columns does not make new content.
        deleted = pl.col("_deleted").fill_null(False) if "_deleted" in frame.columns else pl.lit(False)
        hashes = frame.select(*sorted(source_columns), deleted.alias("_deleted")).hash_rows(seed=7)
        # Two halves, so that neither sum can overflow; a sum does not care for the order of rows.
        high, low = (hashes // 2**32).sum(), (hashes % 2**32).sum()
        self.total = (self.total + sign * (int(high) * 2**32 + int(low))) % 2**64
        self.rows += sign * frame.height


def _store(frame: pl.DataFrame, path: Path) -> Part:
    frame.write_parquet(path, compression="zstd")
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return Part(name=path.name, rows=frame.height, size=path.stat().st_size, sha256=file_sha256(path))


def _next_name(name: str) -> str:
    """Name of a part that takes the place of ``name``: ``part-00000.parquet``, ``part-00000-1.parquet`` and so on."""
    stem, _, number = name.removesuffix(".parquet").partition("-")[2].partition("-")
    return f"{name.partition('-')[0]}-{stem}-{int(number or 0) + 1}.parquet"


def _write_manifest(manifest: Manifest) -> None:
    """Write the manifest by rename, once its parts are synced: the commit."""
    folder = manifest.folder
    _sync_folder(folder)
    draft = folder / f"{MANIFEST}.draft"
    with draft.open("w", encoding="utf-8") as file:
        file.write(manifest.to_json())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / MANIFEST)
    for changed in (folder, folder.parent, folder.parent.parent):
        _sync_folder(changed)


def as_utc(moment: datetime) -> datetime:
    """``moment`` in UTC without zone; a moment without zone is UTC already."""
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def new_load_id(moment: datetime) -> str:
    """A load id that sorts by ``moment`` (UTC, microseconds) and is unique by its random part."""
    return f"{as_utc(moment).strftime('%Y%m%dT%H%M%S%f')}Z-{secrets.token_hex(4)}"


def schema_fingerprint(columns: Sequence[str], source_types: Mapping[str, str]) -> str:
    """Hash of the column names, whatever their order, with their source types."""
    text = json.dumps(sorted((name, source_types.get(name, "")) for name in columns), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_time(load_id: str) -> datetime:
    """When a load began, UTC without zone, from its id.

    Raises:
        ValueError: it is no load id.
    """
    return datetime.strptime(load_id.partition("Z-")[0], "%Y%m%dT%H%M%S%f")


def _remove_orphans(folder: Path) -> list[Path]:
    orphans = [path for path in folder.glob("load_date=*/load_id=*") if not (path / MANIFEST).is_file()]
    for path in orphans:
        shutil.rmtree(path)
        _remove_if_empty(path.parent)
    return orphans


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
