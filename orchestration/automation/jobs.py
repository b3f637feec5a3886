"""The jobs: ``nightly`` does everything in one process, ``housekeeping`` removes what is no longer kept."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.assets.keys import BACKFILL_GROUP
from orchestration.assets.retention import enforce, summary
from orchestration.automation.metrics import step_metrics_hook
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig

EXCLUSIVE_TAG = {"experience/exclusive": "night"}
"""Runs with this tag wait for each other in the run queue."""


def nightly_job(settings: Settings) -> UnresolvedAssetJobDefinition:
    """Extract, clean, gate, model, publish. One process: a process per step takes three times as long."""
    return _night(
        "nightly", "One night: extract every source, clean, gate, build the marts, gate again, publish.", settings
    )


def erase_job(settings: Settings) -> UnresolvedAssetJobDefinition:
    """A night at once, for whoever asks for an erasure: it honours the request table, and publishes without them."""
    return _night(
        "erase",
        "Carries out the requests below $EXPERIENCE_HOME/privacy/request: takes the persons out of every layer, "
        "publishes without them, searches every file and writes control.erasure. Every night does it too.",
        settings,
    )


def _night(name: str, description: str, settings: Settings) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.all() - dg.AssetSelection.groups(BACKFILL_GROUP),
        description=description,
        executor_def=dg.in_process_executor,
        tags=EXCLUSIVE_TAG,
        hooks={step_metrics_hook(settings)},
    )


def backfill_jobs(assets: Sequence[dg.AssetsDefinition]) -> list[UnresolvedAssetJobDefinition]:
    """One job for each kind of partition of ``assets``: its runs wait for the night, and the night for them."""
    keys: dict[str, list[dg.AssetKey]] = {}
    for asset in assets:
        keys.setdefault(asset.key.path[0], []).append(asset.key)
    return [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.assets(*selected),
            description="Reads the rows of the days chosen again into the clean layer; the next night publishes them.",
            executor_def=dg.in_process_executor,
            tags=EXCLUSIVE_TAG,
        )
        for name, selected in keys.items()
    ]


def nightly_schedule(settings: Settings, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """02:00 in the business time zone."""
    return dg.ScheduleDefinition(
        name="nightly_schedule",
        job=job,
        cron_schedule="0 2 * * *",
        execution_timezone=settings.business_timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every night at 02:00 in the business time zone.",
    )


def housekeeping_job(
    sources: Mapping[str, SourceConfig], settings: Settings, clock: Callable[[], datetime]
) -> dg.JobDefinition:
    """Enforce retention also while nights are blocked, which the night itself does only behind a release."""

    @dg.op(description="Removes what retention.yaml and the EXPERIENCE_KEEP_ variables do not keep.")
    def enforce_retention(context: dg.OpExecutionContext) -> int:
        done = enforce(sources, settings, context.instance, run_id=context.run_id, now=clock())
        context.log.info("%s", summary(done))
        return sum(len(entry.names) for entry in done)

    @dg.job(
        name="housekeeping",
        description="Removes what retention no longer keeps.",
        executor_def=dg.in_process_executor,
        tags=EXCLUSIVE_TAG,
    )
    def housekeeping() -> None:
        enforce_retention()

    return housekeeping


def housekeeping_schedule(settings: Settings, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Sundays at 04:30 in the business time zone."""
    return dg.ScheduleDefinition(
        name="housekeeping_schedule",
        job=job,
        cron_schedule="30 4 * * 0",
        execution_timezone=settings.business_timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sundays at 04:30 in the business time zone.",
    )
