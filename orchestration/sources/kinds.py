"""The registry of readers by a source's ``type``, and what a reader is given and gives back.

A new type is one module with a ``KIND`` and its name in ``MODULES``; a known system is a YAML file in ``presets``.
Does not belong here: anything about one type.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl
from pydantic import BaseModel

from orchestration.sources.errors import ConfigError, suggest
from orchestration.sources.landing import FileStamp, Kind, Landing, Manifest

if TYPE_CHECKING:
    from orchestration.settings import Settings
    from orchestration.sources.config import SourceConfig, StreamConfig

MODULES: Mapping[str, str] = {
    "files": "orchestration.sources.files",
    "http": "orchestration.sources.http",
    "sql": "orchestration.sources.sql",
}
"""``type`` of a source YAML to the module whose ``KIND`` reads it."""


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

    @property
    def name(self) -> str:
        """``source.stream``, as messages call it."""
        return f"{self.source.source}.{self.stream}"

    @property
    def previous(self) -> Manifest | None:
        """The last load that was no backfill."""
        return next((load for load in reversed(self.history) if load.kind != "backfill"), None)


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
        close: Frees what the reader holds open.
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
    close: Callable[[], None] = lambda: None


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
        parents: Streams of the source that must be landed before a stream is read.
    """

    name: str
    connection: type[BaseModel] | None
    origin: type[BaseModel]
    read: Callable[[ReadRequest], Delivery]
    deletes: tuple[str, ...]
    has_cursor: bool
    has_position: bool
    parents: Callable[[StreamConfig], Sequence[str]] = lambda stream: ()


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
