"""Builds the Dagster definitions, with overrides for tests; nothing else.

A source file that cannot be read does not keep the others from running: it
becomes an asset of its own that reports the error each night.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from orchestration.assets.backfill import backfill_assets
from orchestration.assets.clean import clean_assets
from orchestration.assets.dbt import warehouse_assets
from orchestration.assets.gates import gate_assets, gate_rules, gates
from orchestration.assets.identity import identity_assets, identity_quality_check
from orchestration.assets.keys import COMPACTION, gate_key
from orchestration.assets.landing import Watch, landing_assets
from orchestration.assets.privacy import privacy_assets
from orchestration.assets.publish import publish_asset
from orchestration.assets.retention import retention_asset
from orchestration.automation.alerts import sensors
from orchestration.automation.arrivals import arrivals_sensor
from orchestration.automation.jobs import (
    backfill_jobs,
    erase_job,
    housekeeping_job,
    housekeeping_schedule,
    nightly_job,
    nightly_schedule,
)
from orchestration.settings import Settings
from orchestration.sources.config import read_sources


def utc_now() -> datetime:
    """The present instant, with zone."""
    return datetime.now(UTC)


def build_definitions(
    settings: Settings | None = None,
    *,
    clock: Callable[[], datetime] = utc_now,
    watch: Watch = lambda stream, figures: None,
) -> dg.Definitions:
    """The whole graph for the sources found in ``settings.sources_dir``.

    Args:
        settings: Folders and limits; default from the environment.
        clock: Gives the time that loads, checks and releases are stamped with.
        watch: Told of each load that begins.
    """
    settings = settings or Settings.from_environment()
    sources, broken = read_sources(settings.sources_dir)
    rules = gate_rules(sources, broken, settings)
    warehouse = warehouse_assets(settings)
    marts = sorted(key for key in warehouse.keys if key.path[0] == "marts")
    nightly = nightly_job(settings)
    housekeeping = housekeeping_job(sources, settings, clock)
    retention, kept_to_policy = retention_asset(sources, settings, clock)
    backfills = backfill_assets(sources, settings, clock)
    return dg.Definitions(
        assets=[
            *landing_assets(sources, broken, settings, clock, watch),
            *backfills,
            *clean_assets(sources, settings),
            identity_assets(settings, clock),
            warehouse,
            *gate_assets(marts),
            *privacy_assets(sources, [*marts, gate_key("marts")], settings, clock),
            publish_asset(
                [*marts, gate_key("marts"), COMPACTION],
                [rule for gate in rules.values() for rule in gate],
                settings,
                clock,
            ),
            retention,
        ],
        asset_checks=[identity_quality_check(settings), kept_to_policy, *gates(sources, rules, settings, clock)],
        jobs=[nightly, erase_job(settings), housekeeping, *backfill_jobs(backfills)],
        schedules=[nightly_schedule(settings, nightly), housekeeping_schedule(settings, housekeeping)],
        sensors=[*sensors(settings, clock), arrivals_sensor(sources, settings, nightly)],
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    return build_definitions()
