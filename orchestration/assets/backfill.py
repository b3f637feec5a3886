"""Backfill assets: the rows of a day or a month of one stream, read again and brought into the clean layer.

Partitions are business days, or months of them, of the stream's cursor: when a row last changed. Only streams with a
cursor have any (``sources.backfill.why_not`` says why others have none). A backfill never moves the cursor, looks
for no deletions and leaves the marts to the next night, which finds the changed rows by itself.

It never runs beside a night: runs of its jobs wait in Dagster's queue, and a run launched in another way is refused.
"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta

import dagster as dg

from orchestration.assets.clean import WRITER_POOL
from orchestration.assets.keys import BACKFILL_GROUP, OWNERS, backfill_key
from orchestration.assets.landing import load_in_run, load_metadata
from orchestration.automation.alerts import NIGHTLY, PID_TAG
from orchestration.contracts import CONTRACTS
from orchestration.errors import CannotRunError
from orchestration.night_lock import only_night, open_runs
from orchestration.settings import Settings
from orchestration.sources.backfill import day_window, windowed_streams
from orchestration.sources.config import SourceConfig
from orchestration.warehouse.refresh import refresh_table

FIRST_DAY = "2000-01-01"
"""First partition; what is older can be loaded by a full extraction alone."""


def backfill_assets(
    sources: Mapping[str, SourceConfig], settings: Settings, clock: Callable[[], datetime]
) -> list[dg.AssetsDefinition]:
    """Two assets, by day and by month, for each stream that can be read by window.

    Args:
        sources: Sources by name.
        settings: Where everything lies.
        clock: Gives the time of an extraction.
    """
    zone = settings.business_timezone
    units: dict[str, dg.PartitionsDefinition] = {
        # The present day and month may be asked for too.
        "day": dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone=zone, end_offset=1),
        "month": dg.MonthlyPartitionsDefinition(start_date=FIRST_DAY, timezone=zone, end_offset=1),
    }
    with warnings.catch_warnings():
        # Dagster calls its backfill policies beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return [
            _stream_asset(source, stream, unit, partitions=partitions, sources=sources, settings=settings, clock=clock)
            for source in sources.values()
            for stream in windowed_streams(source)
            for unit, partitions in units.items()
        ]


def _stream_asset(
    source: SourceConfig,
    stream: str,
    unit: str,
    *,
    partitions: dg.PartitionsDefinition,
    sources: Mapping[str, SourceConfig],
    settings: Settings,
    clock: Callable[[], datetime],
) -> dg.AssetsDefinition:
    config = source.streams[stream]
    assert config.cursor is not None

    @dg.asset(
        key=backfill_key(unit, source.source, stream),
        group_name=BACKFILL_GROUP,
        owners=OWNERS[BACKFILL_GROUP],
        kinds={source.type, "parquet"},
        partitions_def=partitions,
        # Days in a row are one window and one load.
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=WRITER_POOL,
        description=(
            f"Rows of {source.source}.{stream} by the {unit} of {config.cursor.field}, read again on command; fills "
            f"{', '.join(config.tables)}. The next night takes them into the marts."
        ),
        metadata={"source file": dg.MetadataValue.path(str(source.path)), "cursor": config.cursor.field},
        tags={"source": source.source},
    )
    def _backfill(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        is_locked = PID_TAG in context.run.tags
        try:
            with nullcontext() if is_locked else only_night(settings):
                _refuse_beside_a_night(context)
                return _load(context)
        except CannotRunError as error:
            raise dg.Failure(f"{source.source}.{stream}: {error}", allow_retries=False) from error

    def _load(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        days = context.partition_time_window
        window = day_window(days.start.date(), days.end.date() - timedelta(days=1), settings.business_timezone)
        record = load_in_run(context, source, stream, settings=settings, now=clock(), window=window)
        if record.status == "failed":
            raise dg.Failure(record.error, allow_retries=False)
        changed = {}
        for table in CONTRACTS.values():
            if table.name in config.tables:
                result = refresh_table(table, sources, settings=settings, run_id=context.run_id)
                changed[table.name] = {
                    name: getattr(result, name) for name in ("inserted", "updated", "unchanged", "deleted", "rejected")
                }
        return dg.MaterializeResult(
            metadata={**load_metadata(record), "window": " to ".join(window), "changed": dg.MetadataValue.json(changed)}
        )

    return _backfill


def _refuse_beside_a_night(context: dg.AssetExecutionContext) -> None:
    """Fail where a night that Dagster launched is running; one from the command line holds the lock.

    Raises:
        CannotRunError: names the run.
    """
    for run in open_runs(context.instance, NIGHTLY):
        if PID_TAG not in run.tags:
            raise CannotRunError(
                f"night {run.run_id} is running; launch the job backfill_by_day or backfill_by_month, whose runs wait "
                "for it, or try again when it has ended"
            )
