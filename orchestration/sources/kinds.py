"""The registry of readers by a source's ``type``, and what a reader is given and gives back.

A new type is one module with a ``KIND`` and its name in ``MODULES``; a known system is a YAML file in ``presets``.
Does not belong here: anything about one type.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import BaseModel

from orchestration.sources.errors import ConfigError, suggest
from orchestration.sources.landing import FileStamp, Kind, Landing, Manifest, as_utc

if TYPE_CHECKING:
    from orchestration.settings import Settings
    from orchestration.sources.config import SourceConfig, StreamConfig

MODULES: Mapping[str, str] = {
    "files": "orchestration.sources.files",
    "http": "orchestration.sources.http",
    "sql": "orchestration.sources.sql",
}
"""``type`` of a source YAML to the module whose ``KIND`` reads it."""


@dataclass
class Figures:
    """What a load has done so far, for people who watch it; a reader adds to it while it reads.

    Attributes:
        rows: Rows given by the source (``extract`` counts them).
        requests: Requests sent, those tried again included.
        retries: Requests that were tried again.
        wait_seconds: Seconds waited because the source asked for it, or after a fault.
        bytes_received: Bytes of the answers.
        parts: Parts of the window that there are (slices, parents, files), where it is known.
        parts_done: Parts that were read to their end.
        doing: What is waited for now, such as ``waits 30 s (429)``; empty while rows come.
    """

    rows: int = 0
    requests: int = 0
    retries: int = 0
    wait_seconds: float = 0.0
    bytes_received: int = 0
    parts: int | None = None
    parts_done: int = 0
    doing: str = ""


@dataclass(frozen=True)
class Plan:
    """What a load would ask for, told before any call.

    Attributes:
        window: The window in words, such as ``updated_at from 2026-11-01T00:00:00Z``.
        parts: Parts it is read in: slices, parents, files.
        requests: Requests at least, as far as can be told; None where the source is not asked by requests or nothing
            tells.
        note: What else decides, such as the budget left today.
    """

    window: str
    parts: int = 1
    requests: int | None = None
    note: str = ""


@dataclass(frozen=True)
class ReadRequest:
    """What a reader needs to read one stream once.

    Attributes:
        source: The source.
        stream: Name of the stream.
        config: The stream's configuration.
        settings: Folders, limits and the key of pseudonyms.
        now: Begin of the extraction, UTC without zone.
        landing: Where earlier loads lie.
        history: Committed loads of the stream, in the order of their commits.
        window: Bounds of a backfill, lower inclusive, upper exclusive; None for a night's load.
        screen: Takes the rows of persons who were erased out of rows as they are landed, or the cells that identify.
        figures: Where the reader counts what it does.
        is_trial: Whether the first page is enough: a reader gives each as it comes.
    """

    source: SourceConfig
    stream: str
    config: StreamConfig
    settings: Settings
    now: datetime
    landing: Landing
    history: Sequence[Manifest]
    window: tuple[str, str] | None = None
    screen: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows
    figures: Figures = field(default_factory=Figures)
    is_trial: bool = False

    @classmethod
    def next_load(
        cls, source: SourceConfig, stream: str, landing: Landing, *, settings: Settings, now: datetime
    ) -> ReadRequest:
        """What the next load of a stream is given, by what is landed."""
        return cls(
            source=source,
            stream=stream,
            config=source.streams[stream],
            settings=settings,
            now=as_utc(now),
            landing=landing,
            history=landing.manifests(source.source, stream),
        )

    @property
    def name(self) -> str:
        """``source.stream``, as messages call it."""
        return f"{self.source.source}.{self.stream}"

    @property
    def previous(self) -> Manifest | None:
        """The last load that was no backfill."""
        return next((load for load in reversed(self.history) if load.kind != "backfill"), None)

    @property
    def why_everything(self) -> str | None:
        """Why the stream is read from its beginning, in words; None where the last load tells from where."""
        cursor, previous = self.config.cursor, self.previous
        if cursor is None:
            return "no cursor: read whole every night"
        if previous is None:
            return "first load"
        if previous.cursor_to is None:
            return "the last load gave no cursor"
        if previous.cursor_field != cursor.field:
            return f"the cursor was {previous.cursor_field} before"
        if previous.config_hash != self.config.config_hash:
            return "the stream's declaration changed: read anew"
        # A column mapped since then has no values in what was landed before it came.
        if new := [name for name in self.config.declared_columns() if name not in previous.columns]:
            return f"{', '.join(new)} came into the mapping: read anew"
        return None


@dataclass
class Batch:
    """Some rows as text, and what could not be made a row (``landing.REJECT_SCHEMA``).

    ``is_final`` says that the rows were not read from the source now (keys it lost): they are neither counted as
    read nor marked nor protected once more.
    """

    rows: pl.DataFrame
    rejects: pl.DataFrame | None = None
    is_final: bool = False


@dataclass
class Delivery:
    """What a reader found; what is known only at the end is filled in while ``batches`` is consumed.

    Attributes:
        kind: Kind of the load.
        batches: Rows, read as they are consumed.
        columns: Columns known before a row was read; empty where the reader itself checks them file by file.
        source_types: Column to type, where the source declares one.
        cursor_from: Lower bound asked for.
        cursor_to: Cursor after the load.
        cursor_field: Column of the cursor.
        files: Files read.
        is_nothing_new: True where the reader knows without reading rows that nothing changed.
        missing_share: Share of the window (0-1) that is not read yet, where a budget ended first; else None.
        state: What the next load of the stream must know, as plain JSON.
        must_commit: Whether the load is committed though its rows are known.
        free: Frees what the reader holds open; called by ``close``.
    """

    kind: Kind
    batches: Iterator[Batch] = field(default_factory=lambda: iter(()))
    columns: tuple[str, ...] = ()
    source_types: dict[str, str] = field(default_factory=dict)
    cursor_from: str | None = None
    cursor_to: str | None = None
    cursor_field: str | None = None
    files: list[FileStamp] = field(default_factory=list)
    is_nothing_new: bool = False
    missing_share: float | None = None
    state: dict[str, Any] = field(default_factory=dict)
    must_commit: bool = False
    free: Callable[[], None] = lambda: None

    def close(self) -> None:
        """End the reading, whole or not, then free what it uses: what runs beside it (threads) must not outlive it."""
        if isinstance(self.batches, Generator):
            self.batches.close()
        self.free()


def cursor_faults(stream: StreamConfig) -> Iterator[str]:
    """Keys of a cursor that only HTTP sources have."""
    if stream.cursor is not None:
        for key in sorted({"start", "format"} & stream.cursor.model_fields_set):
            yield f"cursor.{key}: only sources of type 'http' take {key!r}; remove it"


@dataclass(frozen=True)
class SourceKind:
    """One ``type`` of source.

    Attributes:
        name: The ``type``.
        connection: Model of ``connection``, or None where the type has none.
        origin: Model of a stream's ``from``.
        read: Reads one stream; raises ``SourceError``.
        deletes: Strategies that the type can follow.
        has_cursor: Whether ``cursor`` may be declared.
        has_position: Whether ``primary_key: position`` may be declared.
        parents: Streams of the source that must be landed before a stream is read, each with its columns that reading
            needs.
        faults: What is wrong with a stream that its models alone do not show, each with the key it is about.
        plan: What reading a stream would ask for; calls nobody. None says what the cursor tells.
    """

    name: str
    connection: type[BaseModel] | None
    origin: type[BaseModel]
    read: Callable[[ReadRequest], Delivery]
    deletes: tuple[str, ...]
    has_cursor: bool
    has_position: bool
    parents: Callable[[StreamConfig], Mapping[str, Sequence[str]]] = lambda stream: {}
    faults: Callable[[StreamConfig], Iterable[str]] = cursor_faults
    plan: Callable[[ReadRequest], Plan] | None = None


def source_kind(name: str) -> SourceKind:
    """The kind called ``name``.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    if name not in MODULES:
        from orchestration.sources.presets import preset_names

        known = [*MODULES, *preset_names()]
        raise ConfigError(f"unknown type {name!r}: {suggest(name, known)} (types: {', '.join(known)})")
    kind: SourceKind = importlib.import_module(MODULES[name]).KIND
    return kind
