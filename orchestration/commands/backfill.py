"""``experience backfill``: read days of one stream again into the clean layer, through its Dagster partitions."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import date
from typing import Any

from orchestration.errors import CannotRunError
from orchestration.night_lock import end_dead_runs, logged, only_night
from orchestration.settings import Settings

EXIT_FAILED = 1


def add(commands: Any) -> None:
    """Declare the verb."""
    parser = commands.add_parser("backfill", help="read days of one stream again; the next night publishes them")
    parser.add_argument("stream", metavar="SOURCE.STREAM", help="such as crm.customers")
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True, metavar="DAY")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, required=True, metavar="DAY", help="inclusive")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Backfill the days as one window; 1 where it failed."""
    from orchestration.sources.backfill import day_window, why_not
    from orchestration.sources.config import load_sources

    source_name, _, stream = options.stream.partition(".")
    sources = load_sources(settings.sources_dir)
    if source_name not in sources:
        raise CannotRunError(f"no source {source_name!r} in {settings.sources_dir}; there are {', '.join(sources)}")
    if reason := why_not(sources[source_name], stream):
        raise CannotRunError(reason)
    try:
        window = day_window(options.first, options.last, settings.business_timezone)
    except ValueError as error:
        raise CannotRunError(str(error)) from error
    with only_night(settings):
        import dagster as dg
        from dagster._core.utils import make_new_run_id

        from orchestration.assets.keys import backfill_key
        from orchestration.automation.alerts import PID_TAG
        from orchestration.automation.outcome import cause
        from orchestration.definitions import build_definitions

        run_id = make_new_run_id()
        key = backfill_key("day", source_name, stream)
        with logged(settings.home / "logs" / f"{run_id}.log") as log, dg.DagsterInstance.get() as instance:
            print(
                f"backfill {run_id} of {options.stream}, {window[0]} to {window[1]}; its log is {log}",
                file=sys.__stdout__,
            )
            end_dead_runs(instance, PID_TAG)
            result = (
                build_definitions(settings)
                .resolve_job_def(key.path[0])
                .execute_in_process(
                    instance=instance,
                    run_id=run_id,
                    raise_on_error=False,
                    asset_selection=[key],
                    tags={
                        PID_TAG: str(os.getpid()),
                        "dagster/asset_partition_range_start": options.first.isoformat(),
                        "dagster/asset_partition_range_end": options.last.isoformat(),
                    },
                )
            )
        if not result.success:
            for event in result.get_step_failure_events():
                print(f"FAILED: {cause(event)}")
            return EXIT_FAILED
        [materialised, *_] = result.asset_materializations_for_node(key.to_python_identifier())
        for name in ("status", "load_id", "dagster/row_count", "changed"):
            if name in materialised.metadata:
                print(f"{name.removeprefix('dagster/')}: {materialised.metadata[name].value}")
        print("the clean layer holds these days; the next night takes them into the marts: experience nightly")
    return 0
