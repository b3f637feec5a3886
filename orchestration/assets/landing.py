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
from orchestration.assets.load import MAX_RETRIES, TryAgainError, load_stream
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig, parents
from orchestration.sources.extract import LoadRecord, failed_load
from orchestration.sources.kinds import Figures
from orchestration.warehouse.control import Control

Watch = Callable[[str, Figures], None]
"""Is told the name of a stream and where its figures are counted, when a load begins."""
FRESHNESS_HOUR = 5
CONFIGURATION_STREAM = "configuration"


def landing_assets(
    sources: Mapping[str, SourceConfig],
    broken: Mapping[Path, str],
    settings: Settings,
    clock: Callable[[], datetime],
    watch: Watch = lambda stream, figures: None,
) -> list[dg.AssetsDefinition]:
    """One asset for each stream, and one for each source file that cannot be read.

    Args:
        sources: Sources by name.
        broken: Source files that failed to load, with the error.
        settings: Where to land.
        clock: Gives the time of an extraction.
        watch: Told of each load that begins.
    """
    assets = [
        _stream_asset(source, stream, settings, clock, watch)
        for source in sources.values()
        for stream in source.streams
    ]
    assets += [_broken_asset(path, error, settings, clock) for path, error in broken.items()]
    return assets


def _stream_asset(
    source: SourceConfig, stream: str, settings: Settings, clock: Callable[[], datetime], watch: Watch
) -> dg.AssetsDefinition:
    config = source.streams[stream]

    @dg.asset(
        key=landing_key(source.source, stream),
        deps=[ERASURE, *(landing_key(source.source, parent) for parent in parents(source, stream))],
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
        figures = Figures()
        watch(f"{source.source}.{stream}", figures)
        record = load_in_run(context, source, stream, settings=settings, now=clock(), figures=figures)
        if record.status == "failed":
            context.log.error("%s", record.error)
        return dg.MaterializeResult(metadata=load_metadata(record))

    return _extract


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


def load_in_run(
    context: dg.AssetExecutionContext,
    source: SourceConfig,
    stream: str,
    *,
    settings: Settings,
    now: datetime,
    window: tuple[str, str] | None = None,
    figures: Figures | None = None,
) -> LoadRecord:
    """``load_stream`` on behalf of a run.

    Raises:
        dagster.RetryRequested: the fault may pass, and there are attempts left.
    """
    try:
        return load_stream(
            source,
            stream,
            settings=settings,
            run_id=context.run_id,
            now=now,
            attempt=context.retry_number,
            window=window,
            figures=figures,
        )
    except TryAgainError as error:
        context.log.warning("%s; trying again in %g s", error, error.seconds)
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=error.seconds) from error


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
    for name in ("missing_share", "wait_seconds"):
        if (share := getattr(record, name)) is not None:
            values[name] = dg.MetadataValue.float(share)
    if record.requests is not None and record.figures is not None:
        values["requests"] = dg.MetadataValue.int(record.requests)
        for name in ("retries", "bytes_received"):
            values[name] = dg.MetadataValue.int(getattr(record.figures, name))
    return values
