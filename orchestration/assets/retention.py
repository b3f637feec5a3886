"""Retention as the last asset of the night: what the policy says is due is removed, counted and checked.

Behind the release, so that a night that is blocked removes nothing that mending it may need; ``housekeeping`` and
``experience retention --enforce`` do the same. Also here, because only Dagster knows it: its run history.
"""

import shutil
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import dagster as dg

from orchestration.assets.clean import WRITER_POOL
from orchestration.assets.keys import OWNERS, PUBLISHED, RETENTION
from orchestration.settings import Settings
from orchestration.sources.config import SourceConfig
from orchestration.sources.errors import SourceError
from orchestration.warehouse.clean import CleanError
from orchestration.warehouse.control import Control
from orchestration.warehouse.publish import PublishError
from orchestration.warehouse.retention import Due, RetentionError, due, load_policy, records, require_no_jump

FAULTS = (RetentionError, SourceError, CleanError, PublishError, OSError)


def retention_asset(
    sources: Mapping[str, SourceConfig], settings: Settings, clock: Callable[[], datetime]
) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """The asset that enforces the policy, and the check that looks whether anything older is left."""

    @dg.asset(
        key=RETENTION,
        deps=[PUBLISHED],
        group_name="published",
        owners=OWNERS["published"],
        pool=WRITER_POOL,
        description="What retention.yaml no longer keeps is removed: landing, clean, quarantine, control, logs, runs.",
    )
    def _retain(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        try:
            done = enforce(sources, settings, context.instance, run_id=context.run_id, now=clock())
        except FAULTS as error:
            # The night is published; its check says that the policy is not kept.
            context.log.error("retention: %s", error)
            return dg.MaterializeResult(metadata={"summary": f"nothing more was removed: {error}"})
        return dg.MaterializeResult(
            metadata={
                "summary": summary(done),
                "bytes freed": sum(entry.bytes or 0 for entry in done),
                "removed": dg.MetadataValue.json(
                    {f"{entry.kind} {entry.subject}": len(entry.names) for entry in done if entry.names}
                ),
                "policy": dg.MetadataValue.json(
                    {f"{entry.kind} {entry.subject}": entry.policy or "for ever" for entry in done}
                ),
            }
        )

    @dg.asset_check(
        asset=RETENTION,
        name="kept_to_policy",
        description="Nothing is left that is older than the policy keeps and that no night needs.",
    )
    def _kept_to_policy(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        try:
            policy = load_policy(settings, sources)
            left = [
                f"{entry.kind} {entry.subject}: {len(entry.names)} older than {entry.policy}, such as {entry.names[0]}"
                for entry in [
                    *due(settings, sources, policy, clock()),
                    run_history(settings, context.instance, clock()),
                ]
                if entry.names
            ]
        except FAULTS as error:
            left = [str(error)]
        return dg.AssetCheckResult(passed=not left, description="\n".join(left) or None)

    return [_retain, _kept_to_policy]


def enforce(
    sources: Mapping[str, SourceConfig],
    settings: Settings,
    instance: dg.DagsterInstance | None,
    *,
    run_id: str,
    now: datetime,
    force: bool = False,
) -> list[Due]:
    """Remove what is due and record it.

    Args:
        sources: Configured sources.
        settings: Where everything lies.
        instance: Whose run history is kept to the policy; None leaves it.
        run_id: Run that enforces.
        now: The night.
        force: Also where the clock made a jump.

    Raises:
        RetentionError: the policy cannot be used, or the clock may be wrong.
    """
    policy = load_policy(settings, sources)
    if not force:
        require_no_jump(settings, now)
    found = due(settings, sources, policy, now)
    if instance is not None:
        found.append(run_history(settings, instance, now))
    for entry in found:
        entry.remove()
    Control(settings.control_dir).write_retention(run_id, records(found, run_id=run_id, now=now))
    return found


def run_history(settings: Settings, instance: dg.DagsterInstance, now: datetime) -> Due:
    """Finished runs, with their logs, that are older than ``settings.keep_runs_days``."""
    before = now - timedelta(days=settings.keep_runs_days)
    finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    old = instance.get_run_records(dg.RunsFilter(statuses=finished, created_before=before))
    ids = tuple(record.dagster_run.run_id for record in old)

    def remove() -> None:
        for run_id in ids:
            instance.delete_run(run_id)
            shutil.rmtree(settings.home / run_id / "compute_logs", ignore_errors=True)

    naive = before.replace(tzinfo=None)
    return Due("run_history", "all", f"{settings.keep_runs_days} days", naive, ids, remove=remove)


def summary(done: list[Due]) -> str:
    """What was removed, in a line."""
    kinds: dict[str, int] = {}
    for entry in done:
        kinds[entry.kind] = kinds.get(entry.kind, 0) + len(entry.names)
    removed = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in kinds.items() if count)
    freed = sum(entry.bytes or 0 for entry in done)
    return f"removed {removed}; {freed / 1e6:.1f} MB freed" if removed else "nothing was due"
