"""From committed loads to the clean layer: what a table does not hold yet is normalised and merged.

Belongs here: which loads are due, and when a table's rows of a source must be made anew. Does not belong here: how
a row is read (``normalize``), how versions are merged (``warehouse.clean``).

Everything that decides how rows come out (mapping, key, time zone, for answers the declared questions) is hashed and
kept with each load. When the hash changes, all loads of the source are normalised again and take the place of its
rows: so a mended mapping brings rows back from quarantine, and the table is what it would be had the mapping always
been so.

Rows whose loads were removed by retention cannot be made anew: a rebuild keeps them as they are, and a changed mapping
is refused until somebody says that they may stay as the old mapping made them (``keep_removed``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from orchestration.contracts import CONTRACTS, CONTROL, Contract
from orchestration.contracts.mapping import TableMapping
from orchestration.normalize.deduplicate import contradicting_versions
from orchestration.normalize.table import VERSION as NORMALISER_VERSION
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig
from orchestration.sources.landing import Landing, Manifest
from orchestration.warehouse.clean import CleanStore, LoadMark
from orchestration.warehouse.control import Control
from orchestration.warehouse.retention import kept_from

NOT_LANDED = "not_landed"
"""Prefix of the reason of a row that the landing itself could not take; its ``load_row`` is negative."""
DUPLICATE_KEY = "duplicate_key"
"""Reason of a row whose key another row of its load has too, with other content and nothing to tell which counts."""

_SLICE_ROWS = 250_000
"""Canonical rows, about, that are normalised at a time: a load is never held as a whole."""
_CONTENT = ("load_id", "load_row", "row_hash", "updated_at", "extracted_at", "first_extracted_at", "quality_flags")


class RefreshError(RuntimeError):
    """A table that cannot be brought up to date; names table, source, stream and load, and the way to mend it."""


@dataclass(frozen=True)
class RefreshResult:
    """What a refresh did.

    Attributes:
        table: Table.
        rows: Rows that readers of the table see now.
        loads: Loads normalised, in order.
        replayed: Sources of which every load was normalised again.
        rows_in: Landed rows read.
        rows_out: Canonical rows they gave (a wide row gives several).
        rejected: Rows sent to quarantine.
        inserted: Keys that readers did not see before; new, or deleted and back.
        updated: Keys whose content changed.
        unchanged: Keys that came again and changed nothing.
        deleted: Keys that readers no longer see.
        kept: Rows kept as they were, because their loads were removed by retention.
        expired: Rows left out, because they are older than retention keeps.
        partitions: Partitions in which rows that readers see changed.
        days_touched: Business days of rows that changed.
        sequence: Number of the table's last change; ``CleanStore.days_touched_since`` takes it.
    """

    table: str
    rows: int = 0
    loads: tuple[str, ...] = ()
    replayed: tuple[str, ...] = ()
    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    kept: int = 0
    expired: int = 0
    partitions: tuple[str, ...] = ()
    days_touched: tuple[date, ...] = ()
    sequence: int = 0


@dataclass
class _Counts:
    rows_in: int = 0
    rows_out: int = 0
    rejected: int = 0
    kept: int = 0
    expired: int = 0


@dataclass(frozen=True)
class _Stream:
    """A stream that fills the table."""

    source: SourceConfig
    name: str
    mapping: TableMapping
    mapping_hash: str
    manifests: list[Manifest]
    questions: pl.DataFrame | None = field(repr=False)

    @property
    def keeps_rejects(self) -> bool:
        """Whether rows that could not be landed are reported with this table: with the stream's first."""
        return next(iter(self.source.streams[self.name].tables.values())) is self.mapping


def refresh_table(
    contract: Contract,
    sources: Mapping[str, SourceConfig],
    *,
    settings: Settings,
    run_id: str,
    rebuild: bool = False,
    keep_removed: bool = False,
    replay: Collection[str] = (),
) -> RefreshResult:
    """Bring one table of ``CONTRACTS`` up to the loads that are committed.

    Rows of a source that is no longer configured stay, because a YAML that cannot be read must not empty a table.

    Args:
        contract: The table.
        sources: Configured sources, by name.
        settings: Where landing, clean and control lie.
        run_id: Run on whose behalf; named in errors.
        rebuild: Normalise every load again, and drop what no load of a configured source gives.
        keep_removed: Where a mapping changed: keep rows whose loads were removed by retention as the old one made them.
        replay: Loads that are normalised again although the table holds them, for what they have in quarantine.

    Raises:
        RefreshError: a load cannot be read or normalised, or a changed mapping meets loads that were removed; the table
            is as before.
        MappingError: a mapping cannot be carried out.
    """
    store = CleanStore(settings.clean_dir, settings.business_timezone)
    control = Control(settings.control_dir)
    landing = Landing(settings.landing_dir)
    store.ensure(contract)
    merged = store.merged_loads(contract)
    streams = list(_streams(contract, sources, landing, store))
    replayed = set(_stale_sources(contract, streams, merged, sources, keep_removed=keep_removed))
    if rebuild:
        replayed = {mark.source for mark in merged.values()} | {stream.source.source for stream in streams}
    due = [
        (stream, manifest)
        for stream in streams
        for manifest in stream.manifests
        if manifest.removed_at is None
        and (stream.source.source in replayed or manifest.load_id not in merged or manifest.load_id in replay)
    ]
    removed = {
        manifest.load_id: LoadMark(stream.source.source, stream.name, stream.mapping_hash)
        for stream in streams
        for manifest in stream.manifests
        if manifest.removed_at is not None and stream.source.source in replayed and manifest.load_id in merged
    }
    first_day = kept_from(settings, contract.name)
    result = RefreshResult(contract.name, rows=_count(store, contract), sequence=store.sequence(contract))
    if not due and not replayed:
        return result
    counts = _Counts()

    def batches() -> Iterator[pl.DataFrame]:
        known = _first_seen(store, contract, {mark.source for mark in removed.values()})
        if removed:
            of_removed = pl.col("load_id").is_in(list(removed)) & pl.col("source").is_in(sorted(replayed))
            rows = store.scan(contract, include_deleted=True).filter(of_removed).collect()
            counts.kept = rows.height
            yield rows
        for stream, manifest in due:
            try:
                for rows in _normalised(contract, stream, manifest, landing=landing, control=control, counts=counts):
                    kept = rows if first_day is None else rows.filter(~(store.day_expression(contract) < first_day))
                    counts.expired += rows.height - kept.height
                    yield kept if known is None else _seen_since(contract, kept, known)
            except (pl.exceptions.PolarsError, OSError) as error:
                raise RefreshError(
                    f"{contract.name}: load {manifest.load_id} of {stream.source.source}.{stream.name} in "
                    f"{manifest.folder} cannot be normalised ({error}); run {run_id} left the table as it was. Restore "
                    "the load from a backup, or remove its folder and extract again"
                ) from error

    marks = {
        manifest.load_id: LoadMark(stream.source.source, stream.name, stream.mapping_hash) for stream, manifest in due
    } | removed
    change = store.merge(contract, batches(), marks, replace_sources=replayed)
    return RefreshResult(
        table=contract.name,
        rows=_count(store, contract),
        loads=tuple(manifest.load_id for _, manifest in due),
        replayed=tuple(sorted(replayed)),
        rows_in=counts.rows_in,
        rows_out=counts.rows_out,
        rejected=counts.rejected,
        inserted=change.inserted,
        updated=change.updated,
        unchanged=change.unchanged,
        deleted=change.deleted,
        kept=counts.kept,
        expired=counts.expired,
        partitions=change.partitions,
        days_touched=change.days_touched,
        sequence=store.sequence(contract),
    )


def rebuild_table(
    contract: Contract,
    sources: Mapping[str, SourceConfig],
    *,
    settings: Settings,
    run_id: str,
    keep_removed: bool = False,
) -> RefreshResult:
    """Make a table anew from the landing alone; equals what the nights made of it."""
    return refresh_table(contract, sources, settings=settings, run_id=run_id, rebuild=True, keep_removed=keep_removed)


def mapping_hash(contract: Contract, source: SourceConfig, stream: str, questions: pl.DataFrame | None = None) -> str:
    """Hash of everything that decides how the rows of a stream come out in a table.

    Args:
        contract: The table.
        source: The source.
        stream: One of its streams.
        questions: For answers: the source's rows of ``question``.
    """
    config = source.streams[stream]
    parts: dict[str, Any] = {
        "normaliser": NORMALISER_VERSION,
        "schema": {column.name: [column.kind, column.values] for column in contract.all_columns},
        "mapping": config.tables[contract.name].model_dump(mode="json"),
        "primary_key": config.primary_key,
        "timezone": source.timezone,
    }
    if questions is not None:
        content = questions.drop(_CONTENT, strict=False).sort("source", "source_id")
        parts["questions"] = content.write_ndjson()
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False).encode()).hexdigest()


def _streams(
    contract: Contract, sources: Mapping[str, SourceConfig], landing: Landing, store: CleanStore
) -> Iterator[_Stream]:
    questions = store.scan(CONTRACTS["question"]).collect() if contract.name == "answer" else None
    for source in sources.values():
        own = None if questions is None else questions.filter(pl.col("source") == source.source)
        for name, config in source.streams.items():
            if contract.name in config.tables:
                yield _Stream(
                    source,
                    name,
                    config.tables[contract.name],
                    mapping_hash(contract, source, name, own),
                    landing.manifests(source.source, name),
                    own,
                )


def _stale_sources(
    contract: Contract,
    streams: list[_Stream],
    merged: Mapping[str, LoadMark],
    sources: Mapping[str, SourceConfig],
    *,
    keep_removed: bool,
) -> Iterator[str]:
    """Sources of which a merged load would come out differently today.

    Raises:
        RefreshError: such a source has loads that the landing no longer holds, or whose rows retention removed.
    """
    removed = {load.load_id for stream in streams for load in stream.manifests if load.removed_at is not None}
    now = {(stream.source.source, stream.name): stream for stream in streams}
    for source in sources:
        marks = {load: mark for load, mark in merged.items() if mark.source == source}
        stale = [
            mark
            for mark in marks.values()
            if (stream := now.get((source, mark.stream))) is None or stream.mapping_hash != mark.mapping_hash
        ]
        if not stale:
            continue
        landed = {manifest.load_id for stream in streams for manifest in stream.manifests}
        gone = [load for load, mark in marks.items() if (source, mark.stream) in now and load not in landed]
        if gone:
            raise RefreshError(
                f"{contract.name}: the mapping of {source}.{stale[0].stream} changed, but the landing no longer holds "
                f"{len(gone)} of its loads ({', '.join(sorted(gone)[:3])} …), so that their rows cannot be made anew; "
                "restore them, or give the new mapping to a source of another name"
            )
        old = [
            load
            for load, mark in marks.items()
            if load in removed and now[source, mark.stream].mapping_hash != mark.mapping_hash
        ]
        if old and not keep_removed:
            raise RefreshError(
                f"{contract.name}: the mapping of {source}.{marks[old[0]].stream} changed (or this software reads it "
                f"otherwise), but retention removed the rows of {len(old)} of its loads "
                f"({', '.join(sorted(old)[:3])} …), so that they cannot be made anew. Where the keys of the rows are "
                "as before, keep those rows as the old mapping made them: "
                f"experience rebuild --table {contract.name} --keep-removed. Otherwise restore the loads from a "
                "back-up, or give the new mapping to a source of another name"
            )
        yield source


def _first_seen(store: CleanStore, contract: Contract, sources: set[str]) -> pl.DataFrame | None:
    """When each key of sources with removed loads was first extracted: nothing else remembers it."""
    if not sources:
        return None
    rows = store.scan(contract, include_deleted=True).filter(pl.col("source").is_in(sorted(sources)))
    return rows.select(*contract.key, seen="first_extracted_at").collect()


def _seen_since(contract: Contract, rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    earliest = pl.min_horizontal("first_extracted_at", "seen").alias("first_extracted_at")
    joined = rows.join(known, on=contract.key, how="left", nulls_equal=True).with_columns(earliest)
    return joined.select(rows.columns)


def _normalised(
    contract: Contract,
    stream: _Stream,
    manifest: Manifest,
    *,
    landing: Landing,
    control: Control,
    counts: _Counts,
) -> Iterator[pl.DataFrame]:
    """Canonical rows of one load, slice by slice; its rejected rows go to quarantine."""
    config = stream.source.streams[stream.name]
    context = NormaliseContext(
        source=stream.source.source,
        stream=stream.name,
        load_id=manifest.load_id,
        extracted_at=manifest.extracted_at,
        timezone=stream.source.timezone,
        primary_key=config.primary_key,
        questions=stream.questions,
    )
    landed = landing.scan(manifest)
    slots = len(stream.mapping.questions) + len(stream.mapping.texts)
    length = max(1, _SLICE_ROWS // max(1, slots))
    found: list[pl.DataFrame] = []
    versions: list[pl.DataFrame] = []
    for offset in range(0, max(1, manifest.rows_landed), length):
        result = normalise(contract, landed.slice(offset, length), stream.mapping, context)
        rows, rejects = pl.collect_all([result.rows, result.rejects])
        found.append(rejects)
        versions.append(
            rows.filter(~pl.col("is_deleted").fill_null(value=False)).select(
                "load_row", version=pl.struct(*contract.key, "updated_at").hash(), content=pl.col("row_hash").hash()
            )
        )
        counts.rows_out += rows.height
        yield rows
    rejects = pl.concat(found)
    counts.rows_in += manifest.rows_landed
    if repeated := _repeated(pl.concat(versions)):
        # The few rows in question are normalised once more, because only their hashes were kept.
        again = normalise(contract, landed.filter(pl.col("_load_row").is_in(repeated)), stream.mapping, context)
        contradicted = contradicting_versions(contract, again.rows).collect()
        if contradicted.height:
            rejects = pl.concat([rejects, _duplicate_keys(contract, manifest, landing, contradicted)])
    if stream.keeps_rejects and manifest.rows_rejected:
        rejects = pl.concat([rejects, _not_landed(contract, manifest, landing)])
    counts.rejected += rejects["load_row"].n_unique() if rejects.height else 0
    control.write_quarantine(contract.name, manifest.load_id, rejects)


def _repeated(versions: pl.DataFrame) -> list[int]:
    """Load rows whose version came more than once and not always with the same content."""
    several = versions.filter(pl.col("version").is_duplicated())
    differing = pl.col("content").min().over("version") != pl.col("content").max().over("version")
    return several.filter(differing)["load_row"].unique().to_list()


def _duplicate_keys(
    contract: Contract, manifest: Manifest, landing: Landing, contradicted: pl.DataFrame
) -> pl.DataFrame:
    """Rows that gave way to another one of their key, as rows of the quarantine."""
    landed = landing.scan(manifest)
    fields = [name for name in landed.collect_schema() if not name.startswith("_")]
    values = {
        "target_table": pl.lit(contract.name),
        "source": pl.lit(manifest.source),
        "stream": pl.lit(manifest.stream),
        "load_id": pl.lit(manifest.load_id),
        "load_row": pl.col("load_row"),
        "source_file": pl.col("_file"),
        "source_row": pl.col("_row"),
        "source_id": pl.col("source_id"),
        "field": pl.lit("source_id"),
        "reason": pl.lit(DUPLICATE_KEY),
        "original_value": pl.col("source_id"),
        "row_json": pl.struct(fields).struct.json_encode() if fields else pl.lit("{}"),
    }
    schema = CONTROL["quarantine"].schema
    return (
        landed.rename({"_load_row": "load_row"})
        .join(contradicted.lazy().unique("load_row"), on="load_row")
        .select(values[name].cast(schema[name]).alias(name) for name in schema)
        .collect()
    )


def _not_landed(contract: Contract, manifest: Manifest, landing: Landing) -> pl.DataFrame:
    """Rows that could not even be landed, as rows of the quarantine."""
    values = {
        "target_table": pl.lit(contract.name),
        "source": pl.lit(manifest.source),
        "stream": pl.lit(manifest.stream),
        "load_id": pl.lit(manifest.load_id),
        "load_row": -1 - pl.int_range(pl.len(), dtype=pl.Int64),
        "source_file": pl.col("_file"),
        "source_row": pl.col("_row"),
        "source_id": pl.lit(None, dtype=pl.String),
        "field": pl.lit("(row)"),
        "reason": pl.format("{}: {}", pl.lit(NOT_LANDED), "reason"),
        "original_value": pl.col("text"),
        "row_json": pl.lit(None, dtype=pl.String),
    }
    schema = CONTROL["quarantine"].schema
    return landing.rejects(manifest).select(values[name].cast(schema[name]).alias(name) for name in schema).collect()


def _count(store: CleanStore, contract: Contract) -> int:
    return int(store.scan(contract).select(pl.len()).collect().item())
