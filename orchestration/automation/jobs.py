"""The jobs: ``nightly`` does everything in one process, ``housekeeping`` removes what is no longer kept."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.assets.keys import BACKFILL_GROUP
from orchestration.automation.metrics import step_metrics_hook
from orchestration.settings import Settings

EXCLUSIVE_TAG = {"experience/exclusive": "night"}
"""Runs with this tag wait for each other in the run queue."""


def nightly_job(settings: Settings) -> UnresolvedAssetJobDefinition:
    """Extract, clean, gate, model, publish. One process: a process per step takes three times as long."""
    return dg.define_asset_job(
        "nightly",
        selection=dg.AssetSelection.all() - dg.AssetSelection.groups(BACKFILL_GROUP),
        description="One night: extract every source, clean, gate, build the marts, gate again, publish.",
        executor_def=dg.in_process_executor,
        tags=EXCLUSIVE_TAG,
        hooks={step_metrics_hook(settings)},
    )


def erase_job(settings: Settings) -> UnresolvedAssetJobDefinition:
    """A night at once, for whoever asks for an erasure: it honours the request table, and publishes without them."""
    return dg.define_asset_job(
        "erase",
        selection=dg.AssetSelection.all() - dg.AssetSelection.groups(BACKFILL_GROUP),
        description=(
            "Carries out the requests below $EXPERIENCE_HOME/privacy/request: takes the persons out of every layer, "
            "publishes without them, searches every file and writes control.erasure. Every night does it too."
        ),
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


def housekeeping_job(settings: Settings, clock: Callable[[], datetime]) -> dg.JobDefinition:
    """Remove finished runs, with their logs, that are older than ``settings.keep_runs_days``."""

    @dg.op(description="Deletes finished runs and their logs older than EXPERIENCE_KEEP_RUNS_DAYS.")
    def remove_old_runs(context: dg.OpExecutionContext) -> int:
        before = clock() - timedelta(days=settings.keep_runs_days)
        finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
        old = context.instance.get_run_records(dg.RunsFilter(statuses=finished, created_before=before))
        for record in old:
            context.instance.delete_run(record.dagster_run.run_id)
        context.log.info("%d runs before %s removed", len(old), before.date())
        return len(old)

    @dg.job(
        name="housekeeping",
        description="Removes runs and logs that are no longer kept.",
        executor_def=dg.in_process_executor,
    )
    def housekeeping() -> None:
        remove_old_runs()

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
