"""Reading a stream a little, to see whether it can be read: the first batch, nothing landed.

Belongs here: what ``experience sources check`` and ``discover`` have in common. Does not belong here: how one type is
read, and what is made of the rows.
"""

from __future__ import annotations

import itertools
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from orchestration.settings import Settings
from orchestration.sources import declared
from orchestration.sources.config import DeletesConfig, SourceConfig, parents
from orchestration.sources.drift import require_columns
from orchestration.sources.errors import ConfigError, SourceError
from orchestration.sources.kinds import Figures, ReadRequest, source_kind
from orchestration.sources.landing import META_SCHEMA, Landing, as_utc

JUDGED_ROWS = 20
"""Records without a declared field that say that the source has no such field."""
EMPTY_BATCHES = 20
"""Batches without a row after which a trial gives up."""
SLICES = 10
"""Slices of a window that a trial asks for: the newest."""
ATTEMPTS = 2
"""Tries of one request, where a load would wait longer: somebody sits in front of a trial."""
PARENTS = 3
"""Records of a parent for which a trial asks the child."""


@dataclass(frozen=True)
class Trial:
    """What the first batch of a stream gave.

    Attributes:
        rows: Its rows as the source gave them, as text.
        columns: Columns of the stream, in order, those without a value in the batch too.
        source_types: Column to type, where the source declares one.
        figures: What it cost.
    """

    rows: pl.DataFrame
    columns: tuple[str, ...]
    source_types: dict[str, str]
    figures: Figures


class Trials:
    """Trials of the streams of one source.

    A child is asked for the first records of its parent, which are read too and kept in a folder that is removed at
    the end: the landing is neither read nor written.
    """

    def __init__(self, source: SourceConfig, settings: Settings, now: datetime) -> None:
        self.source = _impatient(source)
        self._settings = settings
        self._now = as_utc(now)
        self._folder = tempfile.TemporaryDirectory(prefix="experience-trial-")
        self._landing = Landing(Path(self._folder.name))
        self._parents: set[str] = set()

    def close(self) -> None:
        """Remove what was kept."""
        self._folder.cleanup()

    def read(self, stream: str) -> Trial:
        """The first batch that holds rows; one without rows where there is none.

        Raises:
            SourceError: the stream cannot be read, or lacks declared columns; says how to mend it.
        """
        for parent in parents(self.source, stream):
            if parent not in self._parents:
                self._land(parent)
        try:
            return self._first(self.request(stream))
        except ConfigError as error:
            raise SourceError(str(error)) from error

    def batches(self, stream: str) -> Iterator[pl.DataFrame]:
        """Every batch of a stream that is small."""
        with closing(source_kind(self.source.type).read(self.request(stream))) as delivery:
            for batch in delivery.batches:
                yield batch.rows

    def request(self, stream: str) -> ReadRequest:
        """What a first load of the stream would be given."""
        config = self.source.streams[stream]
        if config.deletes.strategy == "key_scan":
            # Reading all keys is no trial.
            config = config.model_copy(update={"deletes": DeletesConfig()})
        slices = getattr(config.origin, "slices", None)
        if slices is not None and config.cursor is not None:
            start = (self._now - SLICES * slices.by).isoformat(timespec="seconds")
            config = config.model_copy(update={"cursor": config.cursor.model_copy(update={"start": start})})
        return ReadRequest(
            source=self.source,
            stream=stream,
            config=config,
            settings=self._settings,
            now=self._now,
            landing=self._landing,
            history=(),
            is_trial=True,
        )

    def _first(self, request: ReadRequest) -> Trial:
        is_declared = isinstance(request.config.origin, declared.DeclaredOrigin)
        read = declared.read if is_declared else source_kind(self.source.type).read
        delivery = read(request)
        with closing(delivery):
            rows = pl.DataFrame()
            for batch in itertools.islice(delivery.batches, EMPTY_BATCHES):
                rows = batch.rows
                if rows.height:
                    break
                if batch.rejects is not None and batch.rejects.height:
                    reject = batch.rejects.row(0, named=True)
                    place = f", {reject['_file']}, record {reject['_row']}" if reject["_file"] else ""
                    raise SourceError(f"{request.name}{place}: {reject['reason']}: the first records cannot be read")
            columns = [*delivery.columns, *(name for name in rows.columns if name not in META_SCHEMA)]
            request.figures.rows += rows.height
            # What a few records lack may be empty in them and not gone.
            if delivery.columns or rows.height >= JUDGED_ROWS:
                require_columns(request, columns)
            return Trial(rows, tuple(dict.fromkeys(columns)), dict(delivery.source_types), request.figures)

    def _land(self, stream: str) -> None:
        """Keep the first records of a parent where its children look for them."""
        rows = self.read(stream).rows.head(PARENTS)
        config = self.source.streams[stream]
        with self._landing.begin(
            source=self.source.source,
            stream=stream,
            run_id=f"trial-{secrets.token_hex(4)}",
            now=self._now,
            config_hash=config.config_hash,
        ) as writer:
            writer.write(rows)
            writer.commit(kind="full", extracted_at=self._now, rows_read=rows.height)
        self._parents.add(stream)


def _impatient(source: SourceConfig) -> SourceConfig:
    """The source, asked again less often."""
    retry = getattr(source.connection, "retry", None)
    if retry is None:
        return source
    fewer = retry.model_copy(update={"attempts": min(ATTEMPTS, retry.attempts)})
    return source.model_copy(update={"connection": source.connection.model_copy(update={"retry": fewer})})


@contextmanager
def trials(source: SourceConfig, settings: Settings, now: datetime) -> Iterator[Trials]:
    """Trials of one source's streams; nothing is left of them."""
    found = Trials(source, settings, now)
    try:
        yield found
    finally:
        found.close()
