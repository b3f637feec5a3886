"""``experience rebuild``: clean tables made anew from the landing."""

import argparse

from orchestration.contracts import CONTRACTS
from orchestration.errors import CannotRunError
from orchestration.night_lock import only_night
from orchestration.settings import Settings


def add(commands) -> None:
    """Declare the verb."""
    parser = commands.add_parser(
        "rebuild", help="make clean tables anew from the landing; the next night publishes them"
    )
    parser.add_argument(
        "--table", action="append", default=[], metavar="TABLE", help="only this table; may be given more than once"
    )
    parser.add_argument(
        "--keep-removed",
        action="store_true",
        help="after a change of mapping, keep rows whose loads were removed by retention as the old mapping made them",
    )
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Rebuild and count."""
    from orchestration.normalize.table import MappingError
    from orchestration.sources.config import ConfigError, load_sources
    from orchestration.sources.errors import SourceError, suggest
    from orchestration.warehouse.clean import CleanError
    from orchestration.warehouse.refresh import RefreshError, rebuild_table

    for name in options.table:
        if name not in CONTRACTS:
            raise CannotRunError(f"there is no clean table {name!r}; {suggest(name, CONTRACTS, 'tables')}")
    # Answers are held against the questions, so these come first.
    names = sorted(options.table or CONTRACTS, key=lambda name: (name == "answer", name))
    try:
        with only_night(settings):
            sources = load_sources(settings.sources_dir)
            for name in names:
                result = rebuild_table(
                    CONTRACTS[name], sources, settings=settings, run_id="rebuild", keep_removed=options.keep_removed
                )
                changed = result.inserted + result.updated + result.deleted
                kept = f", {result.kept:,} kept of removed loads" if result.kept else ""
                print(f"{name:14} {result.rows:>10,} rows from {len(result.loads):>4} loads, {changed:,} changed{kept}")
    except (ConfigError, SourceError, RefreshError, MappingError, CleanError) as error:
        raise CannotRunError(str(error)) from error
    return 0
