"""``experience retention``: what the policy keeps, what is due, and removing it at once."""

import argparse
from datetime import UTC, datetime

from orchestration.errors import CannotRunError
from orchestration.night_lock import only_night
from orchestration.settings import Settings


def add(commands) -> None:
    """Declare the verb."""
    parser = commands.add_parser("retention", help="show what the policy keeps and what is due for removal")
    parser.add_argument("--enforce", action="store_true", help="remove it now, also where the clock made a jump")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the policy line by line, and enforce it where asked to."""
    import dagster as dg
    from dagster._core.errors import DagsterHomeNotSetError

    from orchestration.assets.retention import FAULTS, enforce, run_history, summary
    from orchestration.sources.config import load_sources
    from orchestration.warehouse.retention import due, load_policy

    now = datetime.now(UTC)
    try:
        sources = load_sources(settings.sources_dir)
        try:
            instance = dg.DagsterInstance.get()
        except DagsterHomeNotSetError:
            instance = None
        found = due(settings, sources, load_policy(settings, sources), now)
        if instance is not None:
            found.append(run_history(settings, instance, now))
        for entry in found:
            size = f", {entry.bytes / 1e6:.1f} MB" if entry.names and entry.bytes else ""
            rows = f", {entry.rows:,} rows" if entry.names and entry.rows else ""
            print(
                f"{entry.kind:12} {entry.subject:16} {entry.policy or 'for ever':12} {len(entry.names)} due{rows}{size}"
            )
        if options.enforce:
            with only_night(settings):
                run_id = f"retention-{now:%Y%m%dT%H%M%SZ}"
                print(summary(enforce(sources, settings, instance, run_id=run_id, now=now, force=True)))
    except FAULTS as error:
        raise CannotRunError(str(error)) from error
    return 0
