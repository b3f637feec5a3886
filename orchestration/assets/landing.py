"""Landing assets: one a stream. A source that fails leaves its stream stale and is recorded; others go on.

Extraction alone is retried: a fault that may pass (a database that restarts) is tried again with a doubled
wait. When it does not pass, the load is recorded as failed, the stream keeps its last committed load, and the
landing gate says so: as a warning, or as a blocking error for a stream with ``required: true``.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from orchestration.assets.keys import ERASURE, OWNERS, landing_key
from orchestration.privacy.suppression import screen_of
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig
from orchestration.sources.errors import ConfigError, SourceError
from orchestration.sources.extract import LoadRecord, extract, failed_load, last_load
from orchestration.sources.landing import Landing
from orchestration.warehouse.control import Control

MAX_RETRIES = 3
FRESHNESS_HOUR = 5
CONFIGURATION_STREAM = "configuration"


def landing_assets(
    sources: Mapping[str, SourceConfig],
    broken: Mapping[Path, str],
    settings: Settings,
    clock: Callable[[], datetime],
) -> list[dg.AssetsDefinition]:
    """One asset for each stream, and one for each source file that cannot be read.

    Args:
        sources: Sources by name.
        broken: Source files that failed to load, with the error.
        settings: Where to land.
        clock: Gives the time of an extraction.
    """
    assets = [
        _stream_asset(source, stream, settings, clock) for source in sources.values() for stream in source.streams
    ]
    assets += [_broken_asset(path, error, settings, clock) for path, error in broken.items()]
    return assets


def _stream_asset(
    source: SourceConfig, stream: str, settings: Settings, clock: Callable[[], datetime]
) -> dg.AssetsDefinition:
    config = source.streams[stream]

    @dg.asset(
        key=landing_key(source.source, stream),
        deps=[ERASURE],
        group_name="landing",
        owners=OWNERS["landing"],
        kinds={source.type, "parquet"},
        description=f"Rows of {source.source}.{stream} as received; fills {', '.join(config.tables)}.",
        metadata={"source file": dg.MetadataValue.path(str(source.path)), "fills": ", ".join(config.tables)},
        tags={"source": source.source},
        freshness_policy=dg.FreshnessPolicy.cron(
            deadline_cron=f"0 {FRESHNESS_HOUR} * * *",
            lower_bound_delta=timedelta(hours=4),
            timezone=settings.business_timezone,
        ),
    )
    def _extract(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        now = clock()
        record_missed(source.source, stream, settings)
        try:
            screen = screen_of(settings, source, stream)
            record = extract(source, stream, settings=settings, run_id=context.run_id, now=now, screen=screen)
        except (SourceError, ConfigError) as error:
            if isinstance(error, SourceError) and error.transient and context.retry_number < MAX_RETRIES:
                wait = settings.retry_seconds * 2**context.retry_number
                context.log.warning("%s; trying again in %g s", error, wait)
                raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait) from error
            context.log.error("%s", error)
            record = failed_load(source.source, stream, run_id=context.run_id, now=now, error=str(error))
        Control(settings.control_dir).record_load(record)
        return dg.MaterializeResult(metadata=load_metadata(record))

    return _extract


def record_missed(source: str, stream: str, settings: Settings) -> None:
    """Record the last committed load of a stream, where a kill came between its commit and its record."""
    control = Control(settings.control_dir)
    last = last_load(Landing(settings.landing_dir), source, stream)
    if last is not None and not control.has_load(last.load_id):
        control.record_load(last)


def _broken_asset(path: Path, error: str, settings: Settings, clock: Callable[[], datetime]) -> dg.AssetsDefinition:
    name = broken_source_name(path)

    @dg.asset(
        key=landing_key(name, CONFIGURATION_STREAM),
        group_name="landing",
        owners=OWNERS["landing"],
        description=f"{path.name} cannot be read, so nothing of this source is extracted: {error}",
        metadata={"source file": dg.MetadataValue.path(str(path))},
    )
    def _report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        context.log.error("%s", error)
        record = failed_load(name, CONFIGURATION_STREAM, run_id=context.run_id, now=clock(), error=error)
        Control(settings.control_dir).record_load(record)
        return dg.MaterializeResult(metadata=load_metadata(record))

    return _report


def broken_source_name(path: Path) -> str:
    """Name that a source file without a readable name goes by: its own, made fit for an asset key."""
    return "".join(letter if letter.isalnum() else "_" for letter in path.stem)


def load_metadata(record: LoadRecord) -> dict[str, dg.MetadataValue]:
    """What an asset says of a load."""
    values: dict[str, dg.MetadataValue] = {"status": dg.MetadataValue.text(record.status)}
    if record.rows_landed is not None:
        values["dagster/row_count"] = dg.MetadataValue.int(record.rows_landed)
    for name in ("load_id", "cursor_from", "cursor_to", "schema_change", "error"):
        if text := getattr(record, name):
            values[name] = dg.MetadataValue.text(text)
    for name in ("rows_read", "rows_rejected", "rows_suppressed", "bytes_landed"):
        if (number := getattr(record, name)) is not None:
            values[name] = dg.MetadataValue.int(number)
    return values
