"""The one entry of this layer: read a stream once, land it, say what came of it.

Belongs here: the order of the steps (lock, read, check for drift, protect, write, commit) that every reader shares.
Does not belong here: what one reader knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from orchestration.settings import Settings
from orchestration.sources import declared
from orchestration.sources.config import SourceConfig, StreamConfig
from orchestration.sources.drift import require_columns, require_types, schema_change
from orchestration.sources.errors import ConfigError, SourceError, suggest
from orchestration.sources.kinds import Delivery, Figures, ReadRequest, source_kind
from orchestration.sources.landing import Landing, LoadWriter, Manifest, as_utc, new_load_id
from orchestration.sources.pii import protect

__all__ = ["LoadRecord", "SourceError", "extract", "failed_load", "last_load"]


@dataclass(frozen=True)
class LoadRecord:
    """One attempt to load a stream; the columns of the contract ``load``.

    ``status`` is ``committed``, ``unchanged`` (nothing new) or ``failed``. ``rows_read`` is None where the source
    was not asked for rows (files known by their content): such a load says nothing about volume. 0 says that the
    source was asked and gave none. ``figures`` is what the load cost; None where it is not known any more.
    """

    load_id: str
    run_id: str
    source: str
    stream: str
    status: str
    started_at: datetime
    kind: str | None = None
    extracted_at: datetime | None = None
    rows_read: int | None = None
    rows_landed: int | None = None
    rows_rejected: int | None = None
    rows_suppressed: int | None = None
    bytes_landed: int | None = None
    cursor_from: str | None = None
    cursor_to: str | None = None
    missing_share: float | None = None
    requests: int | None = None
    wait_seconds: float | None = None
    schema_change: str | None = None
    error: str | None = None
    figures: Figures | None = None


def failed_load(
    source: str,
    stream: str,
    *,
    run_id: str,
    now: datetime,
    error: str,
    kind: str | None = None,
    figures: Figures | None = None,
) -> LoadRecord:
    """The record of an attempt that brought nothing; ``kind`` says so where it was a backfill."""
    record = LoadRecord(
        load_id=new_load_id(now),
        run_id=run_id,
        source=source,
        stream=stream,
        status="failed",
        started_at=as_utc(now),
        kind=kind,
        error=error,
    )
    return record if figures is None else _with_figures(record, figures)


def extract(
    source: SourceConfig,
    stream: str,
    *,
    settings: Settings,
    run_id: str,
    now: datetime,
    window: tuple[str, str] | None = None,
    screen: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    figures: Figures | None = None,
) -> LoadRecord:
    """Load what is new of one stream.

    Args:
        source: The source.
        stream: Name of one of its streams.
        settings: Folders, limits and the key of pseudonyms.
        run_id: Run that asks.
        now: Begin of the extraction.
        window: Backfill of the rows whose cursor lies between the two bounds (lower inclusive, upper exclusive);
            never moves the cursor.
        screen: Takes the rows of persons who were erased out of rows as they are to be landed
            (``privacy.suppression.screen_of``).
        figures: Filled while the load goes on, for who watches it.

    Returns:
        What was committed, or that nothing was new.

    Raises:
        SourceError: nothing was committed and the cursor did not move; ``transient`` says whether the same attempt
            may succeed soon.
    """
    config = source.streams.get(stream)
    if config is None:
        raise SourceError(
            f"{source.path}: source {source.source!r} has no stream {stream!r}; "
            f"{suggest(stream, source.streams, 'streams')}"
        )
    landing = Landing(settings.landing_dir)
    begin = time.monotonic()
    with landing.begin(
        source=source.source, stream=stream, run_id=run_id, now=now, config_hash=config.config_hash
    ) as writer:
        request = replace(
            ReadRequest.next_load(source, stream, landing, settings=settings, now=now),
            window=window,
            screen=screen or (lambda rows: rows),
            figures=Figures() if figures is None else figures,
        )
        # A clock that was set back must not make what is landed now older than what was landed before.
        landed_at = max((load.extracted_at for load in request.history), default=datetime.min)
        earliest = landed_at + timedelta(microseconds=1)

        def clock() -> datetime:
            return max(as_utc(now) + timedelta(seconds=time.monotonic() - begin), earliest)

        try:
            delivery = _reader(source, config)(request)
        except ConfigError as error:
            raise SourceError(str(error)) from error
        try:
            return _with_figures(_land(request, delivery, writer, clock), request.figures)
        except OSError as error:
            raise SourceError(f"{request.name}: {error}; look at the disk and the permissions") from error
        finally:
            delivery.close()


def _with_figures(record: LoadRecord, figures: Figures) -> LoadRecord:
    if not figures.requests:
        return replace(record, figures=figures)
    return replace(record, figures=figures, requests=figures.requests, wait_seconds=round(figures.wait_seconds, 3))


def last_load(landing: Landing, source: str, stream: str) -> LoadRecord | None:
    """The record of the last committed load of a stream; None where there is none."""
    manifests = landing.manifests(source, stream)
    return _record(manifests[-1]) if manifests else None


def _reader(source: SourceConfig, config: StreamConfig) -> Callable[[ReadRequest], Delivery]:
    if isinstance(config.origin, declared.DeclaredOrigin):
        return declared.read
    return source_kind(source.type).read


def _land(request: ReadRequest, delivery: Delivery, writer: LoadWriter, clock: Callable[[], datetime]) -> LoadRecord:
    if delivery.columns:
        require_columns(request, delivery.columns)
        require_types(request, delivery.source_types)
        writer.declare(delivery.columns)
    actions = request.config.pii_actions()
    rows_read = rows_lost = rows_suppressed = 0
    first_reject: pl.DataFrame | None = None
    for batch in delivery.batches:
        rows = batch.rows
        if batch.is_final:
            rows_lost += rows.height
        else:
            rows_read += rows.height
            request.figures.rows += rows.height
            marked = protect(_marked(rows, request.config), actions, request.settings.hmac_key, request.name)
            rows = request.screen(marked)
            rows_suppressed += marked.height - rows.height
        writer.write(rows, is_content=not batch.is_final)
        if batch.rejects is not None and not batch.rejects.is_empty():
            rows_read += batch.rejects.height
            rejects = _screened(batch.rejects, request)
            first_reject = rejects.head(1) if first_reject is None else first_reject
            if actions:
                # The text of a line that cannot be split into fields would carry the fields to be hidden.
                rejects = rejects.with_columns(pl.lit(None, pl.String).alias("text"))
            writer.reject(rejects)
    # Declared columns that may be absent are there all the same, so that readers find what the mapping names.
    if writer.columns:
        writer.declare([*request.config.declared_columns(), *request.config.optional])
    if first_reject is not None and writer.rows_landed + rows_suppressed == 0:
        reject = first_reject.row(0, named=True)
        raise SourceError(
            f"{request.name}, {reject['_file']}, record {reject['_row']}: {reject['reason']}; all "
            f"{writer.rows_rejected} "
            "records were unreadable, so nothing was loaded. Look at delimiter, quote, header_rows and format"
        )
    if delivery.is_nothing_new or (rows_lost == 0 and _is_repetition(request, delivery, writer)):
        writer.abort()
        return LoadRecord(
            load_id=writer.load_id,
            run_id=writer.run_id,
            source=writer.source,
            stream=writer.stream,
            status="unchanged",
            started_at=writer.started_at,
            kind=delivery.kind,
            extracted_at=clock(),
            rows_read=None if delivery.is_nothing_new else rows_read,
            rows_landed=0,
            rows_rejected=0,
            rows_suppressed=rows_suppressed,
            bytes_landed=0,
            cursor_from=delivery.cursor_from,
            cursor_to=delivery.cursor_to,
        )
    manifest = writer.commit(
        kind=delivery.kind,
        extracted_at=clock(),
        rows_read=rows_read,
        cursor_from=delivery.cursor_from,
        cursor_to=delivery.cursor_to,
        cursor_field=delivery.cursor_field,
        window=request.window,
        source_types=delivery.source_types,
        schema_change=schema_change(request.previous, writer.columns, delivery.source_types)
        if writer.columns
        else None,
        files=delivery.files,
        rows_suppressed=rows_suppressed,
        missing_share=delivery.missing_share,
        state=delivery.state,
    )
    return _record(manifest)


def _screened(rejects: pl.DataFrame, request: ReadRequest) -> pl.DataFrame:
    """Rejects without the text of lines that mention a person who was erased."""
    screened = request.screen(rejects)
    is_same = rejects["text"].eq_missing(screened["text"])
    return screened.with_columns(pl.when(is_same).then(pl.col("text")).alias("text"))


def _marked(rows: pl.DataFrame, config: StreamConfig) -> pl.DataFrame:
    """Rows with ``_deleted`` where the stream's flag or tombstone says so."""
    deletes = config.deletes
    if deletes.strategy in {"soft_flag", "tombstone"} and deletes.field in rows.columns:
        return rows.with_columns(pl.col(deletes.field).is_in(deletes.values).fill_null(False).alias("_deleted"))
    return rows


def _is_repetition(request: ReadRequest, delivery: Delivery, writer: LoadWriter) -> bool:
    """Whether landing the rows read would say nothing: the last load brought the same ones.

    Of a backfill that is the load before of the same window, with nothing in between.
    Of an increment whose cursor did not move, the rows are the overlap with the last load, and a part of it.
    """
    last = request.history[-1] if request.history else None
    return (
        last is not None
        and (last is request.previous or (delivery.kind == last.kind == "backfill" and last.window == request.window))
        and not delivery.must_commit
        and delivery.kind in {"full", "incremental", "declared", "backfill"}
        and writer.rows_rejected == 0
        and last.rows_rejected == 0
        and set(last.columns) == set(writer.columns)
        and dict(last.source_types) == delivery.source_types
        and last.config_hash == writer.config_hash
        and last.cursor_to == delivery.cursor_to
        and last.cursor_field == delivery.cursor_field
        and (
            last.content_hash == writer.content_hash
            or (delivery.kind == "incremental" and _is_part_of(writer, request.landing.scan(last)))
        )
    )


def _is_part_of(writer: LoadWriter, landed: pl.LazyFrame) -> bool:
    """Whether every row written is among the landed ones."""
    names = [*writer.columns, "_deleted"]
    others = writer.scan().join(landed.select(names).unique(), on=names, how="anti", nulls_equal=True)
    return others.select(names).head(1).collect().is_empty()


def _record(manifest: Manifest) -> LoadRecord:
    return LoadRecord(
        load_id=manifest.load_id,
        run_id=manifest.run_id,
        source=manifest.source,
        stream=manifest.stream,
        status="committed",
        started_at=manifest.started_at,
        kind=manifest.kind,
        extracted_at=manifest.extracted_at,
        rows_read=manifest.rows_read,
        rows_landed=manifest.rows_landed,
        rows_rejected=manifest.rows_rejected,
        rows_suppressed=manifest.rows_suppressed,
        bytes_landed=manifest.bytes_landed,
        cursor_from=manifest.cursor_from,
        cursor_to=manifest.cursor_to,
        missing_share=manifest.missing_share,
        schema_change=manifest.schema_change,
    )
